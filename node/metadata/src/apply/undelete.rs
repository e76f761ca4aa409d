//! Deleted images stay for a while, come back, or go for good.
//!
//! What is deleted leaves everything that says it is there, and keeps what it needs to
//! come back: its bytes, and its uses of blobs, so that collection takes these for
//! used. All of that is held by its repository as before, within bounds of its own
//! ([`kept`]). A deletion whose proposer does not say who asks keeps nothing, as releases
//! that know nothing of this apply it.
//!
//! The invariants: a digest of a repository is there or deleted, never both; the blobs
//! of what is deleted are linked in its repository; and it is known by the time at
//! which it goes.

pub(super) mod kept;

use std::collections::{BTreeMap, BTreeSet};

use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};

use self::kept::{Bound, Kept};
use super::counts::Image;
use super::held::{self, Bounds, Thing};
use super::history::Change;
use super::registry::Creation;
use super::storage_class::Shelf;
use super::tags::Move;
use super::tasks::Enqueue;
use super::{Stop, invalid, manifests, parse, reported};
use crate::command::{Author, ExpireDeleted, RestoreImage};
use crate::keys::{self, Key, Namespace};
use crate::limits::{
    ARCHIVE_LOOKS_MAX, AUTHOR_BYTES_MAX, DELETED_TAGS_MAX, DELETION_STEP_PAIRS,
    EXPIRED_AT_ONCE_MAX, RESTORED_AT_ONCE_MAX, UNDELETE_WINDOW_MS_MAX,
};
use crate::overlay::Overlay;
use crate::query::{self, DeletedImage, ManifestEntry, Mutability, RegistrySettings};
use crate::read;
use crate::records::pulls::PullRecord;
use crate::records::undelete::DeletedRecord;
use crate::records::{ManifestRecord, RepositoryRecord};
use crate::response::{DeletedExpired, ImageRestored, Outcome, Refused, TagFixed};
use crate::store::{KeyValue, StorageError};

/// An image that is being deleted. It has no tags and no tasks any more.
pub(super) struct Departure<'a> {
    pub(super) account: &'a RegistryId,
    pub(super) repository: &'a RepositoryName,
    pub(super) entry: &'a ManifestEntry,
    /// Those that go with it; sorted.
    pub(super) tags: &'a [String],
    /// None: it goes at once.
    pub(super) author: Option<&'a Author>,
    pub(super) index: u64,
    pub(super) at_ms: i64,
}

/// A restoration under way.
struct Restoration<'a> {
    account: &'a RegistryId,
    repository: &'a RepositoryName,
    digest: &'a Digest,
    record: &'a RepositoryRecord,
    index: u64,
    at_ms: i64,
    author: Option<&'a Author>,
}

/// That a name is one that may be kept.
pub(super) fn check(author: Option<&Author>) -> Result<(), Refused> {
    match author {
        Some(author) if author.by.len() > AUTHOR_BYTES_MAX => {
            Err(invalid("author", "must be of at most 2048 bytes"))
        }
        _ => Ok(()),
    }
}

// === impl Departure ===

impl Departure<'_> {
    pub(super) fn run(&self, overlay: &mut Overlay<'_>) -> Result<(), StorageError> {
        let (account, repository, entry) = (self.account, self.repository, self.entry);
        let key = keys::manifest(account, repository, &entry.digest);
        let manifest: Option<ManifestRecord> = read::record(overlay, &key)?;
        let Some(until_ms) = self.until_ms(overlay)?.filter(|_| manifest.is_some()) else {
            manifests::remove(overlay, account, repository, entry)?;
            return manifests::release(overlay, account, repository, entry, self.at_ms);
        };
        let pull: Option<PullRecord> =
            read::record(overlay, &keys::pull(account, repository, &entry.digest))?;
        manifests::detach(overlay, account, repository, entry)?;
        let tags = &self.tags[..self.tags.len().min(DELETED_TAGS_MAX)];
        let cost = DeletedRecord::takes(entry.content_len, tags.iter().map(String::as_str));
        let record = DeletedRecord {
            manifest,
            tags: tags.to_vec(),
            deleted_at_ms: self.at_ms,
            until_ms,
            index: self.index,
            cause: self.author.map(|it| it.cause).unwrap_or_default(),
            by: self.author.map(|it| it.by.clone()).unwrap_or_default(),
            pulled_at_ms: pull.map(|pull| pull.pulled_at_ms),
            cost,
        };
        let digest = &entry.digest;
        overlay.put(keys::deleted(account, repository, digest), &record);
        overlay.mark(keys::deleted_until(until_ms, account, repository, digest));
        let kept = Kept {
            account,
            repository,
            manifest: entry,
            index: self.index,
            cost,
        };
        kept.begin(overlay)?;
        let home = (account, repository);
        Bound::OF_A_REPOSITORY.keep_to(overlay, home, self.at_ms)
    }

    /// Until when it can be restored; none: it goes at once.
    fn until_ms(&self, view: &dyn KeyValue) -> Result<Option<i64>, StorageError> {
        let Some(author) = self.author else {
            return Ok(None);
        };
        let window_ms = match author.window_ms {
            Some(window_ms) => window_ms,
            None => query::registry_settings(view, self.account)?.undelete_window_ms,
        };
        let window_ms = i64::try_from(window_ms.min(UNDELETE_WINDOW_MS_MAX)).unwrap_or(i64::MAX);
        Ok((window_ms > 0).then(|| self.at_ms.saturating_add(window_ms)))
    }
}

// === what goes for good ===

/// What is kept of a deleted image goes: how many pairs that is. Its blobs are still
/// to be released.
pub(super) fn forget(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    image: &DeletedImage,
) -> Result<usize, StorageError> {
    let digest = &image.manifest.digest;
    unmark(overlay, account, repository, image)?;
    overlay.delete(keys::content(account, repository, digest));
    for blob in &image.manifest.blobs {
        overlay
            .delete(keys::of_digest(Namespace::BlobUse, account, repository, blob).digest(digest));
    }
    Ok(4 + image.manifest.blobs.len())
}

/// An image is not deleted any more: it comes back, or goes for good.
fn unmark(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    image: &DeletedImage,
) -> Result<(), StorageError> {
    let (manifest, until_ms) = (&image.manifest, image.until_ms);
    let digest = &manifest.digest;
    overlay.delete(keys::deleted(account, repository, digest));
    overlay.delete(keys::deleted_until(until_ms, account, repository, digest));
    let kept = Kept {
        account,
        repository,
        manifest,
        index: image.index,
        cost: image.cost,
    };
    kept.end(overlay)
}

/// A manifest of that digest comes, which is to be stored now: what is kept of it goes.
/// Its blobs are to be released then, which are mostly those of the manifest.
pub(super) fn replaced(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<ManifestEntry>, StorageError> {
    let Some(image) = query::deleted_image(overlay, account, repository, digest)? else {
        return Ok(None);
    };
    forget(overlay, account, repository, &image)?;
    Ok(Some(image.manifest))
}

pub(super) fn expire(overlay: &mut Overlay<'_>, command: &ExpireDeleted) -> Result<Outcome, Stop> {
    if command.images.len() > EXPIRED_AT_ONCE_MAX {
        return Err(invalid("images", "must be at most 1000").into());
    }
    let mut room = DELETION_STEP_PAIRS;
    let mut expired = DeletedExpired::default();
    for image in &command.images {
        if room == 0 {
            expired.more = true;
            break;
        }
        let account = parse("account", &image.account)?;
        let repository = parse("repository", &image.repository)?;
        let digest = parse("digest", &image.digest)?;
        let found = query::deleted_image(overlay, &account, &repository, &digest)?;
        // It may have come back since, and have been deleted again.
        let due = found.filter(|found| {
            let is_over = command.now || found.until_ms <= command.cutoff_ms;
            found.index == image.index && is_over
        });
        let Some(due) = due else {
            continue;
        };
        let pairs = forget(overlay, &account, &repository, &due)?;
        let at_ms = command.cutoff_ms;
        manifests::release(overlay, &account, &repository, &due.manifest, at_ms)?;
        room = room.saturating_sub(pairs);
        expired.images += 1;
    }
    Ok(Outcome::DeletedExpired(expired))
}

// === what comes back ===

pub(super) fn restore(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &RestoreImage,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    let digest: Digest = parse("digest", &command.digest)?;
    check(command.author.as_ref())?;
    let existing = Creation {
        wanted: false,
        index,
        at_ms: command.at_ms,
        is_bounded: true,
    };
    let (_, record) = existing.ensured(overlay, &account, &repository)?;
    if read::exists(overlay, &keys::manifest(&account, &repository, &digest))? {
        return Err(Refused::NotDeleted(digest.to_string()).into());
    }
    let Some(image) = query::deleted_image(overlay, &account, &repository, &digest)? else {
        return Err(Refused::DeletedUnknown(digest.to_string()).into());
    };
    if image.until_ms <= command.at_ms {
        return Err(Refused::WindowPassed(digest.to_string()).into());
    }
    let restoration = Restoration {
        account: &account,
        repository: &repository,
        digest: &digest,
        record: &record,
        index,
        at_ms: command.at_ms,
        author: command.author.as_ref(),
    };
    let wanted = if command.without_tags {
        Vec::new()
    } else {
        image.tags.clone()
    };
    restoration.run(overlay, image, wanted)
}

// === impl Restoration ===

impl Restoration<'_> {
    fn run(
        &self,
        overlay: &mut Overlay<'_>,
        image: DeletedImage,
        wanted: Vec<Tag>,
    ) -> Result<Outcome, Stop> {
        let (tags, tags_kept) = self.free(overlay, wanted)?;
        let all = self.with_children(overlay, image)?;
        let settings = query::registry_settings(overlay, self.account)?;
        held::advance_images(overlay, (self.account, self.repository), &settings)?;
        for image in all.values() {
            self.put(overlay, image, &settings)?;
        }
        self.activate(overlay, &all)?;
        if let Some(quotas) = &settings.quotas {
            let image = Image {
                account: self.account,
                repository: self.repository,
                digest: self.digest,
            };
            image.check_tags(overlay, &tags, true, quotas.tags_per_image)?;
        }
        // First: where the others go may depend on where its tags take it.
        let mut tasks = self.enqueue(overlay, self.digest, &tags)?;
        for digest in all.keys().filter(|digest| *digest != self.digest) {
            tasks += self.enqueue(overlay, digest, &tags)?;
        }
        Ok(Outcome::ImageRestored(ImageRestored {
            manifests: all.len() as u64,
            tags: tags.iter().map(ToString::to_string).collect(),
            tags_kept,
            tasks,
        }))
    }

    /// What is in the archive comes back to there. What an image outside of it names
    /// is not left there.
    fn activate(
        &self,
        overlay: &mut Overlay<'_>,
        all: &BTreeMap<Digest, DeletedImage>,
    ) -> Result<(), Stop> {
        let archive = Shelf {
            account: self.account,
            repository: self.repository,
            index: self.index,
            at_ms: self.at_ms,
        };
        let mut looks_left = ARCHIVE_LOOKS_MAX;
        for (digest, image) in all {
            if image.manifest.archived_at_ms.is_none() {
                archive.activate(overlay, &image.manifest.children)?;
            } else if archive
                .active_parent(overlay, digest, &mut looks_left)?
                .is_some()
            {
                archive.activate(overlay, &[*digest])?;
            }
        }
        Ok(())
    }

    /// Of these tags, those that nothing has, and the others.
    fn free(
        &self,
        view: &dyn KeyValue,
        wanted: Vec<Tag>,
    ) -> Result<(BTreeSet<Tag>, Vec<String>), Stop> {
        let mutability = Mutability::from(self.record.mutability.clone().unwrap_or_default());
        let (mut free, mut taken) = (BTreeSet::new(), Vec::new());
        for tag in wanted {
            let Some(found) = query::tag(view, self.account, self.repository, &tag)? else {
                free.insert(tag);
                continue;
            };
            if mutability.is_fixed(&tag) {
                let fixed = TagFixed {
                    tag: tag.to_string(),
                    repository: self.repository.to_string(),
                    digest: found.digest.to_string(),
                };
                return Err(Refused::TagImmutable(fixed).into());
            }
            taken.push(tag.to_string());
        }
        Ok((free, taken))
    }

    /// The image, and all of the manifests that it needs and that are not here.
    ///
    /// # Errors
    /// [`Refused::ChildrenGone`], [`Refused::RestoreTooLarge`].
    fn with_children(
        &self,
        view: &dyn KeyValue,
        image: DeletedImage,
    ) -> Result<BTreeMap<Digest, DeletedImage>, Stop> {
        let (account, repository) = (self.account, self.repository);
        let mut all = BTreeMap::new();
        let mut gone = BTreeSet::new();
        let mut seen = BTreeSet::from([image.manifest.digest]);
        let mut queue = vec![image];
        while let Some(image) = queue.pop() {
            let manifest = image.manifest.clone();
            all.insert(manifest.digest, image);
            for child in &manifest.children {
                let may_lack = manifest.absent.contains(child);
                if seen.contains(child) || gone.contains(child) {
                    continue;
                }
                if read::exists(view, &keys::manifest(account, repository, child))? {
                    continue;
                }
                match query::deleted_image(view, account, repository, child)? {
                    // Before it is kept: each may be of some hundred KiB.
                    Some(_) if seen.len() >= RESTORED_AT_ONCE_MAX => {
                        let max = u32::try_from(RESTORED_AT_ONCE_MAX).unwrap_or(u32::MAX);
                        return Err(Refused::RestoreTooLarge(max).into());
                    }
                    Some(image) => {
                        seen.insert(*child);
                        queue.push(image);
                    }
                    None if may_lack => {}
                    None => drop(gone.insert(*child)),
                }
            }
        }
        if gone.is_empty() {
            Ok(all)
        } else {
            Err(Refused::ChildrenGone(reported(&gone)).into())
        }
    }

    /// As it was, and as old, but for the log index: nobody who has decided anything of
    /// it before means this one.
    fn put(
        &self,
        overlay: &mut Overlay<'_>,
        image: &DeletedImage,
        settings: &RegistrySettings,
    ) -> Result<(), Stop> {
        let (account, repository) = (self.account, self.repository);
        let entry = &image.manifest;
        self.require_blobs(overlay, entry)?;
        let own = keys::deleted(account, repository, &entry.digest);
        let record: Option<DeletedRecord> = read::record(overlay, &own)?;
        let pulled_at_ms = record.as_ref().and_then(|record| record.pulled_at_ms);
        let Some(manifest) = record.and_then(|record| record.manifest) else {
            return Err(Refused::DeletedUnknown(entry.digest.to_string()).into());
        };
        if let Some(pulled_at_ms) = pulled_at_ms {
            let pull = keys::pull(account, repository, &entry.digest);
            overlay.put(pull, &PullRecord { pulled_at_ms });
        }
        unmark(overlay, account, repository, image)?;
        let key = keys::manifest(account, repository, &entry.digest);
        self.count(overlay, &key, manifest.content_len, settings)?;
        let manifest = ManifestRecord {
            age_index: Some(manifest.age_index.unwrap_or(manifest.index)),
            index: self.index,
            ..manifest
        };
        overlay.put(key, &manifest);
        manifests::attach(overlay, account, repository, entry);
        Ok(())
    }

    /// One image more: its bytes have been held ever since it was pushed.
    fn count(
        &self,
        overlay: &mut Overlay<'_>,
        key: &Key,
        bytes: u64,
        settings: &RegistrySettings,
    ) -> Result<(), Stop> {
        let (account, repository) = (self.account, self.repository);
        let thing = Thing {
            account,
            repository,
            key,
            bytes,
            is_image: true,
        };
        let bounds = Bounds {
            settings,
            record: self.record,
            is_bounded: true,
            is_held: true,
        };
        thing.add_image(overlay, &bounds)
    }

    /// Its uses have held them ever since it was pushed.
    fn require_blobs(&self, view: &dyn KeyValue, entry: &ManifestEntry) -> Result<(), Stop> {
        let mut unlinked = BTreeSet::new();
        for blob in &entry.blobs {
            if !query::linked(view, self.account, self.repository, blob)? {
                unlinked.insert(*blob);
            }
        }
        if unlinked.is_empty() {
            Ok(())
        } else {
            Err(Refused::BlobsUnknown(reported(&unlinked)).into())
        }
    }

    /// Moves the tags of the image itself, and has it copied as a push is.
    fn enqueue(
        &self,
        overlay: &mut Overlay<'_>,
        digest: &Digest,
        tags: &BTreeSet<Tag>,
    ) -> Result<u32, StorageError> {
        let (account, repository) = (self.account, self.repository);
        let (index, at_ms) = (self.index, self.at_ms);
        let mut enqueue = Enqueue::new(overlay, account, repository, digest, true, index, at_ms)?;
        // What is in the archive is copied when it comes back from there.
        let is_copied = !query::is_archived(overlay, account, repository, digest)?;
        if digest != self.digest || tags.is_empty() {
            if is_copied {
                enqueue.run(overlay, None, false)?;
            }
            return Ok(enqueue.count());
        }
        let change = Change {
            index,
            at_ms,
            author: self.author,
            forgets: false,
        };
        for tag in tags {
            let to = Move {
                account,
                repository,
                tag,
                digest,
                origin: None,
                change,
            };
            to.run(overlay)?;
            if is_copied {
                enqueue.run(overlay, Some(tag), false)?;
            }
        }
        change.bound(overlay, (account, repository), tags.len())?;
        Ok(enqueue.count())
    }
}
