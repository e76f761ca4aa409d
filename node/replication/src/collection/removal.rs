//! Files of what was collected go.
//!
//! In bounded batches, each of which can be cut short anywhere: what was not confirmed
//! is looked at again. The invariant: between the look at the newest state and the end
//! of a file nobody else has its turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_metadata::GroupId;
use entrepot_metadata::limits::COLLECTED_AT_ONCE_MAX;
use entrepot_metadata::query::{self, ToDelete};
use entrepot_metadata::seam::Metadata;
use entrepot_oci::Digest;
use futures::{StreamExt, stream};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing::{info, warn};

use super::{Records, Turn};
use crate::ClusterBlobs;
use crate::error::{ReplicationError, chain};

/// Files of one batch: so few that whoever reads meanwhile waits for some milliseconds
/// until it is confirmed.
const BATCH: usize = 200;
const _: () = assert!(BATCH <= COLLECTED_AT_ONCE_MAX);
/// Files that are deleted at the same time: a file system takes one after the other,
/// and clients want the cores.
const AT_ONCE: usize = 4;
/// From one look at what there is to delete to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same while there is something.
const NEXT_INTERVAL: Duration = Duration::from_millis(100);
/// The same when there is something that could not be deleted.
const FAILED_INTERVAL: Duration = Duration::from_secs(30);

/// Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct RemovalMetrics {
    pub files: Counter,
    pub failures: Counter,
    /// Of this node, at most a batch.
    pub pending: Gauge,
}

/// Deletes this node's files of what was collected.
#[derive(Debug)]
pub struct Removals {
    blobs: Arc<ClusterBlobs>,
    records: Records,
    metrics: RemovalMetrics,
    /// How far a look has come at all that there is to delete. What could not be deleted
    /// is passed over until the next, so that it keeps nothing back that comes after it.
    look: Mutex<Look>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Look {
    /// None: at its beginning.
    after: Option<Digest>,
    has_failed: bool,
}

// === impl RemovalMetrics ===

impl RemovalMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "gc_files_deleted",
            "Files of collected blobs that this node has deleted",
            self.files.clone(),
        );
        registry.register(
            "gc_file_failures",
            "Files of collected blobs that could not be deleted, and are tried again",
            self.failures.clone(),
        );
        registry.register(
            "gc_files_pending",
            "Files that this node has still to delete, 200 at most",
            self.pending.clone(),
        );
    }
}

// === impl Removals ===

impl Removals {
    pub fn new(
        blobs: Arc<ClusterBlobs>,
        metadata: Arc<dyn Metadata>,
        metrics: RemovalMetrics,
    ) -> Self {
        Self {
            records: Records {
                metadata,
                group: GroupId::region(blobs.region().clone()),
            },
            blobs,
            metrics,
            look: Mutex::default(),
        }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        loop {
            match self.batch().await {
                Ok(BATCH) => {}
                Ok(_) if self.look().after.is_some() => {}
                Ok(_) if std::mem::take(&mut self.look().has_failed) => {
                    tokio::time::sleep(FAILED_INTERVAL).await;
                }
                Ok(0) => tokio::time::sleep(LOOK_INTERVAL).await,
                // What is collected goes at the same pace, not all of a second at once.
                Ok(_) => tokio::time::sleep(NEXT_INTERVAL).await,
                Err(error) => {
                    self.metrics.failures.inc();
                    self.blobs.standing.note(|it| it.file_failures += 1);
                    warn!(
                        error = chain(&error),
                        "what was collected is not deleted yet"
                    );
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            }
        }
    }

    fn look(&self) -> MutexGuard<'_, Look> {
        // It is whole between any two statements that hold it.
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes some of what there is to delete; how much of it is done.
    pub async fn batch(&self) -> Result<usize, ReplicationError> {
        let records = &self.records;
        let own = self.blobs.own();
        let view = records.metadata.view(&records.group)?;
        let after = self.look().after;
        let found = query::all_to_delete(view.as_ref(), own, after.as_ref(), BATCH)?;
        drop(view);
        self.look().after = None;
        let last = found.last().map(|it| it.digest);
        let further = last.filter(|_| found.len() == BATCH);
        self.metrics
            .pending
            .set(i64::try_from(found.len()).unwrap_or(i64::MAX));
        // Whoever writes one of the others confirms it.
        let turns = found.iter().filter_map(|it| {
            let turn = self.blobs.turns.try_take(&it.digest)?;
            Some((it.digest, turn))
        });
        let turns: Vec<_> = turns.collect();
        if turns.is_empty() {
            self.look().after = further;
            return Ok(0);
        }
        // A restart may have brought an old state back, in which something is still to
        // be deleted that was written anew since.
        records.metadata.linearize(&records.group).await?;
        let view = records.metadata.view(&records.group)?;
        let mut due: Vec<(ToDelete, bool, Turn)> = Vec::with_capacity(turns.len());
        for (digest, turn) in turns {
            let Some(found) = query::to_delete(view.as_ref(), own, &digest)? else {
                continue;
            };
            // What has come back may rely on the file, which is as good as another.
            let goes = query::blob(view.as_ref(), &digest)?.is_none();
            let goes = goes && !self.blobs.turns.is_pinned(&digest);
            due.push((found, goes, turn));
        }
        drop(view);
        let ends = due
            .into_iter()
            .map(|(found, goes, turn)| self.end(found, goes, turn));
        let ends: Vec<_> = ends.collect();
        let ended = stream::iter(ends).buffer_unordered(AT_ONCE);
        let ended: Vec<Option<(ToDelete, Turn)>> = ended.collect().await;
        // Nobody writes them before it is known that nothing is to be deleted.
        let named = ended.len();
        let (done, turns): (Vec<_>, Vec<_>) = ended.into_iter().flatten().unzip();
        if done.len() < named {
            self.look().has_failed = true;
        }
        if !done.is_empty() {
            records.confirm(own, &done).await?;
        }
        drop(turns);
        // What is left of these is met again by the next look.
        let all_done = done.len() == BATCH;
        self.look().after = if all_done { after } else { further };
        Ok(done.len())
    }

    /// None: it has to be tried again.
    async fn end(&self, found: ToDelete, goes: bool, turn: Turn) -> Option<(ToDelete, Turn)> {
        if !goes {
            return Some((found, turn));
        }
        let ToDelete { digest, index } = found;
        match self.blobs.delete_in_turn(turn).await {
            Ok((existed, turn)) => {
                self.blobs.cache.forget(&digest);
                if existed {
                    self.metrics.files.inc();
                    self.blobs.standing.note(|it| it.files_deleted += 1);
                    info!(%digest, index, "the file of a collected blob was deleted");
                }
                Some((found, turn))
            }
            Err(error) => {
                self.metrics.failures.inc();
                self.blobs.standing.note(|it| it.file_failures += 1);
                warn!(%digest, index, error = chain(&error), "the file of a collected blob cannot be deleted");
                None
            }
        }
    }
}
