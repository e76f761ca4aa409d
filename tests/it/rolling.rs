//! All nodes of a region restart, one after the other, while clients push and
//! pull: an ordinary retry through another node covers whatever fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, Image, Random, Registry, wait_until};
use tokio::task::JoinSet;

use crate::soak;

const CLIENTS: usize = 6;
const LAYER_BYTES: usize = 20_000;
const TAG: &str = "latest";
/// What container clients do at least.
const ATTEMPTS_MAX: usize = 4;
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const PROGRESS: Duration = Duration::from_mins(1);
/// Requests between one restart and the next.
const REQUESTS_BETWEEN: u64 = 60;

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    /// Requests that succeeded in the end, by number of attempts.
    attempts: Mutex<BTreeMap<usize, u64>>,
    /// What went wrong in an attempt, and how often.
    trouble: Mutex<BTreeMap<String, u64>>,
}

/// A request of a client; what is pulled has to be what was pushed.
#[derive(Debug)]
enum Wish {
    PushBlob(Blob),
    PushManifest(Blob),
    PullManifest(Blob),
    PullBlob(Blob),
}

#[derive(Debug)]
struct Client {
    nodes: Vec<Registry>,
    repository: String,
    random: Random,
    seen: Arc<Seen>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_needs_no_more_than_a_retry() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(3).start().await?;
    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let ids = cluster.ids().into_iter();
        let mut nodes: Vec<Registry> = ids.map(|id| cluster.registry(id)).collect::<Result<_>>()?;
        nodes.rotate_left(number % 3);
        let client = Client {
            nodes,
            repository: format!("rolling/client-{number}"),
            random: Random::new(number as u64),
            seen: Arc::clone(&seen),
        };
        clients.spawn(client.work());
    }
    let rounds = soak::rounds(1, 10)?;
    for _ in 0..rounds {
        for id in cluster.ids() {
            progress(&seen, &mut clients).await?;
            cluster.stop(&[id]).await?;
            cluster.start(&[id]).await?;
        }
    }
    progress(&seen, &mut clients).await?;
    seen.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.context("a client panicked")??;
    }
    println!(
        "  {rounds} rolling restarts; requests by attempts: {:?}; what failed: {:?}",
        lock(&seen.attempts),
        lock(&seen.trouble)
    );
    cluster.finish().await
}

/// Waits for some more requests; a client that gave up ends it.
async fn progress(seen: &Seen, clients: &mut JoinSet<Result<()>>) -> Result<()> {
    let before = seen.succeeded();
    let ended = wait_until("clients to get on", PROGRESS, async || {
        if let Some(ended) = clients.try_join_next() {
            return Ok(Some(Some(ended)));
        }
        ensure!(seen.succeeded() >= before + REQUESTS_BETWEEN, "not enough");
        Ok(Some(None))
    })
    .await?;
    match ended {
        Some(ended) => ended.context("a client panicked")?,
        None => Ok(()),
    }
}

impl Seen {
    fn succeeded(&self) -> u64 {
        lock(&self.attempts).values().sum()
    }
}

impl Client {
    async fn work(mut self) -> Result<()> {
        while !self.seen.stop.load(Ordering::SeqCst) {
            let seed = self.random.next_u64();
            let Image { manifest, blobs } = Image::random(seed, 1, LAYER_BYTES);
            let layer = blobs.last().context("a layer")?.clone();
            for blob in blobs {
                self.ask(Wish::PushBlob(blob)).await?;
            }
            self.ask(Wish::PushManifest(manifest.clone())).await?;
            self.ask(Wish::PullManifest(manifest)).await?;
            self.ask(Wish::PullBlob(layer)).await?;
        }
        Ok(())
    }

    /// Asks one node after the other.
    ///
    /// # Errors
    /// When [`ATTEMPTS_MAX`] attempts failed.
    async fn ask(&mut self, wish: Wish) -> Result<()> {
        for number in 1..=ATTEMPTS_MAX {
            let Err(error) = wish.send(&self.nodes[0], &self.repository).await else {
                *lock(&self.seen.attempts).entry(number).or_default() += 1;
                return Ok(());
            };
            let trouble = kind_of(&error);
            *lock(&self.seen.trouble).entry(trouble).or_default() += 1;
            ensure!(
                number < ATTEMPTS_MAX,
                "{}: {ATTEMPTS_MAX} attempts failed, the last with: {error:#}",
                self.repository
            );
            self.nodes.rotate_left(1);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Ok(())
    }
}

impl Wish {
    async fn send(&self, node: &Registry, repository: &str) -> Result<()> {
        match self {
            Self::PushBlob(blob) => node.push_blob(repository, blob).await,
            Self::PushManifest(manifest) => {
                node.put_manifest(repository, TAG, manifest).await?;
                Ok(())
            }
            Self::PullManifest(manifest) => node.verify_manifest(repository, TAG, manifest).await,
            Self::PullBlob(blob) => node.verify_blob(repository, blob).await,
        }
    }
}

/// A short word for an error.
fn kind_of(error: &anyhow::Error) -> String {
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        let kind = if error.is_connect() {
            "no connection"
        } else {
            "connection lost"
        };
        return kind.to_owned();
    }
    let text = error.to_string();
    let status = text.split("got ").nth(1).and_then(|rest| rest.get(..3));
    status.map_or_else(|| text.clone(), str::to_owned)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
