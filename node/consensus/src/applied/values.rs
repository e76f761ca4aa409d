//! Large values of the trees, as files beside sled.
//!
//! sled's cache counts a page of more than 128 KiB as a few bytes, and never
//! lets it go: a node that had once read a gigabyte of large manifests held a
//! gigabyte. Up to 16 values share a page, so all but small ones are kept out of
//! it. The page cache of the kernel has them instead.
//!
//! A file is named by what it holds and for which key, and never changes. It is
//! there before the batch that refers to it, and goes after the batch that lets
//! it go; a crash between the two may leave one file behind, which goes when the
//! index is built again. Nothing is synced: a machine that stops takes the whole
//! index with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::{BufMut as _, Bytes, BytesMut};
use entrepot_metadata::StorageError;

/// Values above this have files: 16 of this size make a page that sled counts
/// right.
const SMALL_BYTES_MAX: usize = 7 * 1024;

/// The first byte of a record in sled.
const SMALL: u8 = 0;
const LARGE: u8 = 1;

const NAME_BYTES: usize = 32;

/// The files of one tree.
#[derive(Debug)]
pub(super) struct Values {
    directory: PathBuf,
}

/// What sled holds for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Record<'a> {
    Small(&'a [u8]),
    /// The name of its file.
    Large([u8; NAME_BYTES]),
}

// === impl Values ===

impl Values {
    /// Those of the tree `name`, below `root`.
    pub(super) fn open(root: &Path, name: &str) -> Result<Self, StorageError> {
        let values = Self {
            directory: directory(root, name),
        };
        fs::create_dir_all(&values.directory).map_err(backend)?;
        Ok(values)
    }

    pub(super) fn is_empty(&self) -> Result<bool, StorageError> {
        let mut files = fs::read_dir(&self.directory).map_err(backend)?;
        Ok(files.next().is_none())
    }

    /// Removes all of a tree that is gone.
    pub(super) fn drop_all(root: &Path, name: &str) -> Result<(), StorageError> {
        match fs::remove_dir_all(directory(root, name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(backend(error)),
            _ => Ok(()),
        }
    }

    /// The record that sled is to hold for `value`, whose file is there then.
    pub(super) fn put(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, StorageError> {
        if value.len() <= SMALL_BYTES_MAX {
            return Ok([&[SMALL], value].concat());
        }
        let name = name(key, value);
        let path = self.path(&name);
        // Whoever reads the same value meanwhile never sees a half of it.
        let scratch = path.with_extension("new");
        fs::write(&scratch, value)
            .and_then(|()| fs::rename(&scratch, &path))
            .map_err(backend)?;
        Ok([&[LARGE], name.as_slice()].concat())
    }

    /// The value of a record; none if its file has gone since the record was
    /// read, because another took its place.
    pub(super) fn get(&self, key: &[u8], record: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let name = match Record::parse(key, record)? {
            Record::Small(value) => return Ok(Some(Bytes::copy_from_slice(value))),
            Record::Large(name) => name,
        };
        match fs::read(self.path(&name)) {
            Ok(value) => Ok(Some(value.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(backend(error)),
        }
    }

    /// Whether a record has a file, which has to go with it.
    pub(super) fn has_file(record: &[u8]) -> bool {
        record.first() == Some(&LARGE)
    }

    /// Removes the file of a record that nothing holds any more.
    pub(super) fn remove(&self, key: &[u8], record: &[u8]) -> Result<(), StorageError> {
        let Record::Large(name) = Record::parse(key, record)? else {
            return Ok(());
        };
        match fs::remove_file(self.path(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(backend(error)),
            _ => Ok(()),
        }
    }

    fn path(&self, name: &[u8; NAME_BYTES]) -> PathBuf {
        let name = blake3::Hash::from_bytes(*name).to_hex();
        self.directory.join(name.as_str())
    }
}

// === impl Record ===

impl<'a> Record<'a> {
    fn parse(key: &[u8], record: &'a [u8]) -> Result<Self, StorageError> {
        let corrupt = || StorageError::corrupt(key, "it is no record of the index");
        match record.split_first() {
            Some((&SMALL, value)) => Ok(Self::Small(value)),
            Some((&LARGE, name)) => Ok(Self::Large(name.try_into().map_err(|_| corrupt())?)),
            _ => Err(corrupt()),
        }
    }
}

/// The same value of another key has a file of its own.
fn name(key: &[u8], value: &[u8]) -> [u8; NAME_BYTES] {
    let mut named = BytesMut::with_capacity(8 + key.len());
    named.put_u64(key.len() as u64);
    named.put_slice(key);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&named).update(value);
    *hasher.finalize().as_bytes()
}

/// A tree's name has slashes in it, and becomes one directory.
fn directory(root: &Path, name: &str) -> PathBuf {
    root.join(name.replace('/', "+"))
}

fn backend(error: io::Error) -> StorageError {
    StorageError::backend("use", error)
}
