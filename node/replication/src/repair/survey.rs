//! A look at all copies: what this node should hold, what it holds, and what it
//! expects of the others.
//!
//! The region's blobs and this node's files come in the same order, so one walk
//! over both finds the differences without asking for a single file, and without
//! keeping either list.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use entrepot_blobs::{BlobStat, BlobStore};
use entrepot_metadata::GroupId;
use entrepot_metadata::query::{self, Blob};
use entrepot_metadata::seam::Metadata;
use entrepot_oci::Digest;

use crate::ClusterBlobs;
use crate::error::ReplicationError;
use crate::ranges::Sums;

/// Blobs of the metadata, and files, that are looked at together.
const PAGE: usize = 500;
/// Missing copies that one look names; the next one names the rest.
const MISSING_MAX: usize = 10_000;
/// The same for copies beyond the placement.
const SURPLUS_MAX: usize = 100_000;

/// What a look has found.
#[derive(Debug)]
pub(super) struct Survey {
    /// What this node should hold.
    pub(super) should: Sums,
    /// What it holds of that.
    pub(super) held: Sums,
    /// What each node should hold.
    pub(super) expected: BTreeMap<u64, Sums>,
    /// What it lacks, the first of them.
    pub(super) missing: Vec<Blob>,
    pub(super) missing_blobs: u64,
    pub(super) missing_bytes: u64,
    /// What it holds beyond that, of what the region knows.
    pub(super) surplus: Vec<BlobStat>,
}

/// This node's files, in order.
struct Files<'a> {
    store: &'a dyn BlobStore,
    page: VecDeque<BlobStat>,
    after: Option<Digest>,
    ended: bool,
}

// === impl Survey ===

impl Survey {
    pub(super) async fn make(
        blobs: &ClusterBlobs,
        metadata: &Arc<dyn Metadata>,
        group: &GroupId,
    ) -> Result<Self, ReplicationError> {
        let mut survey = Self {
            should: Sums::new(),
            held: Sums::new(),
            expected: BTreeMap::new(),
            missing: Vec::new(),
            missing_blobs: 0,
            missing_bytes: 0,
            surplus: Vec::new(),
        };
        let mut files = Files::new(blobs.store.as_ref());
        let mut after: Option<Digest> = None;
        loop {
            let view = metadata.view(group)?;
            let page = query::blobs(view.as_ref(), after.as_ref(), PAGE)?;
            let Some(last) = page.last() else {
                return Ok(survey);
            };
            after = Some(last.digest);
            for blob in page {
                // What the metadata keeps, no node has a copy of.
                if blob.content.is_none() {
                    let found = files.find(&blob.digest).await?;
                    survey.count(blobs, blob, found);
                }
            }
        }
    }

    fn count(&mut self, blobs: &ClusterBlobs, blob: Blob, found: Option<BlobStat>) {
        let placement = blobs.placement(&blob.digest);
        for node in &placement {
            let expected = self.expected.entry(*node).or_insert_with(Sums::new);
            expected.add(&blob.digest);
        }
        if !placement.contains(&blobs.own()) {
            if let Some(stat) = found
                && self.surplus.len() < SURPLUS_MAX
            {
                self.surplus.push(stat);
            }
            return;
        }
        self.should.add(&blob.digest);
        if found.is_some_and(|stat| stat.size == blob.size) {
            self.held.add(&blob.digest);
            return;
        }
        self.missing_blobs += 1;
        self.missing_bytes += blob.size;
        if self.missing.len() < MISSING_MAX {
            self.missing.push(blob);
        }
    }
}

// === impl Files ===

impl<'a> Files<'a> {
    fn new(store: &'a dyn BlobStore) -> Self {
        Self {
            store,
            page: VecDeque::new(),
            after: None,
            ended: false,
        }
    }

    /// The file of `digest`, which is not before the one that was asked for last.
    async fn find(&mut self, digest: &Digest) -> Result<Option<BlobStat>, ReplicationError> {
        loop {
            while let Some(stat) = self.page.front() {
                if stat.digest > *digest {
                    return Ok(None);
                }
                let stat = self.page.pop_front();
                if let Some(stat) = stat.filter(|stat| stat.digest == *digest) {
                    return Ok(Some(stat));
                }
            }
            if self.ended {
                return Ok(None);
            }
            let page = self.store.list(self.after.as_ref(), PAGE).await?;
            self.ended = page.is_empty();
            self.after = page.last().map(|stat| stat.digest).or(self.after);
            self.page = page.into();
        }
    }
}
