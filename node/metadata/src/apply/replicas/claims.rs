//! For whose sake an image is here.
//!
//! A source claims an image from the push that brought it up to the deletion that
//! took it away. What nobody claims was brought by this registry's own pushes (or
//! came before claims were noted); its own claim is only noted where it shares the
//! image with a source. The invariant: what is claimed is here, and what goes is
//! claimed by nobody.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use crate::keys::{self, Key, Namespace};
use crate::limits::SCAN_PAGE;
use crate::overlay::Overlay;
use crate::read;
use crate::records::ReplicaRecord;
use crate::store::{KeyValue, StorageError};

/// The claims to an image, which need not be here.
pub(in super::super) struct Claims<'a> {
    pub(in super::super) account: &'a RegistryId,
    pub(in super::super) repository: &'a RepositoryName,
    pub(in super::super) digest: &'a Digest,
}

/// Whether it is a claim: else it is what is left of one.
pub(super) fn is_live(record: &ReplicaRecord) -> bool {
    record.pushed > record.deleted
}

// === impl Claims ===

impl Claims<'_> {
    fn page(
        &self,
        view: &dyn KeyValue,
        start: Option<&Key>,
    ) -> Result<Vec<(Key, ReplicaRecord)>, StorageError> {
        let (account, repository) = (self.account, self.repository);
        let prefix = keys::of_digest(Namespace::Replica, account, repository, self.digest);
        let pairs = read::page(view, &prefix, start, SCAN_PAGE)?.into_iter();
        let records = pairs.map(|(key, value)| {
            let record = read::decode(&key, value)?;
            Ok((Key::of(key.to_vec()), record))
        });
        records.collect()
    }

    /// Whether there is any.
    pub(super) fn any(&self, view: &dyn KeyValue) -> Result<bool, StorageError> {
        let mut start = None;
        loop {
            let page = self.page(view, start.as_ref())?;
            if page.iter().any(|(_, record)| is_live(record)) {
                return Ok(true);
            }
            match page.into_iter().nth(SCAN_PAGE - 1) {
                Some((last, _)) => start = Some(last.successor()),
                None => return Ok(false),
            }
        }
    }

    /// Before a source claims the image: one that is here and that nobody claims is
    /// this registry's own.
    pub(super) fn share(&self, overlay: &mut Overlay<'_>, index: u64) -> Result<(), StorageError> {
        let manifest = keys::manifest(self.account, self.repository, self.digest);
        if read::exists(overlay, &manifest)? && !self.any(overlay)? {
            self.claim_here(overlay, index);
        }
        Ok(())
    }

    /// This registry pushed it itself.
    pub(in super::super) fn pushed_here(
        &self,
        overlay: &mut Overlay<'_>,
        index: u64,
    ) -> Result<(), StorageError> {
        let here = keys::replica_of_here(self.account, self.repository, self.digest);
        if self.any(overlay)? && !read::exists(overlay, &here)? {
            self.claim_here(overlay, index);
        }
        Ok(())
    }

    fn claim_here(&self, overlay: &mut Overlay<'_>, index: u64) {
        let record = ReplicaRecord {
            pushed: index,
            deleted: 0,
        };
        let key = keys::replica_of_here(self.account, self.repository, self.digest);
        overlay.put(key, &record);
    }

    /// The image goes. What its sources have deleted stays known.
    pub(in super::super) fn end(&self, overlay: &mut Overlay<'_>) -> Result<usize, StorageError> {
        let mut start = None;
        let mut ended = 0;
        loop {
            let page = self.page(overlay, start.as_ref())?;
            let last = page.get(SCAN_PAGE - 1);
            start = last.map(|(last, _)| last.clone().successor());
            for (key, record) in page {
                if !is_live(&record) {
                    continue;
                }
                ended += 1;
                if record.deleted == 0 {
                    overlay.delete(key);
                } else {
                    let left = ReplicaRecord {
                        pushed: 0,
                        ..record
                    };
                    overlay.put(key, &left);
                }
            }
            if start.is_none() {
                return Ok(ended);
            }
        }
    }
}
