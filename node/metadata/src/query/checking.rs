//! What a checker of the records asks, and a look at what collection would take.
//!
//! Pages through whole namespaces, of all registries of the region. What is read here
//! is only ever a hint: a view moves on between two reads.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::{ManifestEntry, manifest_of};
use crate::keys::{self, Key, Namespace, Parts};
use crate::read;
use crate::records::LinkRecord;
use crate::store::{KeyValue, StorageError};

/// Something of a repository that has a digest: a link, or a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlaceOf {
    pub account: RegistryId,
    pub repository: RepositoryName,
    pub digest: Digest,
}

/// A blob that a repository has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEntry {
    pub place: PlaceOf,
    /// Since when nothing names it, if nothing does.
    pub since_ms: i64,
}

/// What waits to be collected, as far as it was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    pub links: usize,
    /// Of the link that has waited for longest.
    pub oldest_since_ms: Option<i64>,
    pub blobs: usize,
}

/// At most `limit` links behind `after`, of all repositories.
pub fn all_links(
    view: &dyn KeyValue,
    after: Option<&PlaceOf>,
    limit: usize,
) -> Result<Vec<LinkEntry>, StorageError> {
    let start = after
        .map(|it| keys::link(&it.account, &it.repository, &it.digest))
        .map(Key::successor);
    let found = read::page(view, &Key::new(Namespace::Link), start.as_ref(), limit)?;
    let found = found.into_iter().map(|(key, value)| {
        let record: LinkRecord = read::decode(&key, value)?;
        Ok(LinkEntry {
            place: place_of(&key)?,
            since_ms: record.since_ms(),
        })
    });
    found.collect()
}

pub fn link(view: &dyn KeyValue, place: &PlaceOf) -> Result<Option<LinkEntry>, StorageError> {
    let key = keys::link(&place.account, &place.repository, &place.digest);
    let record: Option<LinkRecord> = read::record(view, &key)?;
    Ok(record.map(|record| LinkEntry {
        place: place.clone(),
        since_ms: record.since_ms(),
    }))
}

/// At most `limit` repositories that have the blob, behind `after`.
pub fn homes_of(
    view: &dyn KeyValue,
    digest: &Digest,
    after: Option<&PlaceOf>,
    limit: usize,
) -> Result<Vec<PlaceOf>, StorageError> {
    let start = after
        .map(|it| keys::link_of(digest, &it.account, &it.repository))
        .map(Key::successor);
    let prefix = Key::new(Namespace::LinkOf).digest(digest);
    let found = read::page(view, &prefix, start.as_ref(), limit)?;
    let found = found.into_iter().map(|(key, _)| {
        let mut parts = Parts::of(&key);
        let digest = parts.digest()?;
        Ok(PlaceOf {
            account: parts.registry()?,
            repository: parts.name("repository")?,
            digest,
        })
    });
    found.collect()
}

/// At most `limit` manifests of the repository that name the blob.
pub fn users_of(
    view: &dyn KeyValue,
    place: &PlaceOf,
    limit: usize,
) -> Result<Vec<Digest>, StorageError> {
    second_digests(view, Namespace::BlobUse, place, limit)
}

/// At most `limit` indexes of the repository that name the manifest.
pub fn parents_of(
    view: &dyn KeyValue,
    place: &PlaceOf,
    limit: usize,
) -> Result<Vec<Digest>, StorageError> {
    second_digests(view, Namespace::ChildUse, place, limit)
}

fn second_digests(
    view: &dyn KeyValue,
    namespace: Namespace,
    place: &PlaceOf,
    limit: usize,
) -> Result<Vec<Digest>, StorageError> {
    let prefix = keys::of_digest(namespace, &place.account, &place.repository, &place.digest);
    let found = read::page(view, &prefix, None, limit)?;
    let found = found.into_iter().map(|(key, _)| {
        let mut parts = Parts::of(&key);
        parts.registry()?;
        parts.text("repository")?;
        parts.digest()?;
        parts.digest()
    });
    found.collect()
}

/// At most `limit` manifests behind `after`, of all repositories.
pub fn all_manifests(
    view: &dyn KeyValue,
    after: Option<&PlaceOf>,
    limit: usize,
) -> Result<Vec<(PlaceOf, ManifestEntry)>, StorageError> {
    let start = after
        .map(|it| keys::manifest(&it.account, &it.repository, &it.digest))
        .map(Key::successor);
    let found = read::page(view, &Key::new(Namespace::Manifest), start.as_ref(), limit)?;
    let found = found
        .into_iter()
        .map(|(key, value)| Ok((place_of(&key)?, manifest_of(&key, value)?)));
    found.collect()
}

/// Whether a link that nothing names is a candidate of collection.
pub fn is_unused_candidate(view: &dyn KeyValue, link: &LinkEntry) -> Result<bool, StorageError> {
    let place = &link.place;
    let key = keys::unused(
        link.since_ms,
        &place.account,
        &place.repository,
        &place.digest,
    );
    read::exists(view, &key)
}

/// Whether a blob that no repository has is a candidate of collection.
pub fn is_unlinked_candidate(view: &dyn KeyValue, digest: &Digest) -> Result<bool, StorageError> {
    read::exists(view, &keys::unlinked(digest))
}

/// At most `limit` blobs behind `after` that no repository may have any more.
pub fn unlinked_blobs_after(
    view: &dyn KeyValue,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<Digest>, StorageError> {
    let start = after.map(|after| keys::unlinked(after).successor());
    let prefix = Key::new(Namespace::Unlinked);
    let found = read::page(view, &prefix, start.as_ref(), limit)?;
    let found = found.iter().map(|(key, _)| Parts::of(key).digest());
    found.collect()
}

/// Counts what waits to be collected, up to `limit` of each.
pub fn waiting(view: &dyn KeyValue, limit: usize) -> Result<Waiting, StorageError> {
    let links = read::page(view, &Key::new(Namespace::Unused), None, limit)?;
    let oldest = links.first().map(|(key, _)| Parts::of(key).number());
    let oldest = oldest.transpose()?;
    let blobs = read::page(view, &Key::new(Namespace::Unlinked), None, limit)?;
    Ok(Waiting {
        links: links.len(),
        oldest_since_ms: oldest.map(|since| i64::try_from(since).unwrap_or(i64::MAX)),
        blobs: blobs.len(),
    })
}

/// Counts the files that a node may still have to delete, up to `limit`.
pub fn count_to_delete(
    view: &dyn KeyValue,
    node: u64,
    limit: usize,
) -> Result<usize, StorageError> {
    Ok(read::page(view, &keys::to_delete_of(node), None, limit)?.len())
}

/// Of a key of account, repository and one digest.
fn place_of(key: &[u8]) -> Result<PlaceOf, StorageError> {
    let mut parts = Parts::of(key);
    Ok(PlaceOf {
        account: parts.registry()?,
        repository: parts.name("repository")?,
        digest: parts.digest()?,
    })
}
