//! Blobs and their links to repositories.

use bytes::Bytes;
use entrepot_oci::{Digest, RegistryId, RepositoryName};

use crate::keys::{self, Key, Namespace, Parts};
use crate::read;
use crate::records::BlobRecord;
use crate::store::{KeyValue, StorageError};

/// What the region knows of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub root: [u8; 32],
    /// Nodes that had a durable copy when they said so; sorted.
    pub holders: Vec<u64>,
    /// All of it, where the metadata keeps it: then no node needs a copy.
    pub content: Option<Bytes>,
}

pub fn blob(view: &dyn KeyValue, digest: &Digest) -> Result<Option<Blob>, StorageError> {
    let key = keys::blob(digest);
    view.get(key.as_bytes())?
        .map(|value| blob_of(key.as_bytes(), value))
        .transpose()
}

/// At most `limit` blobs whose digests sort after `after`, linked or not.
pub fn blobs(
    view: &dyn KeyValue,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<Blob>, StorageError> {
    let start = after.map(|after| keys::blob(after).successor());
    read::page(view, &Key::new(Namespace::Blob), start.as_ref(), limit)?
        .into_iter()
        .map(|(key, value)| blob_of(&key, value))
        .collect()
}

/// Whether the repository may read and reference the blob.
pub fn linked(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<bool, StorageError> {
    read::exists(view, &keys::link(account, repository, digest))
}

/// One of the repositories that have the blob; `None`: nobody does.
pub fn link_any(
    view: &dyn KeyValue,
    digest: &Digest,
) -> Result<Option<(RegistryId, RepositoryName)>, StorageError> {
    let prefix = Key::new(Namespace::LinkOf).digest(digest);
    read::first(view, &prefix)?
        .map(|key| {
            let mut parts = Parts::of(&key);
            parts.digest()?;
            Ok((parts.registry()?, parts.name("repository")?))
        })
        .transpose()
}

/// At most `limit` repositories of `account` that have the blob, by name.
pub fn links(
    view: &dyn KeyValue,
    account: &RegistryId,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<RepositoryName>, StorageError> {
    let prefix = Key::new(Namespace::LinkOf).digest(digest).account(account);
    read::page(view, &prefix, None, limit)?
        .into_iter()
        .map(|(key, _)| {
            let mut parts = Parts::of(&key);
            parts.digest()?;
            parts.registry()?;
            parts.name("repository")
        })
        .collect()
}

fn blob_of(key: &[u8], value: Bytes) -> Result<Blob, StorageError> {
    let digest = Parts::of(key).digest()?;
    let record: BlobRecord = read::decode(key, value)?;
    Ok(Blob {
        digest,
        size: record.size,
        root: record.root.as_ref().try_into().map_err(|_| {
            StorageError::corrupt(key, format_args!("a root of {} bytes", record.root.len()))
        })?,
        holders: record.holders,
        content: record.content,
    })
}
