//! Manifests enter repositories and leave them.
//!
//! The invariant: whatever a stored manifest names, but for its subject, is in
//! its repository and stays there as long as it does. An index that was taken
//! without some of its manifests says which: those may be there or not. So may all
//! of them in a repository that is being deleted.

use std::collections::BTreeSet;

use entrepot_oci::{Digest, MANIFEST_BYTES_MAX, MediaType, RegistryId, RepositoryName, Tag};

use super::blobs::referenced;
use super::collection;
use super::counts::{Counted, Image};
use super::held::{self, Bounds, Thing};
use super::history::Change;
use super::registry::{Creation, require_repository};
use super::replicas::{Claims, Replica, require_unsettled};
use super::storage_class::Shelf;
use super::tags::{self, Condition, Move};
use super::tasks::{self, Deletion, Enqueue, Going};
use super::undelete::{self, Departure};
use super::{Stop, invalid, parse, parse_each, pulls, reported};
use crate::command::{DeleteManifest, DeleteTag, PutManifest};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{REFERENCES_MAX, TAGS_PER_PUSH_MAX};
use crate::overlay::Overlay;
use crate::query::{self, ManifestEntry, Mutability, Quotas, RegistrySettings, TagOrigin};
use crate::read;
use crate::records::{ManifestRecord, RepositoryRecord};
use crate::response::{ManifestDeleted, ManifestPut, Outcome, Refused, TagFixed};
use crate::store::{KeyValue, StorageError};

/// A [`PutManifest`] whose every name is valid.
struct Push {
    account: RegistryId,
    repository: RepositoryName,
    digest: Digest,
    subject: Option<Digest>,
    blobs: BTreeSet<Digest>,
    children: BTreeSet<Digest>,
    /// Of `children`: absent at the source of a replica.
    absent: BTreeSet<Digest>,
    tags: BTreeSet<Tag>,
    condition: Option<Condition>,
    origin: Option<TagOrigin>,
    command: PutManifest,
}

pub(super) fn put(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: PutManifest,
) -> Result<Outcome, Stop> {
    let push = Push::parse(command)?;
    if push.is_late(overlay, index)? {
        return Ok(Outcome::ManifestPut(ManifestPut {
            created: false,
            repository_created: false,
            tags_kept: push.tags.iter().map(ToString::to_string).collect(),
            tasks: 0,
        }));
    }
    let at_ms = push.command.at_ms;
    let creation = Creation {
        wanted: push.command.create_repository,
        index,
        at_ms,
        is_bounded: push.origin.is_none(),
    };
    let (repository_created, record) =
        creation.ensured(overlay, &push.account, &push.repository)?;
    let mutability = Mutability::from(record.mutability.clone().unwrap_or_default());
    let fixed = push.check_tags(overlay, &mutability)?;
    let key = keys::manifest(&push.account, &push.repository, &push.digest);
    let created = !read::exists(overlay, &key)?;
    push.claim(overlay, index, created)?;
    let settings = query::registry_settings(overlay, &push.account)?;
    if created {
        // What is stored already has had its references ever since.
        let absent = push.check_references(overlay)?;
        let (account, repository) = (&push.account, &push.repository);
        let before = undelete::replaced(overlay, account, repository, &push.digest)?;
        held::advance_images(overlay, (account, repository), &settings)?;
        push.count(overlay, &key, &settings, &record)?;
        push.store(overlay, key, index, &absent);
        if let Some(before) = before {
            release(overlay, account, repository, &before, at_ms)?;
        }
    }
    let restored = push.restore(overlay, index, created)?;
    push.check_tag_quota(overlay, settings.quotas.as_ref(), created)?;
    let mut enqueue = Enqueue::new(
        overlay,
        &push.account,
        &push.repository,
        &push.digest,
        push.origin.is_none(),
        index,
        at_ms,
    )?;
    let mut tags_kept = Vec::new();
    if push.tags.is_empty() {
        enqueue.run(overlay, None, !created && !restored)?;
    }
    for tag in &push.tags {
        if fixed.contains(tag) {
            tags_kept.push(tag.to_string());
            continue;
        }
        let to = Move {
            account: &push.account,
            repository: &push.repository,
            tag,
            digest: &push.digest,
            origin: push.origin.as_ref(),
            change: push.change(index),
        };
        let moved = to.run(overlay)?;
        if moved.overtaken {
            tags_kept.push(tag.to_string());
        }
        enqueue.run(overlay, Some(tag), moved.was_there && !restored)?;
    }
    let home = (&push.account, &push.repository);
    push.change(index).bound(overlay, home, push.tags.len())?;
    Ok(Outcome::ManifestPut(ManifestPut {
        created,
        repository_created,
        tags_kept,
        tasks: enqueue.count(),
    }))
}

pub(super) fn delete(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &DeleteManifest,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    let digest = parse("digest", &command.digest)?;
    undelete::check(command.author.as_ref())?;
    require_repository(overlay, &account, &repository)?;
    let Some(entry) = query::manifest_entry(overlay, &account, &repository, &digest)? else {
        return Err(Refused::ManifestUnknown(digest.to_string()).into());
    };
    require_unreferenced(overlay, &account, &repository, &digest)?;
    if let Some(expected) = &command.expected {
        tags::require_as_expected(overlay, &account, &repository, &entry, expected)?;
    }
    let going = Going::look(overlay, &account, &repository, &digest)?;
    let change = Change {
        index,
        at_ms: command.at_ms,
        author: command.author.as_ref(),
        forgets: false,
    };
    let tags = tags::delete_all(overlay, &account, &repository, &digest, change)?;
    change.bound(overlay, (&account, &repository), tags.len())?;
    tasks::delete_all(overlay, &account, &repository, &digest)?;
    let departure = Departure {
        account: &account,
        repository: &repository,
        entry: &entry,
        tags: &tags,
        author: command.author.as_ref(),
        index,
        at_ms: command.at_ms,
    };
    departure.run(overlay)?;
    let deletion = Deletion {
        account: &account,
        repository: &repository,
        digest: &digest,
        tag: None,
        index,
        at_ms: command.at_ms,
    };
    if !command.here_only {
        deletion.enqueue(overlay, &going)?;
    }
    Ok(Outcome::ManifestDeleted(ManifestDeleted { tags }))
}

/// # Errors
/// [`Refused::ManifestReferenced`] while an index names it.
pub(super) fn require_unreferenced(
    overlay: &Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<(), Stop> {
    let parents = keys::of_digest(Namespace::ChildUse, account, repository, digest);
    match read::first(overlay, &parents)? {
        Some(parent) => Err(Refused::ManifestReferenced(referenced(digest, &parent)?).into()),
        None => Ok(()),
    }
}

/// At most `limit` of the indexes that name a manifest and sort after `after`.
pub(super) fn parents(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
    after: Option<Digest>,
    limit: usize,
) -> Result<Vec<Digest>, StorageError> {
    let prefix = keys::of_digest(Namespace::ChildUse, account, repository, digest);
    let start = after.map(|after| prefix.clone().digest(&after).successor());
    let found = read::page(view, &prefix, start.as_ref(), limit)?;
    let found = found.iter().map(|(key, _)| {
        let mut parts = Parts::of(key);
        parts.registry()?;
        parts.text("repository")?;
        parts.digest()?;
        parts.digest()
    });
    found.collect()
}

/// Removes a manifest that has no tags and no tasks, with its bytes; how many pairs
/// those were.
pub(super) fn remove(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    entry: &ManifestEntry,
) -> Result<usize, StorageError> {
    let uses = Home {
        account,
        repository,
    }
    .uses(&entry.digest, &entry.blobs);
    let pairs = uses.len() + 1 + detach(overlay, account, repository, entry)?;
    for key in uses {
        overlay.delete(key);
    }
    overlay.delete(keys::content(account, repository, &entry.digest));
    Ok(pairs)
}

/// Removes a manifest that has no tags and no tasks, but for its bytes and its uses of
/// blobs; how many pairs those were.
pub(super) fn detach(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    entry: &ManifestEntry,
) -> Result<usize, StorageError> {
    let home = Home {
        account,
        repository,
    };
    let subject = entry.subject.as_ref();
    let references = home.references(&entry.digest, &entry.children, subject);
    let pairs = references.len() + 1;
    for key in references {
        overlay.delete(key);
    }
    let claims = Claims {
        account,
        repository,
        digest: &entry.digest,
    };
    let pairs = pairs + claims.end(overlay)?;
    let pairs = pairs + pulls::forget(overlay, account, repository, &entry.digest)?;
    let key = keys::manifest(account, repository, &entry.digest);
    Counted::Images(account, repository).remove(overlay, &key)?;
    held::manifest_gone(overlay, account, repository, &key, entry.content_len)?;
    Counted::Tags(account, repository, &entry.digest).forget(overlay)?;
    overlay.delete(key);
    Ok(pairs)
}

/// Notes what a manifest names that was detached.
pub(super) fn attach(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    entry: &ManifestEntry,
) {
    let home = Home {
        account,
        repository,
    };
    for key in home.references(&entry.digest, &entry.children, entry.subject.as_ref()) {
        overlay.mark(key);
    }
}

/// Notes which blobs nothing names any more since a manifest went.
pub(super) fn release(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    gone: &ManifestEntry,
    at_ms: i64,
) -> Result<(), StorageError> {
    release_each(overlay, account, repository, &gone.blobs, at_ms)
}

/// Notes which of these blobs nothing names any more.
pub(super) fn release_each<'a>(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    blobs: impl IntoIterator<Item = &'a Digest>,
    at_ms: i64,
) -> Result<(), StorageError> {
    let home = collection::Home {
        account,
        repository,
    };
    for blob in blobs {
        home.released(overlay, blob, at_ms)?;
    }
    Ok(())
}

/// Deletes a manifest whose last tag a command has removed, and that no index names;
/// whether it did.
pub(super) fn delete_untagged(
    overlay: &mut Overlay<'_>,
    index: u64,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
    command: &DeleteTag,
) -> Result<bool, StorageError> {
    let tags = keys::of_digest(Namespace::TagOf, account, repository, digest);
    let parents = keys::of_digest(Namespace::ChildUse, account, repository, digest);
    if read::first(overlay, &tags)?.is_some() || read::first(overlay, &parents)?.is_some() {
        return Ok(false);
    }
    let Some(entry) = query::manifest_entry(overlay, account, repository, digest)? else {
        return Ok(false);
    };
    tasks::delete_all(overlay, account, repository, digest)?;
    let departure = Departure {
        account,
        repository,
        entry: &entry,
        tags: std::slice::from_ref(&command.tag),
        author: command.author.as_ref(),
        index,
        at_ms: command.at_ms,
    };
    departure.run(overlay)?;
    Ok(true)
}

/// Where the references of a manifest are kept.
struct Home<'a> {
    account: &'a RegistryId,
    repository: &'a RepositoryName,
}

// === impl Home ===

impl Home<'_> {
    /// The index entries of a manifest, the same when it comes and when it goes: of
    /// its uses of blobs, and the others.
    fn uses<'a>(&self, digest: &Digest, blobs: impl IntoIterator<Item = &'a Digest>) -> Vec<Key> {
        let blobs = blobs.into_iter();
        blobs
            .map(|to| {
                keys::of_digest(Namespace::BlobUse, self.account, self.repository, to)
                    .digest(digest)
            })
            .collect()
    }

    fn references<'a>(
        &self,
        digest: &Digest,
        children: impl IntoIterator<Item = &'a Digest>,
        subject: Option<&'a Digest>,
    ) -> Vec<Key> {
        let key = |namespace, to: &Digest| {
            keys::of_digest(namespace, self.account, self.repository, to).digest(digest)
        };
        let children = children.into_iter().map(|to| key(Namespace::ChildUse, to));
        let subject = subject.into_iter().map(|to| key(Namespace::Referrer, to));
        children.chain(subject).collect()
    }
}

// === impl Push ===

impl Push {
    fn parse(command: PutManifest) -> Result<Self, Refused> {
        if command.content.len() > MANIFEST_BYTES_MAX {
            return Err(invalid("content", "must be of at most 4 MiB"));
        }
        if command.blobs.len() + command.children.len() > REFERENCES_MAX {
            return Err(invalid("references", "must be at most 8192"));
        }
        if command.absent.len() > REFERENCES_MAX {
            return Err(invalid("absent children", "must be at most 8192"));
        }
        if command.origin.is_none() && command.ordered {
            return Err(invalid("order", "must be a replica's"));
        }
        if command.origin.is_none() && !command.absent.is_empty() {
            return Err(invalid("absent children", "must be a replica's"));
        }
        if command.tags.len() > TAGS_PER_PUSH_MAX {
            return Err(invalid("tags", "must be at most 100"));
        }
        let condition = Condition::parse(command.condition.as_ref())?;
        undelete::check(command.author.as_ref())?;
        if condition.is_some() && command.tags.is_empty() {
            return Err(invalid("condition", "must be of a tag"));
        }
        let _: MediaType = parse("media type", &command.media_type)?;
        if let Some(artifact_type) = &command.artifact_type {
            let _: MediaType = parse("artifact type", artifact_type)?;
        }
        let subject = command.subject.as_deref();
        let account = parse("account", &command.account)?;
        let repository = parse("repository", &command.repository)?;
        let origin = command.origin.as_ref();
        let origin = origin
            .map(|origin| TagOrigin::read(origin, &account, &repository))
            .transpose()
            .map_err(|error| invalid("origin", error))?;
        Ok(Self {
            account,
            repository,
            digest: parse("digest", &command.digest)?,
            subject: subject.map(|text| parse("subject", text)).transpose()?,
            blobs: parse_each::<Digest, _>("blob", &command.blobs)?,
            children: parse_each::<Digest, _>("child", &command.children)?,
            absent: parse_each::<Digest, _>("absent child", &command.absent)?,
            tags: parse_each::<Tag, _>("tag", &command.tags)?,
            condition,
            origin,
            command,
        })
    }

    fn change(&self, index: u64) -> Change<'_> {
        Change {
            index,
            at_ms: self.command.at_ms,
            author: self.command.author.as_ref(),
            forgets: false,
        }
    }

    fn replica<'a>(&'a self, digest: &'a Digest) -> Option<Replica<'a>> {
        let origin = self.origin.as_ref().filter(|_| self.command.ordered)?;
        Some(Replica {
            account: &self.account,
            repository: &self.repository,
            digest,
            origin,
        })
    }

    /// Whether it is a replica of what its source has deleted since.
    fn is_late(&self, overlay: &mut Overlay<'_>, index: u64) -> Result<bool, Stop> {
        let Some(replica) = self.replica(&self.digest) else {
            return Ok(false);
        };
        require_unsettled(overlay, &self.account, replica.origin)?;
        if !replica.is_deleted(overlay)? {
            return Ok(false);
        }
        // Its tags were there, and went with it.
        for tag in &self.tags {
            replica.delete_tag(overlay, tag, self.change(index))?;
        }
        Ok(true)
    }

    /// Brings back from the archive what was pushed again, and what a new index
    /// names; whether the image itself came back.
    fn restore(&self, overlay: &mut Overlay<'_>, index: u64, created: bool) -> Result<bool, Stop> {
        let archive = Shelf {
            account: &self.account,
            repository: &self.repository,
            index,
            at_ms: self.command.at_ms,
        };
        if created {
            let children: Vec<Digest> = self.children.iter().copied().collect();
            archive.activate(overlay, &children)?;
            return Ok(false);
        }
        let set = archive.activate(overlay, &[self.digest])?;
        Ok(set.images > 0)
    }

    /// Notes for whose sake the image is here, and what it names.
    fn claim(
        &self,
        overlay: &mut Overlay<'_>,
        index: u64,
        created: bool,
    ) -> Result<(), StorageError> {
        let (account, repository, digest) = (&self.account, &self.repository, &self.digest);
        if self.origin.is_none() {
            let claims = Claims {
                account,
                repository,
                digest,
            };
            // What was not here was not claimed.
            return if created {
                Ok(())
            } else {
                claims.pushed_here(overlay, index)
            };
        }
        for digest in std::iter::once(digest).chain(&self.children) {
            let is_child = digest != &self.digest;
            let key = keys::manifest(account, repository, digest);
            let Some(replica) = self.replica(digest) else {
                return Ok(());
            };
            // Of what an index was taken without, nothing is here.
            if is_child && (!read::exists(overlay, &key)? || replica.is_deleted(overlay)?) {
                continue;
            }
            replica.arrive(overlay, index)?;
        }
        Ok(())
    }

    /// All tags are looked at before the first one moves: all or none. Returns
    /// those of a replica that are fixed elsewhere, and stay there.
    fn check_tags(
        &self,
        overlay: &Overlay<'_>,
        mutability: &Mutability,
    ) -> Result<BTreeSet<&Tag>, Stop> {
        if let Some(condition) = &self.condition {
            for tag in &self.tags {
                condition.check(overlay, &self.account, &self.repository, tag)?;
            }
        }
        let mut fixed = BTreeSet::new();
        for tag in self.tags.iter().filter(|tag| mutability.is_fixed(tag)) {
            let found = query::tag(overlay, &self.account, &self.repository, tag)?;
            let Some(found) = found.filter(|found| found.digest != self.digest) else {
                continue;
            };
            if self.origin.is_none() {
                let fixed = TagFixed {
                    tag: tag.to_string(),
                    repository: self.repository.to_string(),
                    digest: found.digest.to_string(),
                };
                return Err(Refused::TagImmutable(fixed).into());
            }
            fixed.insert(tag);
        }
        Ok(fixed)
    }

    /// The children that are not there, if they may be missing.
    fn check_references(&self, overlay: &Overlay<'_>) -> Result<Vec<&Digest>, Stop> {
        let unknown = self.missing(overlay, Namespace::Link, &self.blobs)?;
        if !unknown.is_empty() {
            return Err(Refused::BlobsUnknown(reported(unknown)).into());
        }
        let missing = self.missing(overlay, Namespace::Manifest, &self.children)?;
        let unknown: Vec<&Digest> = missing
            .iter()
            .copied()
            .filter(|child| !self.absent.contains(child))
            .collect();
        if !unknown.is_empty() && !self.takes_sparse(overlay)? {
            return Err(Refused::ManifestsUnknown(reported(unknown)).into());
        }
        Ok(missing)
    }

    /// One manifest more, which is to be under `key`.
    fn count(
        &self,
        overlay: &mut Overlay<'_>,
        key: &Key,
        settings: &RegistrySettings,
        record: &RepositoryRecord,
    ) -> Result<(), Stop> {
        let thing = Thing {
            account: &self.account,
            repository: &self.repository,
            key,
            bytes: self.command.content.len() as u64,
            is_image: true,
        };
        let bounds = Bounds {
            settings,
            record,
            is_bounded: self.origin.is_none(),
            is_held: false,
        };
        thing.add_image(overlay, &bounds)
    }

    /// That the manifest may have the tags that it is to get. Replicas get theirs.
    fn check_tag_quota(
        &self,
        overlay: &mut Overlay<'_>,
        quotas: Option<&Quotas>,
        created: bool,
    ) -> Result<(), Stop> {
        let Some(quotas) = quotas.filter(|_| self.origin.is_none()) else {
            return Ok(());
        };
        let image = Image {
            account: &self.account,
            repository: &self.repository,
            digest: &self.digest,
        };
        image.check_tags(overlay, &self.tags, created, quotas.tags_per_image)
    }

    /// Whether an index may lack any of its manifests. Not a replica: what its
    /// source has can be sent.
    fn takes_sparse(&self, overlay: &Overlay<'_>) -> Result<bool, StorageError> {
        if self.origin.is_some() {
            return Ok(false);
        }
        let repository = query::repository(overlay, &self.account, &self.repository)?;
        Ok(repository.is_some_and(|repository| repository.settings.sparse_indexes))
    }

    fn missing<'a>(
        &self,
        overlay: &Overlay<'_>,
        namespace: Namespace,
        digests: &'a BTreeSet<Digest>,
    ) -> Result<Vec<&'a Digest>, StorageError> {
        let mut missing = Vec::new();
        for digest in digests {
            let key = keys::of_digest(namespace, &self.account, &self.repository, digest);
            if !read::exists(overlay, &key)? {
                missing.push(digest);
            }
        }
        Ok(missing)
    }

    /// `absent`: the children that it is stored without.
    fn store(&self, overlay: &mut Overlay<'_>, key: Key, index: u64, absent: &[&Digest]) {
        let texts = |digests: &BTreeSet<Digest>| digests.iter().map(Digest::to_string).collect();
        let content = &self.command.content;
        let record = ManifestRecord {
            media_type: self.command.media_type.clone(),
            content_len: content.len() as u64,
            artifact_type: self.command.artifact_type.clone(),
            subject: self.command.subject.clone(),
            blobs: texts(&self.blobs),
            children: texts(&self.children),
            size: self.command.size,
            pushed_at_ms: self.command.at_ms,
            index,
            absent: absent.iter().map(ToString::to_string).collect(),
            ..ManifestRecord::default()
        };
        overlay.put(key, &record);
        overlay.put_bytes(
            keys::content(&self.account, &self.repository, &self.digest),
            content.clone(),
        );
        let home = Home {
            account: &self.account,
            repository: &self.repository,
        };
        let subject = self.subject.as_ref();
        let references = home.references(&self.digest, &self.children, subject);
        for key in home
            .uses(&self.digest, &self.blobs)
            .into_iter()
            .chain(references)
        {
            overlay.mark(key);
        }
    }
}
