//! A linked blob has a record, links are known from both ends, and a blob's
//! uses are those that manifests state.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::{Check, Pair};
use crate::keys;
use crate::limits::INLINE_BYTES_MAX;
use crate::query;
use crate::records::{BlobRecord, LinkRecord};
use crate::store::StorageError;

const ROOT_BYTES: usize = 32;

pub(super) fn blob(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.blobs += 1;
    let mut parts = pair.parts();
    parts.digest()?;
    parts.end()?;
    let record: BlobRecord = pair.decode()?;
    check.require(
        record.root.len() == ROOT_BYTES,
        "a blob has a BLAKE3 root",
        &pair.key,
    );
    check.require(
        record.holders.is_sorted_by(|a, b| a < b),
        "a blob's holders are sorted and unlike",
        &pair.key,
    );
    let is_somewhere = match &record.content {
        Some(content) => content.len() <= INLINE_BYTES_MAX && content.len() as u64 == record.size,
        None => !record.holders.is_empty(),
    };
    check.require(
        is_somewhere,
        "a blob has holders, or all its bytes here",
        &pair.key,
    );
    Ok(())
}

pub(super) fn link(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.links += 1;
    let (account, repository, digest) = home_and_digest(pair)?;
    pair.decode::<LinkRecord>()?;
    check.require_key(
        &keys::repository(&account, &repository),
        "a link's repository exists",
        pair,
    )?;
    check.require_key(&keys::blob(&digest), "a linked blob has a record", pair)?;
    check.require_key(
        &keys::link_of(&digest, &account, &repository),
        "a link is known from its blob",
        pair,
    )
}

pub(super) fn link_of(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    let digest = parts.digest()?;
    let account = parts.registry()?;
    let repository = parts.name("repository")?;
    parts.end()?;
    check.require_key(
        &keys::link(&account, &repository, &digest),
        "a blob's link is known from its repository",
        pair,
    )
}

pub(super) fn blob_use(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let (account, repository, [blob, manifest]) = home_and_digests(pair)?;
    let entry = match query::manifest_entry(check.view, &account, &repository, &manifest)? {
        Some(entry) => Some(entry),
        None => query::deleted_image(check.view, &account, &repository, &manifest)?
            .map(|deleted| deleted.manifest),
    };
    check.require(
        entry.is_some_and(|entry| entry.blobs.contains(&blob)),
        "a blob's use is one that a manifest states, or one that was deleted",
        &pair.key,
    );
    Ok(())
}

/// Of a key of account, repository and one digest.
pub(super) fn home_and_digest(
    pair: &Pair,
) -> Result<(RegistryId, RepositoryName, Digest), StorageError> {
    let mut parts = pair.parts();
    let home = (
        parts.registry()?,
        parts.name("repository")?,
        parts.digest()?,
    );
    parts.end()?;
    Ok(home)
}

/// Of a key of account, repository and two digests.
pub(super) fn home_and_digests(
    pair: &Pair,
) -> Result<(RegistryId, RepositoryName, [Digest; 2]), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let repository = parts.name("repository")?;
    let digests = [parts.digest()?, parts.digest()?];
    parts.end()?;
    Ok((account, repository, digests))
}
