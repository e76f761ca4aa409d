//! What a check finds wrong is put right, as far as that can be done: files that
//! nobody knows are collected, copies are fetched from the others.
//!
//! Takes no longer than a page may; what is left then is found again by the next page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use entrepot_blobs::BlobStat;
use entrepot_metadata::query;
use entrepot_oci::Digest;
use entrepot_proto::peer::{FileFault, FileFinding};
use futures::{StreamExt, stream};
use tokio::time::Instant;
use tracing::warn;

use super::Suspect;
use crate::ClusterBlobs;
use crate::cluster_blobs::MENDED_MAX;
use crate::collection::{COLLECTION_LEVEL, ORPHAN_PATIENCE, Records};
use crate::error::{ReplicationError, chain};

/// For one of them. It goes on in the background.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// From the beginning of a page; after that no fetch of it is begun but the first ones.
const FETCHES_TIME: Duration = Duration::from_secs(12);

/// What became of a page.
#[derive(Debug, Default)]
pub(super) struct Mended {
    pub(super) findings: Vec<FileFinding>,
    /// It ends here, before its time: there was too much to do.
    pub(super) cut_at: Option<Digest>,
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// `findings` are those of `suspects`, in the same order, which is that of their
    /// digests. `start`: of the page.
    pub(super) async fn mend(
        self: &Arc<Self>,
        records: &Records,
        suspects: Vec<Suspect>,
        findings: Vec<FileFinding>,
        at_ms: i64,
        start: Instant,
    ) -> Mended {
        let mut mended = Mended::default();
        let mut wrong: Vec<(Suspect, FileFinding)> = suspects.into_iter().zip(findings).collect();
        self.collect_orphans(records, &mut wrong, at_ms).await;
        let is_orphan = |(suspect, _): &(Suspect, _)| suspect.fault == FileFault::Orphan;
        let (orphans, mut wrong): (Vec<_>, Vec<_>) = wrong.into_iter().partition(is_orphan);
        mended.findings = orphans.into_iter().map(|(_, finding)| finding).collect();
        while !wrong.is_empty() {
            let rest = wrong.split_off(MENDED_MAX.min(wrong.len()));
            let last = wrong.last().map(|(suspect, _)| suspect.digest);
            let fetches = wrong
                .into_iter()
                .map(|(suspect, finding)| self.fetch_again(suspect, finding));
            let fetches: Vec<_> = fetches.collect();
            let copies = stream::iter(fetches).buffered(MENDED_MAX);
            mended.findings.extend(copies.collect::<Vec<_>>().await);
            if !rest.is_empty() && start.elapsed() >= FETCHES_TIME {
                mended.cut_at = last;
                break;
            }
            wrong = rest;
        }
        mended
    }

    async fn collect_orphans(
        &self,
        records: &Records,
        wrong: &mut [(Suspect, FileFinding)],
        at_ms: i64,
    ) {
        let mut due = BTreeMap::new();
        for (suspect, finding) in &mut *wrong {
            if suspect.fault != FileFault::Orphan {
                continue;
            }
            let digest = suspect.digest;
            match self.store.unwritten_for(&digest).await {
                Ok(Some(age)) if age < ORPHAN_PATIENCE => {
                    "it was written within the last hour, and may belong to a push under way"
                        .clone_into(&mut finding.failure);
                }
                Ok(_) => {
                    let size = suspect.file_bytes.unwrap_or_default();
                    due.insert(digest, BlobStat { digest, size });
                }
                Err(error) => finding.failure = chain(&error),
            }
        }
        if due.is_empty() {
            return;
        }
        let stats: Vec<BlobStat> = due.values().cloned().collect();
        let collected = self.collect_nobodys(records, &stats, at_ms).await;
        for (suspect, finding) in wrong {
            if !due.contains_key(&suspect.digest) {
                continue;
            }
            match &collected {
                Ok(gone) => finding.mended = gone.contains(&suspect.digest),
                Err(error) => finding.failure = chain(error),
            }
        }
    }

    /// Fetches what is missing, or wrong, from the others.
    async fn fetch_again(
        self: &Arc<Self>,
        suspect: Suspect,
        mut finding: FileFinding,
    ) -> FileFinding {
        let Some(blob) = suspect.blob else {
            return finding;
        };
        if self.is_full() {
            "this node's disk is full".clone_into(&mut finding.failure);
            return finding;
        }
        let Ok(permit) = Arc::clone(&self.mending).try_acquire_owned() else {
            "this node is still fetching others: it is left to repair"
                .clone_into(&mut finding.failure);
            return finding;
        };
        let (blobs, size) = (Arc::clone(self), blob.size);
        // It goes on when nobody waits for it any more.
        let fetch = tokio::spawn(async move {
            let pace = Arc::clone(&blobs.repair_pace);
            let fetched = blobs.fetch_at(blob, Some(pace)).await;
            drop(permit);
            fetched
        });
        match tokio::time::timeout(FETCH_TIMEOUT, fetch).await {
            Ok(Ok(Ok(_))) => {
                self.metrics.fetched_blobs.inc();
                self.metrics.fetched_bytes.inc_by(size);
                self.cache.forget(&suspect.digest);
                finding.mended = true;
            }
            Ok(Ok(Err(error))) => {
                let (digest, error) = (suspect.digest, chain(&error));
                warn!(%digest, error, "a copy that is not right cannot be fetched");
                finding.failure = error;
            }
            Ok(Err(error)) => finding.failure = error.to_string(),
            Err(_) => "it is still being fetched".clone_into(&mut finding.failure),
        }
        finding
    }

    /// Has files go that nobody knows, if that is still so; those that are on their
    /// way out then.
    pub(crate) async fn collect_nobodys(
        &self,
        records: &Records,
        due: &[BlobStat],
        at_ms: i64,
    ) -> Result<Vec<Digest>, ReplicationError> {
        if !records.metadata.understands(COLLECTION_LEVEL)? {
            let reason = "not all nodes of the cluster know of collection yet".to_owned();
            return Err(ReplicationError::Refused(reason));
        }
        records.collect_files(self.own(), due, at_ms).await?;
        let view = records.metadata.view(&records.group)?;
        let mut gone = Vec::with_capacity(due.len());
        for stat in due {
            let found = query::to_delete(view.as_ref(), self.own(), &stat.digest)?;
            let is_gone = found.is_some() || self.store.stat(&stat.digest).await?.is_none();
            gone.extend(is_gone.then_some(stat.digest));
        }
        Ok(gone)
    }
}
