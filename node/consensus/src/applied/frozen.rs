//! A view of a group's state that stands still while the group moves on.
//!
//! sled has no read snapshots. So a scan keeps the old value of every key that
//! is changed ahead of it: the writer hands it over before it writes, and waits
//! for at most one chunk to be read. Memory is bounded by what changes while
//! the scan runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use entrepot_metadata::StorageError;

use super::state::first_key;
use super::tree::{Most, Pair, Tree};
use crate::types::Position;

/// What a chunk holds at most: pairs, and bytes after which it ends.
const CHUNK_MAX: Most = Most {
    pairs: 256,
    bytes: 256 * 1024,
};

/// A state as it was, read front to back once.
#[derive(Debug)]
pub(crate) struct Frozen {
    tree: Arc<dyn Tree>,
    position: Position,
    cursor: Mutex<Cursor>,
}

/// How far the scan is, and what has changed ahead of it.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The next key to read is this or a later one; none at the end.
    next: Option<Vec<u8>>,
    /// Keys at or after `next` as they were; `None`: not there.
    kept: BTreeMap<Vec<u8>, Option<Bytes>>,
    abandoned: bool,
}

/// The state was replaced while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abandoned;

// === impl Frozen ===

impl Frozen {
    pub(super) fn new(tree: Arc<dyn Tree>, position: Position) -> Self {
        Self {
            tree,
            position,
            cursor: Mutex::new(Cursor {
                next: Some(first_key().to_vec()),
                kept: BTreeMap::new(),
                abandoned: false,
            }),
        }
    }

    /// What the view stands for.
    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// The next pairs, in order; an empty chunk is the end.
    pub(crate) fn next_chunk(
        &self,
    ) -> Result<Result<Vec<(Bytes, Bytes)>, Abandoned>, StorageError> {
        let mut cursor = self.lock();
        if cursor.abandoned {
            return Ok(Err(Abandoned));
        }
        let mut chunk = Vec::new();
        // A chunk may come out empty although it is not the end: everything in
        // its range is new.
        while chunk.is_empty() {
            let Some(start) = cursor.next.take() else {
                break;
            };
            let (current, end) = self.read_current(&start)?;
            chunk = cursor.merge(current, end.as_deref());
            cursor.next = end;
        }
        Ok(Ok(chunk))
    }

    /// What the tree holds now from `start` on, and where the next chunk
    /// begins.
    fn read_current(&self, start: &[u8]) -> Result<(Vec<Pair>, Option<Vec<u8>>), StorageError> {
        let pairs = self.tree.scan(start, None, CHUNK_MAX)?;
        let end = pairs.last().filter(|_| CHUNK_MAX.is_reached_by(&pairs));
        let end = end.map(|(key, _)| [key, [0].as_slice()].concat());
        Ok((pairs, end))
    }

    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Cursor> {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Cursor ===

impl Cursor {
    /// Keeps `key` as it is, if the scan has yet to come to it.
    pub(super) fn keep(&mut self, tree: &dyn Tree, key: &[u8]) -> Result<(), StorageError> {
        let ahead = self.next.as_deref().is_some_and(|next| next <= key);
        if !ahead || self.abandoned || self.kept.contains_key(key) {
            return Ok(());
        }
        let old = tree.get(key)?;
        self.kept.insert(key.to_vec(), old);
        Ok(())
    }

    /// `current` as it was when the view was made; `end` is where it stops.
    fn merge(&mut self, current: Vec<(Bytes, Bytes)>, end: Option<&[u8]>) -> Vec<(Bytes, Bytes)> {
        let ahead = end.map_or_else(BTreeMap::new, |end| self.kept.split_off(end));
        let kept = std::mem::replace(&mut self.kept, ahead);
        if kept.is_empty() {
            return current;
        }
        let mut merged: BTreeMap<Bytes, Bytes> = current.into_iter().collect();
        for (key, old) in kept {
            match old {
                Some(value) => merged.insert(Bytes::from(key), value),
                None => merged.remove(key.as_slice()),
            };
        }
        merged.into_iter().collect()
    }
}
