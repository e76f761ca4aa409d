//! What tags pointed to before.

use bytes::Bytes;
use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};

use super::parsed;
use crate::keys::{self, Key, Namespace, Parts};
use crate::read;
use crate::records::history::{GoneTagsRecord, TagMoveRecord};
use crate::records::undelete::Cause;
use crate::store::{KeyValue, StorageError};

/// One move of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagMove {
    /// Counts the tag's moves from 1.
    pub number: u64,
    /// Log index of the command.
    pub index: u64,
    pub at_ms: i64,
    /// None: there was no such tag.
    pub from: Option<Digest>,
    /// None: the tag was deleted.
    pub to: Option<Digest>,
    /// Since when it had pointed to `from`, or for longer.
    pub since_ms: Option<i64>,
    pub cause: Cause,
    /// Who did; empty: not known.
    pub by: String,
}

/// A tag that was deleted, and of which moves are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneTag {
    pub account: RegistryId,
    pub repository: RepositoryName,
    pub tag: Tag,
}

/// The moves of a tag that are remembered, at most `limit` of them, the oldest first.
/// The tag need not be there any more.
pub fn tag_moves(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    tag: &Tag,
    limit: usize,
) -> Result<Vec<TagMove>, StorageError> {
    let prefix = keys::tag_moves(account, repository, tag);
    read::page(view, &prefix, None, limit)?
        .into_iter()
        .map(|(key, value)| tag_move_of(&key, value))
        .collect()
}

/// At most `limit` tags that were deleted at `cutoff_ms` or before and of which moves are
/// remembered, those that went first before the others.
pub fn gone_tags(
    view: &dyn KeyValue,
    cutoff_ms: i64,
    limit: usize,
) -> Result<Vec<GoneTag>, StorageError> {
    let start = Key::new(Namespace::GoneTag);
    let end = keys::gone_tags_then(cutoff_ms).prefix_end();
    let pairs = view.scan(start.as_bytes(), &end, limit)?;
    pairs.iter().map(|(key, _)| gone_tag_of(key)).collect()
}

/// How many deleted tags of a repository there are of which moves are remembered.
pub fn gone_tag_count(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<u64, StorageError> {
    let key = keys::gone_tag_count(account, repository);
    let record: Option<GoneTagsRecord> = read::record(view, &key)?;
    Ok(record.unwrap_or_default().tags)
}

/// A key in namespace `GoneTagOrder`, and the time at which the tag went.
pub(crate) fn gone_tag_of_order(key: &[u8]) -> Result<(GoneTag, u64), StorageError> {
    let mut parts = Parts::of(key);
    let (account, repository) = (parts.registry()?, parts.name("repository")?);
    let gone_at_ms = parts.number()?;
    let tag = parts.name("tag")?;
    parts.end()?;
    let gone = GoneTag {
        account,
        repository,
        tag,
    };
    Ok((gone, gone_at_ms))
}

/// A key in namespace `GoneTag`.
pub(crate) fn gone_tag_of(key: &[u8]) -> Result<GoneTag, StorageError> {
    let mut parts = Parts::of(key);
    parts.number()?;
    let gone = GoneTag {
        account: parts.registry()?,
        repository: parts.name("repository")?,
        tag: parts.name("tag")?,
    };
    parts.end()?;
    Ok(gone)
}

/// The pair of a key in namespace `TagMove`.
pub(crate) fn tag_move_of(key: &[u8], value: Bytes) -> Result<TagMove, StorageError> {
    let mut parts = Parts::of(key);
    parts.registry()?;
    parts.text("repository")?;
    parts.text("tag")?;
    let number = parts.number()?;
    let record: TagMoveRecord = read::decode(key, value)?;
    let cause = record.cause();
    let digest = |text: Option<String>| -> Result<Option<Digest>, StorageError> {
        text.map(|text| parsed(key, "digest", &text)).transpose()
    };
    Ok(TagMove {
        number,
        index: record.index,
        at_ms: record.at_ms,
        from: digest(record.from)?,
        to: digest(record.to)?,
        since_ms: record.since_ms,
        cause,
        by: record.by,
    })
}
