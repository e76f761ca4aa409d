//! Images go into the archive, where they are listed but not given, and come back.
//!
//! Into the archive go with an image the manifests that it names, unless they have
//! a tag or another index that is not there names them, and what refers to it. Back
//! with an image comes whatever it names, and what refers to it. The invariant: what
//! an index names and is there is not in the archive unless the index is, so that
//! what can be pulled can be pulled as a whole.

use std::collections::BTreeSet;

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::manifests::parents;
use super::registry::Creation;
use super::tags::require_as_expected;
use super::tasks::Enqueue;
use super::{Stop, invalid, parse};
use crate::command::SetStorageClass;
use crate::keys::{self, Namespace};
use crate::limits::{
    ARCHIVE_LOOKS_MAX, ARCHIVE_PARENTS_MAX, ARCHIVE_REFERRERS_MAX, ARCHIVED_AT_ONCE_MAX,
    TAGS_PER_PUSH_MAX,
};
use crate::overlay::Overlay;
use crate::query;
use crate::read;
use crate::records::ManifestRecord;
use crate::response::{Outcome, Referenced, Refused, StorageClassSet};
use crate::store::StorageError;

pub(super) fn set(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &SetStorageClass,
) -> Result<Outcome, Stop> {
    let account: RegistryId = parse("account", &command.account)?;
    let repository: RepositoryName = parse("repository", &command.repository)?;
    let digest: Digest = parse("digest", &command.digest)?;
    let at_ms = command.at_ms;
    let creation = Creation {
        wanted: false,
        index,
        at_ms,
        is_bounded: true,
    };
    creation.ensured(overlay, &account, &repository)?;
    let Some(entry) = query::manifest_entry(overlay, &account, &repository, &digest)? else {
        return Err(Refused::ManifestUnknown(digest.to_string()).into());
    };
    if entry.archived_at_ms.is_some() == command.archive {
        return Ok(Outcome::StorageClassSet(StorageClassSet::default()));
    }
    if let Some(expected) = &command.expected {
        require_as_expected(overlay, &account, &repository, &entry, expected)?;
    }
    let shelf = Shelf {
        account: &account,
        repository: &repository,
        index,
        at_ms,
    };
    let set = if command.archive {
        let mut looks_left = ARCHIVE_LOOKS_MAX;
        if let Some(by) = shelf.active_parent(overlay, &digest, &mut looks_left)? {
            let reason = Referenced {
                digest: digest.to_string(),
                by: by.to_string(),
            };
            return Err(Refused::ManifestReferenced(reason).into());
        }
        shelf.archive(overlay, digest)?
    } else {
        let set = shelf.activate(overlay, &[digest])?;
        shelf.enqueue(overlay, index, &digest)?;
        set
    };
    Ok(Outcome::StorageClassSet(set))
}

/// Where images are put into the archive, and come back from it.
pub(super) struct Shelf<'a> {
    pub(super) account: &'a RegistryId,
    pub(super) repository: &'a RepositoryName,
    pub(super) index: u64,
    pub(super) at_ms: i64,
}

// === impl Shelf ===

impl Shelf<'_> {
    /// Brings these back, if they are in the archive, with all that they name and
    /// with what refers to them.
    ///
    /// # Errors
    /// [`Refused::Invalid`] when that were too many to be brought in one step.
    pub(super) fn activate(
        &self,
        overlay: &mut Overlay<'_>,
        digests: &[Digest],
    ) -> Result<StorageClassSet, Stop> {
        let mut set = StorageClassSet::default();
        let mut referrers_left = ARCHIVE_REFERRERS_MAX;
        let mut queue = digests.to_vec();
        let mut seen: BTreeSet<Digest> = digests.iter().copied().collect();
        while let Some(digest) = queue.pop() {
            let key = keys::manifest(self.account, self.repository, &digest);
            let record: Option<ManifestRecord> = read::record(overlay, &key)?;
            // What is named by something that is not in the archive is not there either.
            let Some(record) = record.filter(|it| it.archived_at_ms.is_some()) else {
                continue;
            };
            if set.images == ARCHIVED_AT_ONCE_MAX || seen.len() > ARCHIVE_LOOKS_MAX {
                let why = "has too many manifests to come back from the archive in one step";
                return Err(invalid("image", why).into());
            }
            let after = ManifestRecord {
                archived_at_ms: None,
                activated_at_ms: Some(self.at_ms),
                age_index: Some(self.index),
                last_archived_at_ms: record.archived_at_ms,
                ..record
            };
            overlay.put(key, &after);
            set.images += 1;
            let referrers = self.referrers(overlay, &digest, &mut referrers_left)?;
            set.left |= referrers_left == 0;
            let others = self.children(&after)?.into_iter().chain(referrers);
            queue.extend(others.filter(|other| seen.insert(*other)));
        }
        Ok(set)
    }

    fn archive(
        &self,
        overlay: &mut Overlay<'_>,
        root: Digest,
    ) -> Result<StorageClassSet, StorageError> {
        let mut set = StorageClassSet::default();
        let mut referrers_left = ARCHIVE_REFERRERS_MAX;
        let mut looks_left = ARCHIVE_LOOKS_MAX;
        let mut queue = vec![root];
        while let Some(digest) = queue.pop() {
            if looks_left == 0 {
                set.left = true;
                break;
            }
            looks_left -= 1;
            let key = keys::manifest(self.account, self.repository, &digest);
            let record: Option<ManifestRecord> = read::record(overlay, &key)?;
            let Some(record) = record.filter(|it| it.archived_at_ms.is_none()) else {
                continue;
            };
            if digest != root && !self.goes_along(overlay, &digest, &record, &mut looks_left)? {
                continue;
            }
            if set.images == ARCHIVED_AT_ONCE_MAX {
                set.left = true;
                break;
            }
            let after = ManifestRecord {
                archived_at_ms: Some(self.at_ms),
                last_archived_at_ms: None,
                ..record
            };
            overlay.put(key, &after);
            set.images += 1;
            queue.extend(self.children(&after)?);
            let referrers = self.referrers(overlay, &digest, &mut referrers_left)?;
            set.left |= referrers_left == 0;
            queue.extend(referrers);
        }
        Ok(set)
    }

    /// Whether a manifest goes into the archive by now: something that it belongs to
    /// just did.
    fn goes_along(
        &self,
        overlay: &Overlay<'_>,
        digest: &Digest,
        record: &ManifestRecord,
        looks_left: &mut usize,
    ) -> Result<bool, StorageError> {
        let (account, repository) = (self.account, self.repository);
        if self.active_parent(overlay, digest, looks_left)?.is_some() {
            return Ok(false);
        }
        if let Some(subject) = &record.subject {
            let key = keys::manifest(account, repository, digest);
            let subject = query::parsed(key.as_bytes(), "subject", subject)?;
            if query::is_archived(overlay, account, repository, &subject)? {
                return Ok(true);
            }
        }
        let tags = keys::of_digest(Namespace::TagOf, account, repository, digest);
        Ok(read::first(overlay, &tags)?.is_none())
    }

    /// An index that names a manifest and is not in the archive, or one of too many to
    /// be looked at.
    pub(super) fn active_parent(
        &self,
        overlay: &Overlay<'_>,
        digest: &Digest,
        looks_left: &mut usize,
    ) -> Result<Option<Digest>, StorageError> {
        let (account, repository) = (self.account, self.repository);
        let limit = ARCHIVE_PARENTS_MAX + 1;
        let found = parents(overlay, account, repository, digest, None, limit)?;
        for (at, parent) in found.into_iter().enumerate() {
            if *looks_left == 0 || at == ARCHIVE_PARENTS_MAX {
                return Ok(Some(parent));
            }
            *looks_left -= 1;
            if !query::is_archived(overlay, account, repository, &parent)? {
                return Ok(Some(parent));
            }
        }
        Ok(None)
    }

    fn children(&self, record: &ManifestRecord) -> Result<Vec<Digest>, StorageError> {
        let key = keys::repository(self.account, self.repository);
        let children = record.children.iter();
        children
            .map(|child| query::parsed(key.as_bytes(), "child", child))
            .collect()
    }

    /// What refers to a manifest, as far as there is `left` for it.
    fn referrers(
        &self,
        overlay: &Overlay<'_>,
        subject: &Digest,
        left: &mut usize,
    ) -> Result<Vec<Digest>, StorageError> {
        let (account, repository) = (self.account, self.repository);
        let found = query::referring_to(overlay, account, repository, subject, *left)?;
        *left -= found.len();
        Ok(found)
    }

    /// What came back is copied as if it had been pushed, but for what others brought
    /// here: that goes no further.
    fn enqueue(
        &self,
        overlay: &mut Overlay<'_>,
        index: u64,
        digest: &Digest,
    ) -> Result<(), StorageError> {
        let (account, repository, at_ms) = (self.account, self.repository, self.at_ms);
        if query::is_replica(overlay, account, repository, digest)? {
            return Ok(());
        }
        let limit = TAGS_PER_PUSH_MAX;
        let tags = query::tags_of(overlay, account, repository, digest, limit)?;
        let mut enqueue = Enqueue::new(overlay, account, repository, digest, true, index, at_ms)?;
        if tags.is_empty() {
            enqueue.run(overlay, None, false)?;
        }
        for tag in &tags {
            let entry = query::tag(overlay, account, repository, tag)?;
            if entry.is_some_and(|entry| entry.origin.is_none()) {
                enqueue.run(overlay, Some(tag), false)?;
            }
        }
        Ok(())
    }
}
