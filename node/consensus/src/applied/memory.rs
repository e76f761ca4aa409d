//! The trees of a simulation: maps in memory.
//!
//! What was written is there for whoever opens it next, as after a kill;
//! [`MemoryIndex::lose`] is what a power cut does to it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use entrepot_metadata::StorageError;

use super::tree::{Changes, Database, Most, Pair, Tree};

/// The index of one node; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct MemoryIndex {
    trees: Arc<Mutex<BTreeMap<String, Arc<MemoryTree>>>>,
}

#[derive(Debug)]
struct MemoryTree {
    name: String,
    pairs: Mutex<BTreeMap<Bytes, Bytes>>,
}

// === impl MemoryIndex ===

impl MemoryIndex {
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything is gone; the next start builds it again.
    pub fn lose(&self) {
        self.lock().clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemoryTree>>> {
        lock(&self.trees)
    }
}

impl Database for MemoryIndex {
    fn tree(&self, name: &str) -> Result<Arc<dyn Tree>, StorageError> {
        let mut trees = self.lock();
        let tree = trees.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(MemoryTree {
                name: name.to_owned(),
                pairs: Mutex::default(),
            })
        });
        let tree: Arc<MemoryTree> = Arc::clone(tree);
        Ok(tree)
    }

    fn drop_tree(&self, name: &str) -> Result<(), StorageError> {
        self.lock().remove(name);
        Ok(())
    }

    fn tree_names(&self) -> Vec<Bytes> {
        let trees = self.lock();
        let names = trees.keys();
        names
            .map(|name| Bytes::copy_from_slice(name.as_bytes()))
            .collect()
    }

    fn flush(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

// === impl MemoryTree ===

impl Tree for MemoryTree {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(lock(&self.pairs).get(key).cloned())
    }

    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        most: Most,
    ) -> Result<Vec<Pair>, StorageError> {
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        let pairs = lock(&self.pairs);
        let range = pairs.range::<[u8], _>((Bound::Included(start), end));
        most.take(range.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }

    fn ends(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn write(&self, changes: Changes<'_, '_>) -> Result<(), StorageError> {
        let mut pairs = lock(&self.pairs);
        for (key, value) in changes {
            match value {
                Some(value) => {
                    pairs.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                }
                None => {
                    pairs.remove(key);
                }
            }
        }
        Ok(())
    }
}

/// A panic elsewhere left whole batches behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
