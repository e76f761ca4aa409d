//! Repair: a node fetches the copies that placement says it should have and
//! that it lacks, because it was down, was slow, or has lost them, or because
//! another node is lost. What it has beyond that goes when it is not needed.
//!
//! A look at all copies takes no more than a small part of the time; what is
//! fetched is bounded in number and rate. The invariant: a look that was cut
//! short changes nothing, and what a node lacks is never taken for what it has.

mod progress;
mod surplus;
mod survey;

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::GroupId;
use entrepot_metadata::query::Blob;
use entrepot_metadata::seam::Metadata;
use entrepot_oci::Digest;
use entrepot_proto::environment::Clock;
use futures::{StreamExt, stream};
use tokio::time::Instant;
use tracing::{info, warn};

pub(crate) use self::progress::RepairProgress;
use self::survey::Survey;
use crate::ClusterBlobs;
use crate::error::{ReplicationError, chain};
use crate::metrics::level;
use crate::ranges::Sums;

/// Between two passes. A peer that comes back starts one earlier, and while a
/// node drains somebody waits for the copies.
const PASS_INTERVAL: Duration = Duration::from_mins(1);
/// Between two passes at least, however often peers come and go.
const PASS_INTERVAL_MIN: Duration = Duration::from_secs(2);
/// A pass over very many copies takes its time: there is so much more without.
const REST_FACTOR: u32 = 30;
/// The same while a node joins or drains, which may be for long.
const REST_FACTOR_CHANGING: u32 = 3;
/// After the start, so that a node that comes back serves first.
const FIRST_PASS_DELAY: Duration = Duration::from_secs(2);
/// Between two looks at who is lost.
const LOST_INTERVAL: Duration = Duration::from_secs(1);
/// Copies that are fetched at the same time.
const FETCHES_MAX: usize = 4;

/// Brings this node's copies up to what placement asks for.
#[derive(Debug)]
pub struct Repair {
    blobs: Arc<ClusterBlobs>,
    metadata: Arc<dyn Metadata>,
    group: GroupId,
    clock: Arc<dyn Clock>,
}

// === impl Repair ===

impl Repair {
    pub fn new(
        blobs: Arc<ClusterBlobs>,
        metadata: Arc<dyn Metadata>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            group: GroupId::region(blobs.region().clone()),
            blobs,
            metadata,
            clock,
        }
    }

    /// Repairs until it is dropped.
    pub async fn run(self) {
        tokio::time::sleep(FIRST_PASS_DELAY).await;
        loop {
            let start = Instant::now();
            match self.pass().await {
                Ok(0) => {}
                Ok(fetched) => info!(fetched, "missing copies were fetched"),
                Err(error) => warn!(error = chain(&error), "repair was interrupted"),
            }
            self.rest(start.elapsed()).await;
        }
    }

    /// Waits for the next pass after one that took so long, and sees to what
    /// cannot wait for it.
    async fn rest(&self, took: Duration) {
        let rest = if self.blobs.is_changing() {
            took * REST_FACTOR_CHANGING
        } else {
            PASS_INTERVAL.max(took * REST_FACTOR)
        };
        let next = Instant::now() + rest;
        let mut health = self.blobs.health().changes();
        let mut peers = self.blobs.peers().changes();
        tokio::time::sleep(PASS_INTERVAL_MIN).await;
        loop {
            if self.note_lost() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => return,
                Ok(()) = peers.changed() => return,
                Ok(()) = health.changed() => {
                    self.note_lost();
                    return;
                }
                () = self.blobs.cache.full.notified() => {
                    if let Err(error) = self.thin_out(None).await {
                        warn!(error = chain(&error), "copies that are not needed cannot be dropped");
                    }
                }
                () = tokio::time::sleep(LOST_INTERVAL) => {}
            }
        }
    }

    /// Whether it has changed who is lost.
    fn note_lost(&self) -> bool {
        let blobs = &self.blobs;
        let nodes = blobs.peers.in_region(blobs.region());
        let before = blobs.lost.all();
        let changed = blobs.lost.note(&nodes, |node| blobs.health.is_alive(node));
        if changed {
            let lost = blobs.lost.all();
            warn!(?before, ?lost, "which nodes are taken for lost has changed");
        }
        changed
    }

    /// Looks at every blob of the region once; how many copies were fetched.
    pub async fn pass(&self) -> Result<u64, ReplicationError> {
        self.metadata.linearize(&self.group).await?;
        self.note_lost();
        let mut survey = Survey::make(&self.blobs, &self.metadata, &self.group).await?;
        let summaries = Sums::summaries(&survey.should, &survey.held);
        self.blobs.repair.summed(summaries);
        let (blobs, bytes) = (survey.missing_blobs, survey.missing_bytes);
        self.blobs.repair.looked(blobs, bytes);
        self.show_missing();
        let mut missing = std::mem::take(&mut survey.missing);
        if blobs > 0 && self.blobs.is_full() {
            // What is left is for the metadata: without it the node would end.
            warn!(
                blobs,
                "missing copies are not fetched while this node's disk is full"
            );
            missing.clear();
        }
        let fetched = self.fetch_all(missing).await;
        for digest in &fetched {
            survey.held.add(digest);
        }
        let summaries = Sums::summaries(&survey.should, &survey.held);
        self.blobs.repair.summed(summaries);
        let fetched = fetched.len() as u64;
        if fetched == blobs {
            self.blobs.repair.whole(self.clock.now_ms());
        }
        for stat in &survey.surplus {
            self.blobs.cache.find(&stat.digest, stat.size);
        }
        if !self.blobs.cache.beyond(1).is_empty() {
            let whole = self.compare(&survey).await;
            self.thin_out(Some(&whole)).await?;
        }
        Ok(fetched)
    }

    /// Those that are here then.
    async fn fetch_all(&self, missing: Vec<Blob>) -> Vec<Digest> {
        let fetches = stream::iter(missing).map(|blob| self.fetch(blob));
        let outcomes = fetches.buffer_unordered(FETCHES_MAX);
        outcomes.filter_map(async |digest| digest).collect().await
    }

    /// None: nobody can give it.
    async fn fetch(&self, blob: Blob) -> Option<Digest> {
        let (metrics, progress) = (&self.blobs.metrics, &self.blobs.repair);
        let (digest, size) = (blob.digest, blob.size);
        let pace = Some(Arc::clone(&self.blobs.repair_pace));
        let fetched = self.blobs.fetch_at(blob, pace).await;
        match &fetched {
            Ok(_) => {
                metrics.fetched_blobs.inc();
                metrics.fetched_bytes.inc_by(size);
                progress.fetched(size);
                self.blobs.cache.forget(&digest);
            }
            Err(error) => {
                metrics.fetch_failures.inc();
                progress.failed();
                warn!(%digest, error = chain(error), "a missing copy cannot be fetched");
            }
        }
        self.show_missing();
        fetched.is_ok().then_some(digest)
    }

    fn show_missing(&self) {
        let (blobs, bytes) = self.blobs.repair.missing();
        self.blobs.metrics.missing_blobs.set(level(blobs));
        self.blobs.metrics.missing_bytes.set(level(bytes));
    }
}
