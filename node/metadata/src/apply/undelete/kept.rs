//! How much is kept of deleted images, and no more than may be.
//!
//! It counts for quotas of bytes as long as it is kept, though not as an image. The
//! invariants: the records of a repository and of its registry are the sums over what
//! is kept, after every command; and a repository keeps no more than [`KEPT_BYTES_MAX`]
//! once the deletions that follow have let go of the rest, and at no time more than
//! [`KEPT_EXCESS_MAX`] beyond: as an image comes, what was deleted first goes, as much
//! as there is room for in one command, and beyond the excess at least as much as came.

use std::collections::BTreeSet;

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::forget;
use crate::apply::held::Thing;
use crate::apply::manifests;
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{
    DELETION_MANIFESTS_PAGE, DELETION_STEP_PAIRS, KEPT_BYTES_MAX, KEPT_EXCESS_MAX,
};
use crate::overlay::Overlay;
use crate::query::{self, ManifestEntry};
use crate::read;
use crate::records::undelete::KeptRecord;
use crate::store::{KeyValue, StorageError};

/// What is kept of one deleted image.
pub(super) struct Kept<'a> {
    pub(super) account: &'a RegistryId,
    pub(super) repository: &'a RepositoryName,
    pub(super) manifest: &'a ManifestEntry,
    /// Log index of its deletion.
    pub(super) index: u64,
    /// How much it takes of what its repository may keep.
    pub(super) cost: u64,
}

// === impl Kept ===

impl Kept<'_> {
    /// It is kept from now on. Those that are too many with it have yet to go.
    pub(super) fn begin(&self, overlay: &mut Overlay<'_>) -> Result<(), StorageError> {
        overlay.mark(self.order());
        self.change(overlay, u64::saturating_add)?;
        let key = self.key();
        self.thing(&key).note(overlay)
    }

    /// It is not kept any more: it has come back, or goes for good.
    pub(super) fn end(&self, overlay: &mut Overlay<'_>) -> Result<(), StorageError> {
        overlay.delete(self.order());
        self.change(overlay, u64::saturating_sub)?;
        let key = self.key();
        self.thing(&key).remove(overlay)
    }

    fn change(
        &self,
        overlay: &mut Overlay<'_>,
        change: impl Fn(u64, u64) -> u64,
    ) -> Result<(), StorageError> {
        let both = [
            keys::kept(self.account),
            keys::repository_kept(self.account, self.repository),
        ];
        for key in both {
            let before: KeptRecord = read::record(overlay, &key)?.unwrap_or_default();
            let after = KeptRecord {
                images: change(before.images, 1),
                bytes: change(before.bytes, self.manifest.content_len),
                cost: change(before.cost, self.cost),
            };
            if after.images == 0 {
                overlay.delete(key);
            } else {
                overlay.put(key, &after);
            }
        }
        Ok(())
    }

    fn key(&self) -> Key {
        keys::deleted(self.account, self.repository, &self.manifest.digest)
    }

    fn order(&self) -> Key {
        let digest = &self.manifest.digest;
        keys::kept_order(self.account, self.repository, self.index, digest)
    }

    fn thing<'a>(&'a self, key: &'a Key) -> Thing<'a> {
        Thing {
            account: self.account,
            repository: self.repository,
            key,
            bytes: self.manifest.content_len,
            is_image: false,
        }
    }
}

/// What a repository may keep, and how much of the rest one command lets go.
#[derive(Clone, Copy)]
pub(in crate::apply) struct Bound {
    /// Beyond that, what was deleted first goes, as far as there is room for it.
    pub(in crate::apply) max: u64,
    /// Beyond `max` and that, it goes in any case: what comes can make it no more.
    pub(in crate::apply) excess: u64,
    /// Pairs that may be removed; the last image may take more than is left of them.
    pub(in crate::apply) room: usize,
}

// === impl Bound ===

impl Bound {
    pub(super) const OF_A_REPOSITORY: Self = Self {
        max: KEPT_BYTES_MAX,
        excess: KEPT_EXCESS_MAX,
        room: DELETION_STEP_PAIRS,
    };

    /// Lets go for good what is too much of what a repository keeps: what was deleted
    /// first first.
    pub(in crate::apply) fn keep_to(
        mut self,
        overlay: &mut Overlay<'_>,
        (account, repository): (&RegistryId, &RepositoryName),
        at_ms: i64,
    ) -> Result<(), StorageError> {
        let own = keys::repository_kept(account, repository);
        let mut released = BTreeSet::new();
        let mut after = None;
        while self.lets_go(overlay, &own)? {
            let first = oldest(overlay, account, repository, after.as_ref())?;
            if first.is_empty() {
                return Err(StorageError::corrupt(own.as_bytes(), "nothing is kept"));
            }
            for (order, digest) in first {
                if !self.lets_go(overlay, &own)? {
                    break;
                }
                let Some(image) = query::deleted_image(overlay, account, repository, &digest)?
                else {
                    let key = keys::deleted(account, repository, &digest);
                    return Err(StorageError::corrupt(key.as_bytes(), "it is not kept"));
                };
                let pairs = forget(overlay, account, repository, &image)?;
                self.room = self.room.saturating_sub(pairs);
                released.extend(image.manifest.blobs);
                after = Some(order.successor());
            }
        }
        // Once for all of them, and once they are all gone: whether a blob is used is
        // read past each use that this command has removed.
        manifests::release_each(overlay, account, repository, &released, at_ms)
    }

    fn lets_go(self, view: &dyn KeyValue, own: &Key) -> Result<bool, StorageError> {
        let record: Option<KeptRecord> = read::record(view, own)?;
        let cost = record.map_or(0, |record| record.cost);
        let max = if self.room > 0 {
            self.max
        } else {
            self.max.saturating_add(self.excess)
        };
        Ok(cost > max)
    }
}

/// The deleted images of a repository that were deleted first, from `start` on.
fn oldest(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    start: Option<&Key>,
) -> Result<Vec<(Key, Digest)>, StorageError> {
    let prefix = Key::new(Namespace::KeptOrder).home(account, repository);
    let found = read::page(view, &prefix, start, DELETION_MANIFESTS_PAGE)?;
    let found = found.iter().map(|(key, _)| {
        let mut parts = Parts::of(key);
        parts.registry()?;
        parts.text("repository")?;
        parts.number()?;
        Ok((Key::of(key.to_vec()), parts.digest()?))
    });
    found.collect()
}
