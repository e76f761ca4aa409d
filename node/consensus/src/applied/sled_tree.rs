//! The trees of a node: sled's.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use entrepot_metadata::StorageError;

use super::tree::{Changes, Database, Most, Pair, Tree};

/// sled's page cache for all groups, bytes.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// How often sled writes its buffers, ms. Its space is only reclaimed by the
/// thread that does this.
const FLUSH_EVERY_MS: u64 = 500;

#[derive(Debug)]
pub(super) struct SledDatabase(sled::Db);

#[derive(Debug)]
struct SledTree(sled::Tree);

// === impl SledDatabase ===

impl SledDatabase {
    /// Opens or makes the database in `path` and lets `probe` look at it. sled
    /// panics on some kinds of damage instead of returning an error. Blocks.
    pub(super) fn open(
        path: &Path,
        probe: fn(&dyn Database) -> Result<(), StorageError>,
    ) -> Result<Self, String> {
        let path = path.to_owned();
        let opening = std::thread::spawn(move || -> Result<Self, String> {
            let db = sled::Config::new()
                .path(path)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(Some(FLUSH_EVERY_MS))
                .open()
                .map_err(|error| error.to_string())?;
            let database = Self(db);
            probe(&database).map_err(|error| error.to_string())?;
            Ok(database)
        });
        opening
            .join()
            .unwrap_or_else(|_| Err("sled panicked".to_owned()))
    }
}

impl Database for SledDatabase {
    fn tree(&self, name: &str) -> Result<Arc<dyn Tree>, StorageError> {
        let tree = self.0.open_tree(name).map_err(backend)?;
        Ok(Arc::new(SledTree(tree)))
    }

    fn drop_tree(&self, name: &str) -> Result<(), StorageError> {
        self.0.drop_tree(name).map_err(backend)?;
        Ok(())
    }

    fn tree_names(&self) -> Vec<Bytes> {
        let names = self.0.tree_names();
        names.iter().map(|name| copied(name)).collect()
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.0.flush().map_err(backend)?;
        Ok(())
    }
}

// === impl SledTree ===

impl Tree for SledTree {
    fn name(&self) -> String {
        String::from_utf8_lossy(&self.0.name()).into_owned()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.0.get(key).map_err(backend)?;
        Ok(value.map(|value| copied(&value)))
    }

    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        most: Most,
    ) -> Result<Vec<Pair>, StorageError> {
        let pairs = match end {
            Some(end) => self.0.range(start..end),
            None => self.0.range(start..),
        };
        let pairs = pairs.map(|pair| pair.map(|(key, value)| (copied(&key), copied(&value))));
        most.take(pairs).map_err(backend)
    }

    fn ends(&self) -> Result<(), StorageError> {
        for end in [self.0.first(), self.0.last()] {
            end.map_err(backend)?;
        }
        Ok(())
    }

    fn write(&self, changes: Changes<'_, '_>) -> Result<(), StorageError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.0.apply_batch(batch).map_err(backend)
    }
}

fn copied(bytes: &sled::IVec) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn backend(error: sled::Error) -> StorageError {
    StorageError::backend("use", error)
}
