//! The seam under the applied state: a few trees of ordered pairs.
//!
//! sled in a node, a map in a simulation. A tree takes a batch whole or not at
//! all; nothing here is asked to be durable, because all of it can be built
//! again.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use entrepot_metadata::StorageError;

pub(super) type Pair = (Bytes, Bytes);

/// Changes of one batch: no value removes the key.
pub(super) type Changes<'i, 'a> = &'i mut dyn Iterator<Item = (&'a [u8], Option<&'a [u8]>)>;

/// Named trees.
pub(super) trait Database: fmt::Debug + Send + Sync {
    /// The tree of this name, empty if there was none.
    fn tree(&self, name: &str) -> Result<Arc<dyn Tree>, StorageError>;

    /// Removes a tree; one that is not there is no error.
    fn drop_tree(&self, name: &str) -> Result<(), StorageError>;

    /// In no order; may name what is not a group's.
    fn tree_names(&self) -> Vec<Bytes>;

    /// Hands everything that was written to the operating system.
    fn flush(&self) -> Result<(), StorageError>;
}

/// One tree.
pub(super) trait Tree: fmt::Debug + Send + Sync {
    fn name(&self) -> String;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// Pairs from `start` on, before `end` if there is one, until there are
    /// `most.pairs` of them or `most.bytes` in them.
    fn scan(&self, start: &[u8], end: Option<&[u8]>, most: Most)
    -> Result<Vec<Pair>, StorageError>;

    /// Reads the first and the last pair, to see that it can be done.
    fn ends(&self) -> Result<(), StorageError>;

    /// Applies a batch.
    fn write(&self, changes: Changes<'_, '_>) -> Result<(), StorageError>;
}

/// What a scan returns at most; the pair that reaches a limit is the last one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub(super) pairs: usize,
    pub(super) bytes: usize,
}

// === impl Most ===

impl Most {
    pub(super) fn pairs(pairs: usize) -> Self {
        Self {
            pairs,
            bytes: usize::MAX,
        }
    }

    /// Takes pairs from an iterator, up to here.
    pub(super) fn take<E>(
        self,
        pairs: impl Iterator<Item = Result<Pair, E>>,
    ) -> Result<Vec<Pair>, E> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        if self.pairs == 0 {
            return Ok(taken);
        }
        for pair in pairs {
            let (key, value) = pair?;
            bytes += key.len() + value.len();
            taken.push((key, value));
            if self.is_reached(taken.len(), bytes) {
                break;
            }
        }
        Ok(taken)
    }

    /// Whether there may be more after these.
    pub(super) fn is_reached_by(self, pairs: &[Pair]) -> bool {
        let bytes = pairs.iter().map(|(key, value)| key.len() + value.len());
        self.is_reached(pairs.len(), bytes.sum())
    }

    fn is_reached(self, pairs: usize, bytes: usize) -> bool {
        pairs >= self.pairs || bytes >= self.bytes
    }
}
