//! Readers that pull what was acknowledged, the whole time, through all nodes.
//!
//! A node that is killed breaks off, and one that has no quorum says so: both may be
//! tried again. That an image is not there while nobody has begun to delete it, or
//! has another byte, is the end of the test.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use entrepot_harness::{Blob, Random, Registry};
use tokio::task::JoinSet;

use super::books::{Books, Held};
use crate::support::US;

const READERS: u64 = 3;
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Readers {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<()>>,
}

#[derive(Debug)]
struct Shared {
    books: Arc<Books>,
    registries: Vec<Registry>,
    stop: AtomicBool,
    found_wrong: AtomicBool,
    counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    whole: AtomicU64,
    again: AtomicU64,
    deleted: AtomicU64,
}

/// How a read of something ended that can be told apart.
enum Read {
    Right,
    /// The node was killed, or could not tell.
    Again,
    NotThere(String),
}

// === impl Readers ===

impl Readers {
    pub(super) fn start(seed: u64, books: &Arc<Books>, registries: &[Registry]) -> Self {
        let shared = Arc::new(Shared {
            books: Arc::clone(books),
            registries: registries.to_vec(),
            stop: AtomicBool::new(false),
            found_wrong: AtomicBool::new(false),
            counts: Counts::default(),
        });
        let mut tasks = JoinSet::new();
        for nth in 0..READERS {
            let shared = Arc::clone(&shared);
            let mut random = Random::new(seed ^ 0x7265_6164 ^ (nth << 40));
            tasks.spawn(async move {
                let read = shared.read(&mut random).await;
                if read.is_err() {
                    shared.found_wrong.store(true, Ordering::SeqCst);
                }
                read
            });
        }
        Self { shared, tasks }
    }

    /// Whether nothing wrong has been found.
    pub(super) fn are_running(&self) -> bool {
        !self.shared.found_wrong.load(Ordering::SeqCst)
    }

    pub(super) async fn stop(mut self) -> Result<String> {
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a reader panicked")??;
        }
        let counts = &self.shared.counts;
        ensure!(
            counts.whole.load(Ordering::SeqCst) > 0,
            "nothing was pulled"
        );
        Ok(counts.to_string())
    }
}

impl Shared {
    async fn read(&self, random: &mut Random) -> Result<()> {
        while !self.stop.load(Ordering::SeqCst) {
            tokio::time::sleep(PAUSE).await;
            let Some(held) = self.books.any(US, random) else {
                continue;
            };
            let registry = &self.registries[random.below(self.registries.len())];
            let counted = match pull(registry, &held).await? {
                Read::Right => &self.counts.whole,
                Read::Again => &self.counts.again,
                Read::NotThere(what) => {
                    let has_stayed = self.books.has_stayed(&held);
                    ensure!(!has_stayed, "acknowledged, not deleted, not there: {what}");
                    &self.counts.deleted
                }
            };
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [whole, again, deleted] =
            [&self.whole, &self.again, &self.deleted].map(|count| count.load(Ordering::SeqCst));
        write!(
            f,
            "{whole} images whole, {again} to be tried again, {deleted} were deleted meanwhile"
        )
    }
}

/// An image with all its blobs.
async fn pull(registry: &Registry, held: &Held) -> Result<Read> {
    let repository = &held.repository;
    let manifest = &held.image.manifest;
    let path = format!("/v2/{repository}/manifests/{}", manifest.digest);
    match get(registry, &path, manifest).await? {
        Read::Right => {}
        other => return Ok(other),
    }
    for blob in &held.image.blobs {
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        match get(registry, &path, blob).await? {
            Read::Right => {}
            other => return Ok(other),
        }
    }
    Ok(Read::Right)
}

async fn get(registry: &Registry, path: &str, expected: &Blob) -> Result<Read> {
    let Ok(reply) = registry.get(path).send().await else {
        return Ok(Read::Again);
    };
    match reply.status {
        200 => {
            ensure!(
                reply.body == expected.content,
                "{}: other bytes",
                reply.what
            );
            Ok(Read::Right)
        }
        429 | 500..=599 => Ok(Read::Again),
        404 => {
            let error = reply.first_error()?;
            Ok(Read::NotThere(format!("{}: {error}", reply.what)))
        }
        status => bail!("{}: {status}", reply.what),
    }
}
