//! A view of a group's state that stands still while the group moves on.
//!
//! sled has no read snapshots. So a scan keeps the old value of every key that
//! is changed ahead of it: the writer hands it over before it writes, and waits
//! for at most one chunk to be read. Memory is bounded by what changes while
//! the scan runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use entrepot_metadata::StorageError;

use super::state::{backend, copied, first_key};
use crate::types::SnapshotMeta;

/// What a chunk holds at most: pairs, and bytes after which it ends.
const CHUNK_PAIRS_MAX: usize = 256;
const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// A state as it was, read front to back once.
#[derive(Debug)]
pub(crate) struct Frozen {
    tree: sled::Tree,
    meta: SnapshotMeta,
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
    pub(super) fn new(tree: sled::Tree, meta: SnapshotMeta) -> Self {
        Self {
            tree,
            meta,
            cursor: Mutex::new(Cursor {
                next: Some(first_key().to_vec()),
                kept: BTreeMap::new(),
                abandoned: false,
            }),
        }
    }

    /// What the view stands for.
    pub(crate) fn meta(&self) -> &SnapshotMeta {
        &self.meta
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
    #[allow(clippy::type_complexity, reason = "pairs and a key, used once")]
    fn read_current(
        &self,
        start: &[u8],
    ) -> Result<(Vec<(Bytes, Bytes)>, Option<Vec<u8>>), StorageError> {
        let mut pairs = Vec::new();
        let mut bytes = 0;
        for pair in self.tree.range(start..) {
            let (key, value) = copied(pair.map_err(backend)?);
            bytes += key.len() + value.len();
            pairs.push((key, value));
            if pairs.len() >= CHUNK_PAIRS_MAX || bytes >= CHUNK_BYTES_MAX {
                let end = pairs.last().map(|(key, _)| {
                    let mut end = key.to_vec();
                    end.push(0);
                    end
                });
                return Ok((pairs, end));
            }
        }
        Ok((pairs, None))
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
    pub(super) fn keep(&mut self, tree: &sled::Tree, key: &[u8]) -> Result<(), StorageError> {
        let ahead = self.next.as_deref().is_some_and(|next| next <= key);
        if !ahead || self.abandoned || self.kept.contains_key(key) {
            return Ok(());
        }
        let old = tree.get(key).map_err(backend)?;
        let old = old.map(|value| Bytes::copy_from_slice(&value));
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
