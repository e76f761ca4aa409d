//! What a client does to a registry, again through another node until it is
//! acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use entrepot_harness::{Admin, Blob, Image, Random, Registry, Upload};

/// A node is away for some seconds, and a region has a leader again in some.
const ATTEMPTS_MAX: usize = 160;
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// One thing to be done in a repository.
pub(super) enum Act<'a> {
    /// Blobs, then the manifest; by its digest if there is no tag.
    Push {
        image: &'a Image,
        tag: Option<&'a str>,
        /// Between the two, the first time.
        pause: Duration,
    },
    /// A blob that is named by nothing.
    Blob(&'a Blob),
    Delete {
        digest: &'a str,
    },
    /// All of it.
    DeleteRepository,
}

pub(super) struct Pusher {
    registries: Vec<Registry>,
    admins: Vec<Admin>,
    /// The node that it talks to.
    at: usize,
    random: Random,
    /// Repositories in which blobs were, as far as it was told.
    known: BTreeMap<String, String>,
    pub(super) again: u64,
    pub(super) mounted: u64,
}

// === impl Pusher ===

impl Pusher {
    pub(super) fn new(registries: Vec<Registry>, admins: Vec<Admin>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            at: random.below(registries.len()),
            registries,
            admins,
            random,
            known: BTreeMap::new(),
            again: 0,
            mounted: 0,
        }
    }

    /// Whether it was done by the first attempt: of one that failed nobody knows
    /// when, or whether, the region does it.
    pub(super) async fn carry_out(&mut self, repository: &str, act: &Act<'_>) -> Result<bool> {
        let mut last = None;
        for attempt in 0..ATTEMPTS_MAX {
            if self.random.below(4) == 0 {
                self.at = self.random.below(self.registries.len());
            }
            let is_first = attempt == 0;
            match self.attempt(repository, act, is_first).await {
                Ok(()) => return Ok(is_first),
                Err(error) => last = Some(error),
            }
            self.again += 1;
            self.at = (self.at + 1) % self.registries.len();
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        let error = last.context("no attempt")?;
        Err(error.context(format!("{} in {repository}", act.name())))
    }

    /// The policy of a repository is held against its images now, if the node lives.
    pub(super) async fn evaluate(&mut self, repository: &str) -> Result<()> {
        let run = ["lifecycle", "run", repository, "--yes"];
        // The next one does what this one could not.
        self.admins[self.at].try_run(&run).await?;
        Ok(())
    }

    /// An upload that nobody goes on with.
    pub(super) async fn give_up(&mut self, repository: &str, blob: &Blob) {
        let registry = &self.registries[self.at];
        if let Ok(mut upload) = registry.open_upload(repository).await {
            let half = blob.content.slice(..blob.content.len() / 2);
            let _ = registry.send_chunk(&mut upload, 0, half).await;
        }
    }

    async fn attempt(&mut self, repository: &str, act: &Act<'_>, is_first: bool) -> Result<()> {
        let registry = self.registries[self.at].clone();
        match act {
            Act::Push { image, tag, pause } => {
                for blob in &image.blobs {
                    self.blob(&registry, repository, blob).await?;
                }
                if is_first {
                    tokio::time::sleep(*pause).await;
                }
                let reference = tag.unwrap_or(image.digest());
                let put = registry.put_manifest(repository, reference, &image.manifest);
                put.await.map(drop)
            }
            Act::Blob(blob) => self.blob(&registry, repository, blob).await,
            Act::Delete { digest } => {
                let path = format!("/v2/{repository}/manifests/{digest}");
                let reply = registry.delete(&path).send().await?;
                // An attempt before may have done it.
                let is_done = matches!(reply.status, 202 | 404);
                ensure!(is_done, "{}: {}", reply.what, reply.status);
                Ok(())
            }
            Act::DeleteRepository => {
                let delete = ["repository", "delete", repository, "--force", "--yes"];
                let ended = self.admins[self.at].try_run(&delete).await?;
                let path = format!("/v2/{repository}/tags/list");
                let reply = registry.get(&path).send().await?;
                ensure!(reply.status == 404, "{}: {ended:?}", reply.what);
                Ok(())
            }
        }
    }

    /// As clients do: what is there is not sent, and what another repository has is
    /// mounted.
    async fn blob(&mut self, registry: &Registry, repository: &str, blob: &Blob) -> Result<()> {
        let digest = &blob.digest;
        if self.random.below(3) == 0 {
            let upload = Upload {
                path: format!("/v2/{repository}/blobs/uploads/?digest={digest}"),
            };
            let reply = registry
                .post(&upload.path)
                .header("content-type", "application/octet-stream")
                .body(blob.content.clone());
            reply.send().await?.expect(201)?;
            self.known.insert(digest.clone(), repository.to_owned());
            return Ok(());
        }
        let path = format!("/v2/{repository}/blobs/{digest}");
        let reply = registry.head(&path).send().await?;
        match reply.status {
            200 => return Ok(()),
            404 => {}
            status => bail!("{}: {status}", reply.what),
        }
        let other = self.known.get(digest).filter(|other| *other != repository);
        let path = match other {
            Some(other) => {
                format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={other}")
            }
            None => format!("/v2/{repository}/blobs/uploads/"),
        };
        let reply = registry.post(&path).header("content-length", "0").send();
        let reply = reply.await?;
        match reply.status {
            201 => self.mounted += 1,
            202 => {
                let upload = Upload {
                    path: reply.location()?,
                };
                let put = registry.put(&upload.end(digest));
                let put = put.header("content-type", "application/octet-stream");
                put.body(blob.content.clone()).send().await?.expect(201)?;
            }
            status => bail!("{}: {status}", reply.what),
        }
        self.known.insert(digest.clone(), repository.to_owned());
        Ok(())
    }
}

// === impl Act ===

impl Act<'_> {
    fn name(&self) -> String {
        match self {
            Self::Push { image, .. } => format!("push {}", image.digest()),
            Self::Blob(blob) => format!("push {}", blob.digest),
            Self::Delete { digest } => format!("delete {digest}"),
            Self::DeleteRepository => "delete everything".to_owned(),
        }
    }
}
