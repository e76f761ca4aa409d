//! Files that the region knows nothing of: of pushes that ended between their copies
//! and their link, and of copies that were made while their blob was collected.
//!
//! Whether such a file goes is decided like everything else, by a command that looks
//! again; that it is there for a while first is only so that pushes under way are not
//! disturbed. The invariant: no blob is deleted here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use entrepot_blobs::{Abandoned, BlobStat};
use entrepot_metadata::GroupId;
use entrepot_metadata::query;
use entrepot_metadata::seam::Metadata;
use entrepot_oci::Digest;
use entrepot_proto::environment::Clock;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{COLLECTION_LEVEL, Records};
use crate::ClusterBlobs;
use crate::error::{ReplicationError, chain};

/// A file goes when nobody has known it for so long, unless an operator says
/// otherwise.
pub const ORPHAN_PATIENCE: Duration = Duration::from_hours(1);
/// What uploads have left behind goes when nobody has written to it for so long.
pub(crate) const STAGING_IDLE: Duration = Duration::from_hours(1);
/// From the end of one look at all files to the next, and after the start.
const INTERVAL: Duration = Duration::from_mins(20);
/// Files of one page, and a breath between two.
const PAGE: usize = 500;
const PAGE_REST: Duration = Duration::from_millis(50);
/// Files that are remembered at a time; the next look finds the others.
const SUSPECTS_MAX: usize = 100_000;

/// Finds this node's files of which nobody knows, and deletes what uploads have left
/// behind.
#[derive(Debug)]
pub struct Orphans {
    blobs: Arc<ClusterBlobs>,
    records: Records,
    clock: Arc<dyn Clock>,
    patience: Duration,
    suspects: BTreeMap<Digest, Instant>,
}

// === impl Orphans ===

impl Orphans {
    pub fn new(
        blobs: Arc<ClusterBlobs>,
        metadata: Arc<dyn Metadata>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            records: Records {
                metadata,
                group: GroupId::region(blobs.region().clone()),
            },
            blobs,
            clock,
            patience: ORPHAN_PATIENCE,
            suspects: BTreeMap::new(),
        }
    }

    /// Files go that nobody has known for so long.
    #[must_use]
    pub fn after(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(INTERVAL.min(self.patience)).await;
            if let Err(error) = self.look().await {
                warn!(
                    error = chain(&error),
                    "files that nobody knows are not looked for"
                );
            }
            if let Err(error) = self.clear_staging().await {
                warn!(
                    error = chain(&error),
                    "what uploads have left behind is not deleted"
                );
            }
        }
    }

    /// Deletes what uploads have left behind that are over.
    pub async fn clear_staging(&self) -> Result<(), ReplicationError> {
        let found = self.blobs.store.abandoned(STAGING_IDLE, true).await?;
        let Abandoned { files, bytes, .. } = found;
        if files > 0 {
            info!(files, bytes, "what uploads had left behind was deleted");
        }
        Ok(())
    }

    /// Looks at all files once; how many are to go.
    pub async fn look(&mut self) -> Result<u64, ReplicationError> {
        if !self.records.metadata.understands(COLLECTION_LEVEL)? {
            return Ok(0);
        }
        let mut known = std::mem::take(&mut self.suspects);
        let looked = self.look_at_all(&mut known).await;
        if looked.is_err() {
            // Those that were not come to are no younger for it.
            self.suspects.append(&mut known);
        }
        looked
    }

    async fn look_at_all(
        &mut self,
        known: &mut BTreeMap<Digest, Instant>,
    ) -> Result<u64, ReplicationError> {
        let mut collected = 0;
        let mut after = None;
        loop {
            let page = self.blobs.store.list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(collected);
            };
            after = Some(last.digest);
            let mut due = Vec::new();
            for stat in page {
                if !self.is_unknown(&stat.digest)? {
                    continue;
                }
                let since = known.remove(&stat.digest).unwrap_or_else(Instant::now);
                if since.elapsed() >= self.patience {
                    due.push(stat);
                } else if self.suspects.len() < SUSPECTS_MAX {
                    self.suspects.insert(stat.digest, since);
                }
            }
            if !due.is_empty() {
                collected += self.collect(&due).await?;
            }
            tokio::time::sleep(PAGE_REST).await;
        }
    }

    fn is_unknown(&self, digest: &Digest) -> Result<bool, ReplicationError> {
        let view = self.records.metadata.view(&self.records.group)?;
        let view = view.as_ref();
        Ok(query::collection(view)?.is_some() && self.blobs.is_nobodys(view, digest)?)
    }

    async fn collect(&self, due: &[BlobStat]) -> Result<u64, ReplicationError> {
        let (own, now_ms) = (self.blobs.own(), self.clock.now_ms());
        self.records.collect_files(own, due, now_ms).await
    }
}
