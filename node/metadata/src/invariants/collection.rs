//! What a node has to delete was collected, and the other way round.

use super::{Check, Pair};
use crate::keys;
use crate::query;
use crate::read;
use crate::records::collection::{
    CollectedRecord, CollectionRecord, ToDeleteRecord, UnlinkedRecord,
};
use crate::store::StorageError;

pub(super) fn collection(_: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    pair.parts().end()?;
    pair.decode::<CollectionRecord>()?;
    Ok(())
}

/// A candidate: what it is about may be in use, or gone.
pub(super) fn unused(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    parts.number()?;
    parts.registry()?;
    parts.text("repository")?;
    parts.digest()?;
    parts.end()
}

pub(super) fn unlinked(_: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    parts.digest()?;
    parts.end()?;
    pair.decode::<UnlinkedRecord>()?;
    Ok(())
}

pub(super) fn collected(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let digest = parts.digest()?;
    parts.end()?;
    let record: CollectedRecord = pair.decode()?;
    check.require(
        record.pending.is_sorted_by(|a, b| a < b),
        "the nodes that a collection waits for are sorted and unlike",
        &pair.key,
    );
    check.require_key(
        &keys::collected_at(record.index).digest(&digest),
        "a collection is known by its log index",
        pair,
    )?;
    for node in record.pending {
        let key = keys::to_delete(node, &digest);
        let found: Option<ToDeleteRecord> = read::record(check.view, &key)?;
        check.require(
            found.is_some_and(|found| found.index == record.index),
            "who is waited for knows of the collection",
            &pair.key,
        );
    }
    Ok(())
}

pub(super) fn collected_at(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    let index = parts.number()?;
    let digest = parts.digest()?;
    parts.end()?;
    let found = query::collected(check.view, &digest)?;
    check.require(
        found.is_some_and(|found| found.index == index),
        "only a blob's last collection is known",
        &pair.key,
    );
    Ok(())
}

pub(super) fn to_delete(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let node = parts.number()?;
    let digest = parts.digest()?;
    parts.end()?;
    pair.decode::<ToDeleteRecord>()?;
    let found = query::collected(check.view, &digest)?;
    check.require(
        found.is_some_and(|found| found.pending.contains(&node)),
        "what a node has to delete waits for it",
        &pair.key,
    );
    Ok(())
}
