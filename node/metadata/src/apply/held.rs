//! How many bytes and images a registry and its repositories hold, and that it is no
//! more than may be.
//!
//! Nothing is counted in a registry before the first quota of bytes, or of all its
//! images, is set in it. What was there by then is counted in bounded steps, one with
//! whatever comes: first the links of all its repositories, then their manifests, as
//! their keys sort, those of deleted images that can be restored last. The invariant:
//! what is said to be held is the sum over the links and the manifests up to where the
//! count has got, after every command, whichever made or removed them; so whether more
//! fits is decided exactly, once all is counted.

use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::counts::Counted;
use super::{Stop, invalid, parse};
use crate::command::CountHeld;
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{COUNT_STEP, DELETION_MANIFESTS_PAGE};
use crate::overlay::Overlay;
use crate::query::{self, Allowance, RegistrySettings};
use crate::read;
use crate::records::held::{HeldRecord, RepositoryHeldRecord};
use crate::records::undelete::DeletedRecord;
use crate::records::{BlobRecord, ManifestRecord, RepositoryRecord, SettingsRecord};
use crate::response::{Done, Outcome, Refused};
use crate::store::{KeyValue, StorageError};

/// A link or a manifest that comes or goes. What is kept of a deleted image is no image.
pub(super) struct Thing<'a> {
    pub(super) account: &'a RegistryId,
    pub(super) repository: &'a RepositoryName,
    /// Under which it is stored.
    pub(super) key: &'a Key,
    pub(super) bytes: u64,
    pub(super) is_image: bool,
}

/// What something comes into.
pub(super) struct Bounds<'a> {
    pub(super) settings: &'a RegistrySettings,
    pub(super) record: &'a RepositoryRecord,
    /// Not: it is counted and not refused.
    pub(super) is_bounded: bool,
    /// Its bytes were held before: none come with it.
    pub(super) is_held: bool,
}

/// What came to be counted of each repository.
type Further = BTreeMap<RepositoryName, RepositoryHeldRecord>;

// === impl Thing ===

impl Thing<'_> {
    /// An image comes: against the quotas of images of its repository, and as any
    /// thing. Nothing is counted in a registry without quotas, and what was there
    /// before by [`advance_images`] alone.
    ///
    /// # Errors
    /// [`Refused::QuotaReached`] if it does not fit.
    pub(super) fn add_image(
        &self,
        overlay: &mut Overlay<'_>,
        bounds: &Bounds<'_>,
    ) -> Result<(), Stop> {
        if bounds.settings.quotas.is_none() {
            return Ok(());
        }
        let max = bounds.settings.of_repository(bounds.record).images;
        let max = bounds.is_bounded.then_some(max);
        Counted::Images(self.account, self.repository).add_one(overlay, self.key, max)?;
        self.add(overlay, bounds)
    }

    /// It comes, and has yet to be written. What was there before is counted by
    /// [`advance`] alone.
    ///
    /// # Errors
    /// [`Refused::QuotaReached`] if it does not fit.
    pub(super) fn add(&self, overlay: &mut Overlay<'_>, bounds: &Bounds<'_>) -> Result<(), Stop> {
        if !bounds.settings.counts_bytes {
            return Ok(());
        }
        let mut registry = registry_held(overlay, self.account)?;
        let mut here = self.here(overlay)?;
        if bounds.is_bounded {
            let home = (self.account, self.repository);
            let allowance = Allowance::new(home, bounds.settings, bounds.record, &registry, &here);
            if self.is_image {
                allowance.check_image().map_err(Refused::QuotaReached)?;
            }
            let more = if bounds.is_held { 0 } else { self.bytes };
            let fits = allowance.check_bytes(more);
            fits.map_err(Refused::QuotaReached)?;
        }
        if registry.has_counted(self.key.as_bytes()) {
            registry.bytes = registry.bytes.saturating_add(self.bytes);
            registry.images += u64::from(self.is_image);
            here.bytes = here.bytes.saturating_add(self.bytes);
            here.images += u64::from(self.is_image);
        }
        overlay.put(keys::held(self.account), &registry);
        let key = keys::repository_held(self.account, self.repository);
        overlay.put(key, &here);
        Ok(())
    }

    /// It comes, and is not refused: it is counted if the count has got there.
    pub(super) fn note(&self, overlay: &mut Overlay<'_>) -> Result<(), StorageError> {
        self.change(overlay, u64::saturating_add)
    }

    /// It goes.
    pub(super) fn remove(&self, overlay: &mut Overlay<'_>) -> Result<(), StorageError> {
        self.change(overlay, u64::saturating_sub)
    }

    fn change(
        &self,
        overlay: &mut Overlay<'_>,
        change: impl Fn(u64, u64) -> u64,
    ) -> Result<(), StorageError> {
        let key = keys::held(self.account);
        let Some(mut registry): Option<HeldRecord> = read::record(overlay, &key)? else {
            return Ok(());
        };
        if !registry.has_counted(self.key.as_bytes()) {
            return Ok(());
        }
        let mut here = self.here(overlay)?;
        let images = u64::from(self.is_image);
        registry.bytes = change(registry.bytes, self.bytes);
        registry.images = change(registry.images, images);
        here.bytes = change(here.bytes, self.bytes);
        here.images = change(here.images, images);
        overlay.put(key, &registry);
        let key = keys::repository_held(self.account, self.repository);
        overlay.put(key, &here);
        Ok(())
    }

    fn here(&self, view: &dyn KeyValue) -> Result<RepositoryHeldRecord, StorageError> {
        repository_held(view, self.account, self.repository)
    }
}

fn repository_held(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<RepositoryHeldRecord, StorageError> {
    let key = keys::repository_held(account, repository);
    Ok(read::record(view, &key)?.unwrap_or_default())
}

/// A blob is no longer linked in a repository, and the link was stored under `key`.
pub(super) fn unlinked(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    key: &Key,
    digest: &Digest,
) -> Result<(), StorageError> {
    // Before the size is looked up, which most registries need not have.
    if !read::exists(overlay, &keys::held(account))? {
        return Ok(());
    }
    let bytes = blob_bytes(overlay, digest)?;
    let is_image = false;
    Thing {
        account,
        repository,
        key,
        bytes,
        is_image,
    }
    .remove(overlay)
}

/// A manifest is gone from a repository, which was stored under `key`.
pub(super) fn manifest_gone(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    key: &Key,
    bytes: u64,
) -> Result<(), StorageError> {
    let is_image = true;
    Thing {
        account,
        repository,
        key,
        bytes,
        is_image,
    }
    .remove(overlay)
}

/// A repository is gone with all that it held.
pub(super) fn forget(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<(), StorageError> {
    let key = keys::repository_held(account, repository);
    if read::exists(overlay, &key)? {
        overlay.delete(key);
    }
    Ok(())
}

/// What is in a registry is counted from now on.
pub(super) fn begin(settings: &mut SettingsRecord) {
    settings.counts_bytes = true;
    settings.quotas.get_or_insert_default();
}

/// Before images come into a repository: a step further in counting those that were
/// there before, and all that the registry holds. Once in a command, however many
/// come.
pub(super) fn advance_images(
    overlay: &mut Overlay<'_>,
    (account, repository): (&RegistryId, &RepositoryName),
    settings: &RegistrySettings,
) -> Result<(), StorageError> {
    if settings.quotas.is_some() {
        Counted::Images(account, repository).advance(overlay)?;
    }
    advance(overlay, account, settings)
}

/// Before something comes into a registry: a step further in counting what it held
/// before. Once in a command.
pub(super) fn advance(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    settings: &RegistrySettings,
) -> Result<(), StorageError> {
    if settings.counts_bytes {
        further(overlay, account)?;
    }
    Ok(())
}

/// A step further in counting what was there before.
pub(super) fn count(overlay: &mut Overlay<'_>, command: &CountHeld) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    if !query::registry_settings(overlay, &account)?.counts_bytes {
        return Err(invalid("registry", "is not counted").into());
    }
    further(overlay, &account)?;
    Ok(Outcome::Done(Done {}))
}

fn registry_held(view: &dyn KeyValue, account: &RegistryId) -> Result<HeldRecord, StorageError> {
    let record: Option<HeldRecord> = read::record(view, &keys::held(account))?;
    Ok(record.unwrap_or_else(HeldRecord::begun))
}

/// What a registry holds is counted one step further. Its record is written in any
/// case: whatever comes then need not read it again.
fn further(overlay: &mut Overlay<'_>, account: &RegistryId) -> Result<(), StorageError> {
    let mut record = registry_held(overlay, account)?;
    let further = match &record.counted_to {
        Some(_) => step(overlay, account, &mut record)?,
        None => Further::new(),
    };
    for (repository, more) in further {
        let mut here = repository_held(overlay, account, &repository)?;
        here.bytes = here.bytes.saturating_add(more.bytes);
        here.images += more.images;
        overlay.put(keys::repository_held(account, &repository), &here);
    }
    overlay.put(keys::held(account), &record);
    Ok(())
}

fn step(
    view: &dyn KeyValue,
    account: &RegistryId,
    record: &mut HeldRecord,
) -> Result<Further, StorageError> {
    const _: () = assert!((Namespace::Link as u8) < Namespace::Manifest as u8);
    const _: () = assert!((Namespace::Manifest as u8) < Namespace::Deleted as u8);
    let mut further = Further::new();
    let mut room = COUNT_STEP;
    for namespace in [Namespace::Link, Namespace::Manifest, Namespace::Deleted] {
        let prefix = Key::new(namespace).account(account);
        let end = prefix.prefix_end();
        let start = match &record.counted_to {
            Some(last) if &last[..] > prefix.as_bytes() => Key::of(last.to_vec()).successor(),
            _ => prefix,
        };
        if start.as_bytes() >= &end[..] {
            continue;
        }
        // A record of a manifest may be of some hundred KiB.
        let limit = match namespace {
            Namespace::Link => room,
            _ => room.min(DELETION_MANIFESTS_PAGE),
        };
        let page = view.scan(start.as_bytes(), &end, limit)?;
        room -= page.len();
        let is_full = page.len() == limit;
        let last = page.last().map(|(key, _)| key.clone());
        for (key, value) in page {
            let mut parts = Parts::of(&key);
            parts.registry()?;
            let repository: RepositoryName = parts.name("repository")?;
            let digest = parts.digest()?;
            let is_image = namespace == Namespace::Manifest;
            let bytes = match namespace {
                Namespace::Manifest => read::decode::<ManifestRecord>(&key, value)?.content_len,
                Namespace::Deleted => deleted_bytes(&key, value)?,
                _ => blob_bytes(view, &digest)?,
            };
            let here = further.entry(repository).or_default();
            here.bytes = here.bytes.saturating_add(bytes);
            here.images += u64::from(is_image);
            record.bytes = record.bytes.saturating_add(bytes);
            record.images += u64::from(is_image);
        }
        if is_full {
            record.counted_to = last.or_else(|| record.counted_to.take());
            return Ok(further);
        }
    }
    record.counted_to = None;
    Ok(further)
}

/// Of the manifest that is kept.
fn deleted_bytes(key: &[u8], value: Bytes) -> Result<u64, StorageError> {
    let record: DeletedRecord = read::decode(key, value)?;
    Ok(record.manifest.map_or(0, |manifest| manifest.content_len))
}

/// A blob that is linked has a record.
pub(super) fn blob_bytes(view: &dyn KeyValue, digest: &Digest) -> Result<u64, StorageError> {
    let record: Option<BlobRecord> = read::record(view, &keys::blob(digest))?;
    Ok(record.map_or(0, |record| record.size))
}
