//! Manifests, tags and referrers.

use std::collections::BTreeSet;

use bytes::Bytes;
use entrepot_oci::{Digest, MediaType, RegistryId, RepositoryName, Tag};

use super::{TagOrigin, after_name, parsed};
use crate::keys::{self, Key, Namespace, Parts};
use crate::read;
use crate::records::{ManifestRecord, MediaTypeRecord, TagRecord};
use crate::store::{KeyValue, StorageError};

/// A manifest without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    pub digest: Digest,
    pub media_type: MediaType,
    /// Bytes of the manifest itself.
    pub content_len: u64,
    /// The manifest's own, else its config's media type.
    pub artifact_type: Option<MediaType>,
    pub subject: Option<Digest>,
    /// Config and layers; sorted, no duplicates.
    pub blobs: Vec<Digest>,
    /// An index's manifests; sorted, no duplicates.
    pub children: Vec<Digest>,
    /// Those of `children` that were not there at the first push; the others
    /// are there as long as the index is. Sorted, no duplicates.
    pub absent: Vec<Digest>,
    /// Bytes of config and layers.
    pub size: u64,
    /// Of the first push.
    pub pushed_at_ms: i64,
    /// Log index of the first push, or of its restoration.
    pub index: u64,
    /// Log index that says how old it is among others: of the first push, or of its
    /// last return from the archive.
    pub age_index: u64,
    /// Since when it is in the archive, if it is: then it is known, and not given.
    pub archived_at_ms: Option<i64>,
    /// When it last came back from the archive.
    pub activated_at_ms: Option<i64>,
    /// When it last went into the archive, whether it came back or not.
    pub last_archived_at_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    pub entry: ManifestEntry,
    /// The bytes as they were pushed.
    pub content: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedManifest {
    pub digest: Digest,
    pub media_type: String,
    /// The bytes as they were pushed.
    pub content: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagEntry {
    pub tag: Tag,
    pub digest: Digest,
    pub updated_at_ms: i64,
    /// Log index of the command that moved it here.
    pub index: u64,
    /// `None`: pushed in this registry.
    pub origin: Option<TagOrigin>,
}

/// How much an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Each as often as another one names it.
    pub manifests: usize,
    /// False: some of them are not there, and may name others.
    pub complete: bool,
}

/// A manifest and its bytes.
pub fn manifest(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<StoredManifest>, StorageError> {
    let Some(entry) = manifest_entry(view, account, repository, digest)? else {
        return Ok(None);
    };
    let content = view.get(keys::content(account, repository, digest).as_bytes())?;
    Ok(content.map(|content| StoredManifest { entry, content }))
}

/// A manifest as it is served, without what else is known of it. None: it is not
/// there, or it is in the archive.
pub fn served_manifest(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<ServedManifest>, StorageError> {
    let key = keys::manifest(account, repository, digest);
    let record = read::record::<MediaTypeRecord>(view, &key)?;
    let Some(record) = record.filter(|it| it.archived_at_ms.is_none()) else {
        return Ok(None);
    };
    let content = view.get(keys::content(account, repository, digest).as_bytes())?;
    Ok(content.map(|content| ServedManifest {
        digest: *digest,
        media_type: record.media_type,
        content,
    }))
}

/// Whether a manifest is there, and in the archive.
pub fn is_archived(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<bool, StorageError> {
    let key = keys::manifest(account, repository, digest);
    let record = read::record::<MediaTypeRecord>(view, &key)?;
    Ok(record.is_some_and(|record| record.archived_at_ms.is_some()))
}

/// What is known of a manifest, at the price of one small read.
pub fn manifest_entry(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<ManifestEntry>, StorageError> {
    let key = keys::manifest(account, repository, digest);
    view.get(key.as_bytes())?
        .map(|value| manifest_of(key.as_bytes(), value))
        .transpose()
}

/// What an image with these `children` has: itself and all that it names, through
/// indexes too. Counts no further than it has to for a number above `limit`.
pub fn image_size(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    children: &[Digest],
    limit: usize,
) -> Result<ImageSize, StorageError> {
    let mut size = ImageSize {
        manifests: 1 + children.len(),
        complete: true,
    };
    let mut seen = BTreeSet::new();
    let mut queue = children.to_vec();
    while let Some(digest) = queue.pop() {
        if size.manifests > limit {
            break;
        }
        if !seen.insert(digest) {
            continue;
        }
        match manifest_entry(view, account, repository, &digest)? {
            Some(manifest) => {
                size.manifests += manifest.children.len();
                queue.extend(manifest.children);
            }
            None => size.complete = false,
        }
    }
    Ok(size)
}

/// At most `limit` manifests of a repository whose digests sort after `after`.
pub fn manifests(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<ManifestEntry>, StorageError> {
    let prefix = Key::new(Namespace::Manifest).home(account, repository);
    let start = after.map(|after| prefix.clone().digest(after).successor());
    read::page(view, &prefix, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, value)| manifest_of(&key, value))
        .collect()
}

/// At most `limit` manifests whose subject is `subject` and whose digests sort
/// after `after` (OCI distribution, "Listing Referrers"); fewer only where there
/// are no more. The next page starts after the last one's digest.
pub fn referrers(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    subject: &Digest,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<ManifestEntry>, StorageError> {
    let prefix = keys::of_digest(Namespace::Referrer, account, repository, subject);
    let mut start = after.map(|after| prefix.clone().digest(after).successor());
    let mut referrers = Vec::new();
    loop {
        let wanted = limit - referrers.len();
        let found = read::page(view, &prefix, start.as_ref(), wanted)?;
        for (key, _) in &found {
            let mut parts = Parts::of(key);
            parts.registry()?;
            parts.text("repository")?;
            parts.digest()?;
            let referrer = parts.digest()?;
            // One that vanished in between leaves its place to the next.
            referrers.extend(manifest_entry(view, account, repository, &referrer)?);
        }
        if found.len() < wanted || referrers.len() == limit {
            return Ok(referrers);
        }
        start = found
            .into_iter()
            .next_back()
            .map(|(key, _)| Key::of(key.into()).successor());
    }
}

pub fn tag(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    tag: &Tag,
) -> Result<Option<TagEntry>, StorageError> {
    let key = keys::tag(account, repository, tag);
    view.get(key.as_bytes())?
        .map(|value| tag_of(key.as_bytes(), value))
        .transpose()
}

/// At most `limit` tags of a repository that sort after `after`, which need
/// not be a tag.
pub fn tags(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<TagEntry>, StorageError> {
    let prefix = Key::new(Namespace::Tag).home(account, repository);
    let start = after_name(&prefix, after);
    read::page(view, &prefix, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, value)| tag_of(&key, value))
        .collect()
}

/// At most `limit` tags that point to `digest`, sorted.
pub fn tags_of(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<Tag>, StorageError> {
    let prefix = keys::of_digest(Namespace::TagOf, account, repository, digest);
    read::page(view, &prefix, None, limit)?
        .into_iter()
        .map(|(key, _)| {
            let mut parts = Parts::of(&key);
            parts.registry()?;
            parts.text("repository")?;
            parts.digest()?;
            parts.name("tag")
        })
        .collect()
}

/// The pair of a key in namespace `Manifest`.
pub(crate) fn manifest_of(key: &[u8], value: Bytes) -> Result<ManifestEntry, StorageError> {
    let mut parts = Parts::of(key);
    parts.registry()?;
    parts.text("repository")?;
    let digest = parts.digest()?;
    entry_of(key, digest, read::decode(key, value)?)
}

/// The record of a manifest that was found at or below `key`.
pub(super) fn entry_of(
    key: &[u8],
    digest: Digest,
    record: ManifestRecord,
) -> Result<ManifestEntry, StorageError> {
    let digests = |what, texts: &[String]| {
        texts
            .iter()
            .map(|text| parsed(key, what, text))
            .collect::<Result<Vec<Digest>, _>>()
    };
    Ok(ManifestEntry {
        digest,
        media_type: parsed(key, "media type", &record.media_type)?,
        content_len: record.content_len,
        artifact_type: record
            .artifact_type
            .map(|text| parsed(key, "artifact type", &text))
            .transpose()?,
        subject: record
            .subject
            .map(|text| parsed(key, "subject", &text))
            .transpose()?,
        blobs: digests("blob", &record.blobs)?,
        children: digests("child", &record.children)?,
        absent: digests("absent child", &record.absent)?,
        size: record.size,
        pushed_at_ms: record.pushed_at_ms,
        index: record.index,
        archived_at_ms: record.archived_at_ms,
        activated_at_ms: record.activated_at_ms,
        age_index: record.age_index.unwrap_or(record.index),
        last_archived_at_ms: record.archived_at_ms.or(record.last_archived_at_ms),
    })
}

/// The pair of a key in namespace `Tag`.
pub(crate) fn tag_of(key: &[u8], value: Bytes) -> Result<TagEntry, StorageError> {
    let mut parts = Parts::of(key);
    let account = parts.registry()?;
    let repository = parts.name("repository")?;
    let tag = parts.name("tag")?;
    let record: TagRecord = read::decode(key, value)?;
    let origin = record
        .origin
        .map(|origin| TagOrigin::read(&origin, &account, &repository))
        .transpose()
        .map_err(|error| StorageError::corrupt(key, error))?;
    Ok(TagEntry {
        tag,
        digest: parsed(key, "digest", &record.digest)?,
        updated_at_ms: record.updated_at_ms,
        index: record.index,
        origin,
    })
}
