//! How much is kept of deleted images, and no more than may be.
//!
//! It counts for quotas of bytes as long as it is kept, though not as an image. The
//! invariants: the records of a repository and of its registry are the sums over what
//! is kept, after every command; and a repository keeps no more than
//! [`KEPT_BYTES_MAX`](crate::limits::KEPT_BYTES_MAX), for what was deleted first goes as
//! another image comes.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::forget;
use crate::apply::held::Thing;
use crate::apply::manifests;
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::DELETION_MANIFESTS_PAGE;
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

/// Lets go for good what is too much of what a repository keeps, if `max` is what it
/// may: what was deleted first first.
pub(in crate::apply) fn bound(
    overlay: &mut Overlay<'_>,
    (account, repository): (&RegistryId, &RepositoryName),
    max: u64,
    at_ms: i64,
) -> Result<(), StorageError> {
    let own = keys::repository_kept(account, repository);
    let is_too_much = |view: &dyn KeyValue| {
        let record: Option<KeptRecord> = read::record(view, &own)?;
        Ok(record.is_some_and(|record| record.cost > max))
    };
    while is_too_much(overlay)? {
        let first = oldest(overlay, account, repository)?;
        if first.is_empty() {
            return Err(StorageError::corrupt(own.as_bytes(), "nothing is kept"));
        }
        for digest in first {
            if !is_too_much(overlay)? {
                break;
            }
            let Some(image) = query::deleted_image(overlay, account, repository, &digest)? else {
                let key = keys::deleted(account, repository, &digest);
                return Err(StorageError::corrupt(key.as_bytes(), "it is not kept"));
            };
            forget(overlay, account, repository, &image)?;
            manifests::release(overlay, account, repository, &image.manifest, at_ms)?;
        }
    }
    Ok(())
}

/// The deleted images of a repository that were deleted first.
fn oldest(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<Vec<Digest>, StorageError> {
    let prefix = Key::new(Namespace::KeptOrder).home(account, repository);
    let found = read::page(view, &prefix, None, DELETION_MANIFESTS_PAGE)?;
    let found = found.iter().map(|(key, _)| {
        let mut parts = Parts::of(key);
        parts.registry()?;
        parts.text("repository")?;
        parts.number()?;
        parts.digest()
    });
    found.collect()
}
