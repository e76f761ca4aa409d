//! Clients that carry out a plan, and try again through another node until each
//! thing is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use entrepot_harness::{Blob, Registry};
use tokio::task::JoinSet;

use super::books::Books;
use super::plan::{Act, Acts, CLIENTS};

/// A node is away for some seconds, and a region has a leader again in some.
const ATTEMPTS_MAX: usize = 120;
const RETRY_PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Clients {
    /// Those that rest.
    resting: Vec<Client>,
    running: Arc<AtomicUsize>,
    tasks: JoinSet<Result<Client>>,
}

struct Client {
    nth: usize,
    registries: Vec<Registry>,
    /// The one that it talks to.
    at: usize,
    books: Books,
    /// Repositories in which a blob is, as far as this client was told.
    known: BTreeMap<String, BTreeSet<String>>,
}

/// Counts a client that ends, however it does.
struct Ends(Arc<AtomicUsize>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl Clients ===

impl Clients {
    pub(super) fn new(registries: &[Registry]) -> Self {
        let client = |nth| Client {
            nth,
            registries: registries.to_vec(),
            at: nth % registries.len(),
            books: Books::default(),
            known: BTreeMap::new(),
        };
        Self {
            resting: (0..CLIENTS).map(client).collect(),
            running: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Each begins with its part.
    pub(super) fn start(&mut self, parts: Vec<Acts>) {
        for (mut client, acts) in self.resting.drain(..).zip(parts) {
            self.running.fetch_add(1, Ordering::SeqCst);
            let ends = Ends(Arc::clone(&self.running));
            self.tasks.spawn(async move {
                let _ends = ends;
                for (repository, act) in acts {
                    client.carry_out(&repository, &act).await?;
                    client.books.note(&repository, &act);
                }
                Ok(client)
            });
        }
    }

    pub(super) fn are_done(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }

    /// Waits until all have done their parts.
    pub(super) async fn ended(&mut self) -> Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            self.resting.push(ended.context("a client panicked")??);
        }
        self.resting.sort_by_key(|client| client.nth);
        Ok(())
    }

    /// What was acknowledged to all that rest.
    pub(super) fn books(&self) -> Books {
        let mut books = Books::default();
        for client in &self.resting {
            books.add(client.books.clone());
        }
        books
    }
}

// === impl Client ===

impl Client {
    async fn carry_out(&mut self, repository: &str, act: &Act) -> Result<()> {
        let mut last = None;
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(repository, act).await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
            self.at = (self.at + 1) % self.registries.len();
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        let error = last.context("no attempt")?;
        Err(error.context(format!("{act:.60?} in {repository}")))
    }

    async fn attempt(&mut self, repository: &str, act: &Act) -> Result<()> {
        let registry = self.registries[self.at].clone();
        let gone = match act {
            Act::Push { image, tag } => {
                for blob in &image.blobs {
                    self.blob(&registry, repository, blob).await?;
                }
                let reference = tag.as_deref().unwrap_or_else(|| image.digest());
                let put = registry.put_manifest(repository, reference, &image.manifest);
                let put = put.await;
                if put.is_err() {
                    // What was uploaded and not named long ago may be gone.
                    self.known.clear();
                }
                return put.map(drop);
            }
            Act::Tag { manifest, tag } => {
                let put = registry.put_manifest(repository, tag, manifest);
                return put.await.map(drop);
            }
            Act::DeleteTag { tag } => tag,
            Act::DeleteImage { digest } => digest,
        };
        let path = format!("/v2/{repository}/manifests/{gone}");
        let reply = registry.delete(&path).send().await?;
        // An attempt before may have done it.
        ensure!(
            matches!(reply.status, 202 | 404),
            "{}: {}",
            reply.what,
            reply.status
        );
        Ok(())
    }

    /// As clients do: what another repository has is mounted.
    async fn blob(&mut self, registry: &Registry, repository: &str, blob: &Blob) -> Result<()> {
        let known = self.known.entry(blob.digest.clone()).or_default();
        if known.contains(repository) {
            return Ok(());
        }
        let mut is_there = false;
        if let Some(other) = known.first() {
            let path = format!(
                "/v2/{repository}/blobs/uploads/?mount={}&from={other}",
                blob.digest
            );
            let reply = registry.post(&path).header("content-length", "0").send();
            let reply = reply.await?;
            is_there = match reply.status {
                201 => true,
                202 => false,
                status => bail!("{}: {status}", reply.what),
            };
        }
        if !is_there {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
            let upload = registry.post(&path);
            let upload = upload.header("content-type", "application/octet-stream");
            upload
                .body(blob.content.clone())
                .send()
                .await?
                .expect(201)?;
        }
        known.insert(repository.to_owned());
        Ok(())
    }
}
