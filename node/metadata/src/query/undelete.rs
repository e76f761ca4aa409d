//! Deleted images that can be restored.

use bytes::Bytes;
use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};

use super::images::entry_of;
use super::{ManifestEntry, parsed};
use crate::keys::{self, Key, Namespace, Parts};
use crate::read;
use crate::records::undelete::{Cause, DeletedRecord};
use crate::store::{KeyValue, StorageError};

/// A deleted image, as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedImage {
    pub manifest: ManifestEntry,
    /// Tags that went with it; sorted.
    pub tags: Vec<Tag>,
    pub deleted_at_ms: i64,
    /// It goes for good then.
    pub until_ms: i64,
    /// Log index of the command that deleted it.
    pub index: u64,
    pub cause: Cause,
    /// Who did; empty: not known.
    pub by: String,
    /// How much it takes of what its repository may keep
    /// ([`KEPT_BYTES_MAX`](crate::limits::KEPT_BYTES_MAX)): its manifest, its tags and
    /// [`KEPT_IMAGE_BYTES`](crate::limits::KEPT_IMAGE_BYTES).
    pub cost: u64,
}

/// An image whose time may be over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueImage {
    pub account: RegistryId,
    pub repository: RepositoryName,
    pub image: DeletedImage,
}

pub fn deleted_image(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<DeletedImage>, StorageError> {
    let key = keys::deleted(account, repository, digest);
    view.get(key.as_bytes())?
        .map(|value| deleted_of(key.as_bytes(), value))
        .transpose()
}

/// At most `limit` deleted images of a repository whose digests sort after `after`.
pub fn deleted_images(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<DeletedImage>, StorageError> {
    let prefix = Key::new(Namespace::Deleted).home(account, repository);
    let start = after.map(|after| prefix.clone().digest(after).successor());
    read::page(view, &prefix, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, value)| deleted_of(&key, value))
        .collect()
}

/// At most `limit` deleted images whose time is over at `cutoff_ms`, those that have
/// waited longest first.
pub fn due_images(
    view: &dyn KeyValue,
    cutoff_ms: i64,
    limit: usize,
) -> Result<Vec<DueImage>, StorageError> {
    let start = Key::new(Namespace::DeletedUntil);
    let end = keys::deleted_until_then(cutoff_ms).prefix_end();
    let mut due = Vec::new();
    for (key, _) in view.scan(start.as_bytes(), &end, limit)? {
        let mut parts = Parts::of(&key);
        parts.number()?;
        let account = parts.registry()?;
        let repository: RepositoryName = parts.name("repository")?;
        let digest = parts.digest()?;
        // One that vanished in between is no longer due.
        let image = deleted_image(view, &account, &repository, &digest)?;
        due.extend(image.map(|image| DueImage {
            account,
            repository,
            image,
        }));
    }
    Ok(due)
}

/// The pair of a key in namespace `Deleted`.
pub(crate) fn deleted_of(key: &[u8], value: Bytes) -> Result<DeletedImage, StorageError> {
    let mut parts = Parts::of(key);
    parts.registry()?;
    parts.text("repository")?;
    let digest = parts.digest()?;
    let record: DeletedRecord = read::decode(key, value)?;
    let cause = record.cause();
    let tags = record.tags.iter().map(|tag| parsed(key, "tag", tag));
    let Some(manifest) = record.manifest else {
        return Err(StorageError::corrupt(key, "no manifest in the record"));
    };
    Ok(DeletedImage {
        manifest: entry_of(key, digest, manifest)?,
        tags: tags.collect::<Result<_, _>>()?,
        deleted_at_ms: record.deleted_at_ms,
        until_ms: record.until_ms,
        index: record.index,
        cause,
        by: record.by,
        cost: record.cost,
    })
}
