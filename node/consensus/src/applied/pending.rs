//! What was applied and is not in the tree yet: the changes of a few entries,
//! which go there as one batch.
//!
//! A batch costs sled far more than the keys in it: it seals a buffer, wakes all
//! of its threads, and shuts every reader out meanwhile. Nothing is lost by
//! waiting: the log holds these entries, and a start applies what the tree does
//! not know of once more, as it does with what sled had not written yet. So the
//! bounds are counts and no clock, and a group that rests keeps its last few
//! entries here.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use entrepot_metadata::{StorageError, Writes};

use super::tree::{Most, Pair, Tree};
use crate::types::Position;

/// Entries that wait at most: a start applies as many again, and readers wait
/// while as many go to the tree.
const ENTRIES_MAX: usize = 32;
/// Bytes of their keys and values at most; what reaches this goes at once.
const BYTES_MAX: usize = 256 * 1024;
/// Changes at most: sled takes some microseconds for each, in which nobody reads.
const CHANGES_MAX: usize = 320;

#[derive(Debug, Default)]
pub(super) struct Pending {
    /// New values; `None` removes the key.
    changes: BTreeMap<Vec<u8>, Option<Bytes>>,
    /// What they lead to; none before the first.
    position: Option<Position>,
    entries: usize,
    bytes: usize,
}

// === impl Pending ===

impl Pending {
    /// Takes what one entry changes.
    pub(super) fn add(&mut self, writes: &Writes, position: &Position) {
        for (key, value) in writes.iter() {
            self.bytes += key.len() + value.map_or(0, Bytes::len);
            self.changes.insert(key.to_vec(), value.cloned());
        }
        self.position = Some(position.clone());
        self.entries += 1;
    }

    /// Whether it is time for them to go to the tree.
    pub(super) fn is_full(&self) -> bool {
        self.entries >= ENTRIES_MAX || self.bytes >= BYTES_MAX || self.changes.len() >= CHANGES_MAX
    }

    pub(super) fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// In the order of their keys; no value removes the key.
    pub(super) fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let changes = self.changes.iter();
        changes.map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// What is new of `key`, if anything is: its value, or that it has none.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.changes.get(key)
    }

    /// What is new between two keys.
    pub(super) fn range(&self, start: &[u8], end: &[u8]) -> Vec<(Vec<u8>, Option<Bytes>)> {
        let range = (Bound::Included(start), Bound::Excluded(end));
        let changes = self.changes.range::<[u8], _>(range);
        changes
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// The first `limit` pairs of `tree` between two keys, with `above` over them.
pub(super) fn scan_under(
    tree: &dyn Tree,
    above: Vec<(Vec<u8>, Option<Bytes>)>,
    (start, end): (&[u8], &[u8]),
    limit: usize,
) -> Result<Vec<Pair>, StorageError> {
    if above.is_empty() {
        return tree.scan(start, Some(end), Most::pairs(limit));
    }
    // Each of these may hide one pair of the tree.
    let most = Most::pairs(limit.saturating_add(above.len()));
    let below = tree.scan(start, Some(end), most)?;
    let mut merged: BTreeMap<Bytes, Bytes> = below.into_iter().collect();
    for (key, value) in above {
        match value {
            Some(value) => merged.insert(Bytes::from(key), value),
            None => merged.remove(key.as_slice()),
        };
    }
    Ok(merged.into_iter().take(limit).collect())
}
