//! What keeps readers from wrong bytes.
//!
//! Owns the proofs of the files that are read, and the quarantine: a directory
//! for copies that proved damaged, so that somebody can look at them. They are
//! never served again. The invariant: bytes leave [`Care::read`] only after they
//! were proven, see [`super::ledger`]; a copy that failed twice has lost its
//! name before anybody is told.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use entrepot_oci::Digest;

use super::{
    durable,
    layout::Layout,
    ledger::{Identity, Ledger, Ledgers},
    random_name,
    source::{Kept, Source},
    trees,
};
use crate::{BlobError, StoreMetrics};

/// Damaged copies that are kept to be looked at, the newest.
const QUARANTINE_FILES_MAX: usize = 32;
/// Bytes of them, but for the newest, which is kept whatever its size.
const QUARANTINE_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Care {
    pub(super) layout: Layout,
    pub(super) kept: Kept,
    pub(super) metrics: StoreMetrics,
    ledgers: Ledgers,
    /// One tree is made at a time: it takes a core and the disk.
    making: Mutex<()>,
    /// Held while a name is given to another file, or taken away.
    names: Mutex<()>,
}

/// A file in quarantine.
struct Damaged {
    path: PathBuf,
    size: u64,
    since: SystemTime,
}

// === impl Care ===

impl Care {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            kept: Kept::new(),
            metrics: StoreMetrics::default(),
            ledgers: Ledgers::new(),
            making: Mutex::default(),
            names: Mutex::default(),
        }
    }

    pub(super) fn now_s(&self) -> u32 {
        self.ledgers.now_s()
    }

    /// What proves `file`, which was opened by the name of `digest`. Blocks the
    /// thread: for long where a large blob has lost its tree.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] when its content is found to be another.
    pub(super) fn ledger(&self, digest: &Digest, file: &File) -> Result<Arc<Ledger>, BlobError> {
        let path = || self.layout.blob(digest);
        let identity = Identity::of(file).map_err(BlobError::io("stat blob", path()))?;
        if let Some(ledger) = self.known(digest, identity) {
            return Ok(ledger);
        }
        let _alone = lock(&self.making);
        if let Some(ledger) = self.known(digest, identity) {
            return Ok(ledger);
        }
        let (tree, right) =
            trees::make(file, digest).map_err(BlobError::io("read blob", path()))?;
        if !right {
            self.condemn(digest, &identity, "it has another digest");
            return Err(BlobError::Damaged(*digest));
        }
        self.metrics.trees_made.inc();
        self.metrics.verified_bytes.inc_by(identity.size());
        trees::save(&self.layout, digest, &tree);
        let ledger = Ledger::with_tree(digest, identity, tree);
        ledger.note_all(self.now_s());
        Ok(self.ledgers.keep(ledger))
    }

    fn known(&self, digest: &Digest, file: Identity) -> Option<Arc<Ledger>> {
        self.ledgers.get(digest, &file).or_else(|| {
            let ledger = Ledger::whole(digest, file).or_else(|| {
                let tree = trees::load(&self.layout, digest, file.size())?;
                Some(Ledger::with_tree(digest, file, tree))
            })?;
            Some(self.ledgers.keep(ledger))
        })
    }

    /// All of `range` of a blob, which is at most a piece. Blocks the thread.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] within, when the bytes are not the right ones.
    pub(super) fn read(&self, source: &Source, range: &Range<u64>) -> io::Result<Bytes> {
        let now_s = self.now_s();
        if let Some((piece, proven)) = source.read(range, now_s)? {
            self.metrics.verified_bytes.inc_by(proven);
            return Ok(piece);
        }
        let digest = source.stat().digest;
        let file = source.ledger().file();
        self.condemn(&digest, file, "its bytes are not the right ones");
        Err(damaged(&digest))
    }

    /// Moves a copy aside, unless its name stands for another file by now.
    /// Blocks the thread.
    pub(super) fn condemn(&self, digest: &Digest, file: &Identity, reason: &str) {
        self.forget(digest);
        let path = self.layout.blob(digest);
        let names = self.lock_names();
        let is_named = File::open(&path).and_then(|named| Identity::of(&named));
        if is_named.ok().as_ref() != Some(file) {
            return;
        }
        let moved = random_name().and_then(|name| {
            let to = self
                .layout
                .quarantine()
                .join(format!("{}.{name}", digest.hex()));
            durable::publish(&path, &to)
        });
        drop(names);
        match moved {
            Ok(()) => {
                tracing::error!(%digest, reason, "a damaged copy was moved into quarantine");
                self.metrics.quarantined.inc();
                trees::remove(&self.layout, digest);
                self.thin_out();
            }
            Err(error) => {
                tracing::error!(%digest, reason, %error, "a damaged copy cannot be moved aside");
            }
        }
    }

    /// After the name of `digest` was given to another file, or taken away.
    pub(super) fn forget(&self, digest: &Digest) {
        self.kept.forget(digest);
        self.ledgers.forget(digest);
    }

    pub(super) fn lock_names(&self) -> MutexGuard<'_, ()> {
        lock(&self.names)
    }

    /// Deletes the oldest files in quarantine where there are too many.
    fn thin_out(&self) {
        let mut files = self.in_quarantine().unwrap_or_else(|error| {
            tracing::warn!(%error, "the quarantine cannot be listed");
            Vec::new()
        });
        files.sort_by_key(|file| std::cmp::Reverse(file.since));
        let mut bytes = 0_u64;
        for (place, file) in files.into_iter().enumerate() {
            bytes = bytes.saturating_add(file.size);
            let too_many = place >= QUARANTINE_FILES_MAX || bytes > QUARANTINE_BYTES_MAX;
            if place > 0 && too_many {
                let _ = fs::remove_file(file.path);
            }
        }
    }

    fn in_quarantine(&self) -> io::Result<Vec<Damaged>> {
        fs::read_dir(self.layout.quarantine())?
            .map(|entry| {
                let entry = entry?;
                let metadata = entry.metadata()?;
                Ok(Damaged {
                    path: entry.path(),
                    size: metadata.len(),
                    since: changed(&metadata),
                })
            })
            .collect()
    }
}

/// When a file was moved here: its content is older.
fn changed(metadata: &fs::Metadata) -> SystemTime {
    use std::os::unix::fs::MetadataExt as _;
    let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
}

pub(super) fn damaged(digest: &Digest) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, BlobError::Damaged(*digest))
}

/// A read's error as the store's own.
pub(super) fn failed(error: io::Error, path: PathBuf) -> BlobError {
    match error.downcast::<BlobError>() {
        Ok(error) => error,
        Err(error) => BlobError::io("read blob", path)(error),
    }
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
