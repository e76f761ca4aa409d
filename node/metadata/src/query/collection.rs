//! What nothing refers to, what was collected, and what nodes have yet to delete.

use bytes::Bytes;
use entrepot_oci::{Digest, RegistryId, RepositoryName};

use crate::command::UnusedLink;
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::RELINKED_AFTER_MS;
use crate::read;
use crate::records::LinkRecord;
use crate::records::collection::{CollectedRecord, CollectionRecord, ToDeleteRecord, Why};
use crate::store::{KeyValue, StorageError};

/// How far collection is in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Log index: looks at copies that are older do not count.
    pub floor: u64,
    /// What was there before it began has been looked through.
    pub walked: bool,
}

/// A blob that was collected. It may have come back since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectedEntry {
    pub digest: Digest,
    /// Log index of the command that did it.
    pub index: u64,
    /// Bytes; 0 where that was not known.
    pub size: u64,
    pub why: Why,
    pub at_ms: i64,
    /// Nodes that may still delete a file because of it.
    pub pending: Vec<u64>,
}

/// A file that a node may have to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToDelete {
    pub digest: Digest,
    /// Log index of the collection.
    pub index: u64,
}

/// None: it has not begun.
pub fn collection(view: &dyn KeyValue) -> Result<Option<Collection>, StorageError> {
    let record: Option<CollectionRecord> = read::record(view, &keys::collection())?;
    Ok(record.map(|record| Collection {
        floor: record.floor,
        walked: record.walked,
    }))
}

/// At most `limit` links that may have been unused since `cutoff_ms` or longer, the
/// longest first, behind `after`.
pub fn unused_links(
    view: &dyn KeyValue,
    cutoff_ms: i64,
    after: Option<&UnusedLink>,
    limit: usize,
) -> Result<Vec<UnusedLink>, StorageError> {
    let start = match after {
        None => Key::new(Namespace::Unused),
        Some(after) => {
            let key = keys::unused_at(after.since_ms);
            let parsed = after
                .account
                .parse()
                .ok()
                .zip(after.repository.parse().ok());
            match parsed.zip(after.digest.parse().ok()) {
                Some(((account, repository), digest)) => {
                    key.home(&account, &repository).digest(&digest).successor()
                }
                None => key,
            }
        }
    };
    let end = keys::unused_at(cutoff_ms).prefix_end();
    let found = view.scan(start.as_bytes(), &end, limit)?;
    let links = found.iter().map(|(key, _)| {
        let mut parts = Parts::of(key);
        let since_ms = i64::try_from(parts.number()?).unwrap_or(i64::MAX);
        let account: RegistryId = parts.registry()?;
        let repository: RepositoryName = parts.name("repository")?;
        let digest = parts.digest()?;
        Ok(UnusedLink::new(since_ms, &account, &repository, &digest))
    });
    links.collect()
}

/// Whether nothing names a blob that a repository has, and has not for so long that
/// its time to stay would begin anew if somebody pushed it now.
pub fn is_idle_link(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
    now_ms: i64,
) -> Result<bool, StorageError> {
    let link: Option<LinkRecord> = read::record(view, &keys::link(account, repository, digest))?;
    let is_due = |link: LinkRecord| link.since_ms().saturating_add(RELINKED_AFTER_MS) <= now_ms;
    if !link.is_some_and(is_due) {
        return Ok(false);
    }
    let uses = keys::of_digest(Namespace::BlobUse, account, repository, digest);
    Ok(collection(view)?.is_some() && read::first(view, &uses)?.is_none())
}

/// At most `limit` blobs that no repository may have any more.
pub fn unlinked_blobs(view: &dyn KeyValue, limit: usize) -> Result<Vec<Digest>, StorageError> {
    let found = read::page(view, &Key::new(Namespace::Unlinked), None, limit)?;
    found
        .iter()
        .map(|(key, _)| Parts::of(key).digest())
        .collect()
}

/// The last collection of a blob, as long as that is remembered.
pub fn collected(
    view: &dyn KeyValue,
    digest: &Digest,
) -> Result<Option<CollectedEntry>, StorageError> {
    let key = keys::collected(digest);
    view.get(key.as_bytes())?
        .map(|value| entry_of(key.as_bytes(), value))
        .transpose()
}

/// At most `limit` collections, oldest first, behind `after`.
pub fn collections(
    view: &dyn KeyValue,
    after: Option<(u64, Digest)>,
    limit: usize,
) -> Result<Vec<CollectedEntry>, StorageError> {
    let prefix = Key::new(Namespace::CollectedAt);
    let start = after.map(|(index, digest)| keys::collected_at(index).digest(&digest).successor());
    let mut found = Vec::new();
    for (key, _) in read::page(view, &prefix, start.as_ref(), limit)? {
        let mut parts = Parts::of(&key);
        parts.number()?;
        // None: forgotten in between.
        found.extend(collected(view, &parts.digest()?)?);
    }
    Ok(found)
}

/// The collection of `digest` because of which `node` may still delete a file.
pub fn to_delete(
    view: &dyn KeyValue,
    node: u64,
    digest: &Digest,
) -> Result<Option<ToDelete>, StorageError> {
    let record: Option<ToDeleteRecord> = read::record(view, &keys::to_delete(node, digest))?;
    Ok(record.map(|record| ToDelete {
        digest: *digest,
        index: record.index,
    }))
}

/// At most `limit` of what `node` has still to delete.
pub fn all_to_delete(
    view: &dyn KeyValue,
    node: u64,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<ToDelete>, StorageError> {
    let start = after.map(|after| keys::to_delete(node, after).successor());
    let found = read::page(view, &keys::to_delete_of(node), start.as_ref(), limit)?;
    let found = found.into_iter().map(|(key, value)| {
        let mut parts = Parts::of(&key);
        parts.number()?;
        let digest = parts.digest()?;
        let record: ToDeleteRecord = read::decode(&key, value)?;
        Ok(ToDelete {
            digest,
            index: record.index,
        })
    });
    found.collect()
}

/// The nodes that have something to delete, at most `limit` of them.
pub fn nodes_to_delete(view: &dyn KeyValue, limit: usize) -> Result<Vec<u64>, StorageError> {
    let prefix = Key::new(Namespace::ToDelete);
    let mut nodes = Vec::new();
    let mut start = None;
    while nodes.len() < limit
        && let Some((key, _)) = read::page(view, &prefix, start.as_ref(), 1)?.pop()
    {
        let node = Parts::of(&key).number()?;
        nodes.push(node);
        let Some(next) = node.checked_add(1) else {
            break;
        };
        start = Some(keys::to_delete_of(next));
    }
    Ok(nodes)
}

fn entry_of(key: &[u8], value: Bytes) -> Result<CollectedEntry, StorageError> {
    let digest = Parts::of(key).digest()?;
    let record: CollectedRecord = read::decode(key, value)?;
    Ok(CollectedEntry {
        digest,
        index: record.index,
        size: record.size,
        why: record.why(),
        at_ms: record.at_ms,
        pending: record.pending,
    })
}
