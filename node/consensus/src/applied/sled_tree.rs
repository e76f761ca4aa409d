//! The trees of a node: sled's, and files for the values that are too large for
//! it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use entrepot_metadata::StorageError;

use super::tree::{Changes, Database, Most, Pair, Tree};
use super::values::Values;

/// How often sled writes its buffers, ms. Its space is only reclaimed by the
/// thread that does this.
const FLUSH_EVERY_MS: u64 = 500;

/// How often a value may be replaced between the look at its record and at its
/// file; more often means that the file is missing.
const READ_TRIES_MAX: usize = 100;

#[derive(Debug)]
pub(super) struct SledDatabase {
    sled: sled::Db,
    values: PathBuf,
}

#[derive(Debug)]
struct SledTree {
    sled: sled::Tree,
    values: Values,
    /// Whether any record may have a file.
    has_files: AtomicBool,
}

// === impl SledDatabase ===

impl SledDatabase {
    /// Opens or makes the database in `path`, with `values` for its large values,
    /// and lets `probe` look at it. `cache_bytes`: of sled's page cache. sled panics
    /// on some kinds of damage instead of returning an error. Blocks.
    pub(super) fn open(
        path: &Path,
        values: &Path,
        cache_bytes: u64,
        probe: fn(&dyn Database) -> Result<(), StorageError>,
    ) -> Result<Self, String> {
        let (path, values) = (path.to_owned(), values.to_owned());
        let opening = std::thread::spawn(move || -> Result<Self, String> {
            let db = sled::Config::new()
                .path(path)
                .cache_capacity(cache_bytes)
                .flush_every_ms(Some(FLUSH_EVERY_MS))
                .open()
                .map_err(|error| error.to_string())?;
            let database = Self { sled: db, values };
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
        let values = Values::open(&self.values, name)?;
        Ok(Arc::new(SledTree {
            sled: self.sled.open_tree(name).map_err(backend)?,
            has_files: AtomicBool::new(!values.is_empty()?),
            values,
        }))
    }

    fn drop_tree(&self, name: &str) -> Result<(), StorageError> {
        self.sled.drop_tree(name).map_err(backend)?;
        Values::drop_all(&self.values, name)
    }

    fn tree_names(&self) -> Vec<Bytes> {
        let names = self.sled.tree_names();
        names
            .iter()
            .map(|name| Bytes::copy_from_slice(name))
            .collect()
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.sled.flush().map_err(backend)?;
        Ok(())
    }
}

// === impl SledTree ===

impl SledTree {
    /// The value of a record that was read a moment ago.
    fn value(&self, key: &[u8], record: sled::IVec) -> Result<Option<Bytes>, StorageError> {
        let mut record = Some(record);
        for _ in 0..READ_TRIES_MAX {
            let Some(found) = record else {
                return Ok(None);
            };
            if let Some(value) = self.values.get(key, &found)? {
                return Ok(Some(value));
            }
            record = self.sled.get(key).map_err(backend)?;
        }
        Err(StorageError::corrupt(key, "its file is missing"))
    }
}

impl Tree for SledTree {
    fn name(&self) -> String {
        String::from_utf8_lossy(&self.sled.name()).into_owned()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        match self.sled.get(key).map_err(backend)? {
            Some(record) => self.value(key, record),
            None => Ok(None),
        }
    }

    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        most: Most,
    ) -> Result<Vec<Pair>, StorageError> {
        let records = match end {
            Some(end) => self.sled.range(start..end),
            None => self.sled.range(start..),
        };
        let pairs = records.filter_map(|pair| {
            let (key, record) = match pair {
                Ok(pair) => pair,
                Err(error) => return Some(Err(backend(error))),
            };
            let value = self.value(&key, record).transpose()?;
            Some(value.map(|value| (Bytes::copy_from_slice(&key), value)))
        });
        most.take(pairs)
    }

    fn ends(&self) -> Result<(), StorageError> {
        for end in [self.sled.first(), self.sled.last()] {
            end.map_err(backend)?;
        }
        Ok(())
    }

    fn write(&self, changes: Changes<'_, '_>) -> Result<(), StorageError> {
        let mut batch = sled::Batch::default();
        let mut replaced = Vec::new();
        for (key, value) in changes {
            let record = value.map(|value| self.values.put(key, value)).transpose()?;
            if self.has_files.load(Ordering::Relaxed)
                && let Some(old) = self.sled.get(key).map_err(backend)?
                && Values::has_file(&old)
                && record.as_deref() != Some(&*old)
            {
                replaced.push((key.to_vec(), old));
            }
            match record {
                Some(record) => {
                    if Values::has_file(&record) {
                        self.has_files.store(true, Ordering::Relaxed);
                    }
                    batch.insert(key, record);
                }
                None => batch.remove(key),
            }
        }
        self.sled.apply_batch(batch).map_err(backend)?;
        for (key, record) in replaced {
            self.values.remove(&key, &record)?;
        }
        Ok(())
    }
}

fn backend(error: sled::Error) -> StorageError {
    StorageError::backend("use", error)
}
