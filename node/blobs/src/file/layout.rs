//! Where things are below the store's directory.
//!
//! ```text
//! format                  version of this layout; locked while the store is open
//! staging/<random>        blobs on their way in
//! quarantine/ab01.<random> copies that proved damaged
//! sha256/ab/ab01...       blobs, spread by the first byte of their digest
//! sha256/ab/ab01....tree  hash trees of large ones, see `crate::tree`
//! sha512/cd/cd23...
//! ```
//!
//! Owns the names. Must never write a blob. The invariant: every directory that
//! a blob may need exists, durably, once the store is open.

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use entrepot_oci::{Algorithm, Digest};

use super::{durable, room::Room};
use crate::BlobError;

/// In the order of their digests.
pub(super) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

const FORMAT_PREFIX: &str = "entrepot-blobs ";
const FORMAT_VERSION: u32 = 1;

/// The paths of one store.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    directory: PathBuf,
    room: Room,
}

impl Layout {
    /// Makes what is missing, refuses what is not ours, locks the store for this
    /// process and deletes what uploads have left behind. The lock lasts as long
    /// as the returned file.
    pub(super) fn open(directory: &Path, reserve_bytes: u64) -> Result<(Self, File), BlobError> {
        let layout = Self {
            directory: directory.to_owned(),
            room: Room::new(directory, reserve_bytes),
        };
        durable::create_directories(directory)
            .map_err(BlobError::io("make directory", directory))?;
        let is_new = layout.check_format()?;
        let lock = layout.lock()?;
        layout.create_directories()?;
        layout.delete_stale_staging()?;
        if !is_new {
            durable::sync_filesystem(directory)
                .map_err(BlobError::io("sync file system of", directory))?;
        }
        Ok((layout, lock))
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let mut path = self.shard(digest.algorithm(), digest.bytes()[0]);
        path.push(digest.hex());
        path
    }

    /// The directory of the blobs whose digest begins with `first_byte`.
    pub(super) fn shard(&self, algorithm: Algorithm, first_byte: u8) -> PathBuf {
        let mut path = self.directory.join(algorithm.as_str());
        path.push(format!("{first_byte:02x}"));
        path
    }

    /// The hash tree of a large blob.
    pub(super) fn tree(&self, digest: &Digest) -> PathBuf {
        let mut path = self.shard(digest.algorithm(), digest.bytes()[0]);
        path.push(format!("{}.tree", digest.hex()));
        path
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.directory.join("quarantine")
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.directory.join("staging")
    }

    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    fn format(&self) -> PathBuf {
        self.directory.join("format")
    }

    /// Whether the store is new, and got its format just now.
    fn check_format(&self) -> Result<bool, BlobError> {
        let path = self.format();
        let found = match fs::read_to_string(&path) {
            Ok(found) => found,
            // The format is the first thing written: blobs without it are a
            // damaged store, or somebody else's.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.directory.join("sha256").exists() {
                    return Err(self.unknown_format(String::new()));
                }
                let format = format!("{FORMAT_PREFIX}{FORMAT_VERSION}\n");
                let scratch = self.directory.join("format.new");
                durable::write_atomically(&path, &scratch, format.as_bytes())
                    .map_err(BlobError::io("write", path))?;
                return Ok(true);
            }
            Err(error) => return Err(BlobError::io("read", path)(error)),
        };
        let version = found.trim_end().strip_prefix(FORMAT_PREFIX);
        match version.map(str::parse::<u32>) {
            Some(Ok(FORMAT_VERSION)) => Ok(false),
            _ => Err(self.unknown_format(found)),
        }
    }

    fn unknown_format(&self, found: String) -> BlobError {
        BlobError::Format {
            path: self.directory.clone(),
            found,
            supported: FORMAT_VERSION,
        }
    }

    fn lock(&self) -> Result<File, BlobError> {
        let path = self.format();
        let file = File::open(&path).map_err(BlobError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(BlobError::Locked {
                path: self.directory.clone(),
            }),
            Err(TryLockError::Error(error)) => Err(BlobError::io("lock", path)(error)),
        }
    }

    fn create_directories(&self) -> Result<(), BlobError> {
        let names = ALGORITHMS.map(|algorithm| algorithm.as_str().to_owned());
        let names = names
            .into_iter()
            .chain(["staging", "quarantine"].map(String::from));
        durable::create_children(&self.directory, names)
            .map_err(BlobError::io("make directories in", &self.directory))?;
        // All of them at once, so that no commit has to make one and to wait for
        // its name.
        for algorithm in ALGORITHMS {
            let parent = self.directory.join(algorithm.as_str());
            durable::create_children(&parent, (0..=u8::MAX).map(|byte| format!("{byte:02x}")))
                .map_err(BlobError::io("make directories in", parent))?;
        }
        Ok(())
    }

    fn delete_stale_staging(&self) -> Result<(), BlobError> {
        let path = self.staging();
        let failed = |error| BlobError::io("clear", &path)(error);
        let mut deleted = 0_u64;
        for entry in fs::read_dir(&path).map_err(failed)? {
            fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
            deleted += 1;
        }
        if deleted > 0 {
            tracing::info!(deleted, path = %path.display(), "deleted stale staging files");
        }
        Ok(())
    }
}

/// The digest that a file in a shard is named by; none for a foreign file.
pub(super) fn digest_of(algorithm: Algorithm, name: &OsStr) -> Option<Digest> {
    format!("{algorithm}:{}", name.to_str()?).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, path::Path};

    use entrepot_oci::{Algorithm, Digest};

    use super::{ALGORITHMS, Layout, Room, digest_of};

    #[test]
    fn a_blob_lies_in_the_shard_of_its_first_byte() {
        let layout = Layout {
            directory: Path::new("/store").to_owned(),
            room: Room::new(Path::new("/store"), 0),
        };
        assert_eq!(
            layout.blob(&Digest::of(Algorithm::Sha256, b"")),
            Path::new(
                "/store/sha256/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            )
        );
    }

    #[test]
    fn names_are_read_back() {
        for algorithm in ALGORITHMS {
            let digest = Digest::of(algorithm, b"content");
            let name = digest.hex();
            assert_eq!(digest_of(algorithm, OsStr::new(&name)), Some(digest));
            assert_eq!(digest_of(algorithm, OsStr::new(&name.to_uppercase())), None);
        }
    }

    #[test]
    fn algorithms_are_in_the_order_of_their_digests() {
        let digests = ALGORITHMS.map(|algorithm| Digest::of(algorithm, b""));
        assert!(digests.is_sorted());
    }
}
