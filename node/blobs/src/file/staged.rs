//! A file on its way in.
//!
//! Owns the file until it is published. Must never be seen under a digest before
//! that. The invariant: dropping it removes it, whichever thread drops it last.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    ops::Range,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, Hasher};
use tokio::task::spawn_blocking;

use super::{
    abandoned::Owner,
    direct::{self, Batch},
    durable,
    room::Room,
    source,
};
use crate::{BlobError, Faults, Operation, READ_BYTES, StagedBytes};

/// Made on the disk by its first write: most blobs are written once, and a wrong
/// one should not be written at all.
#[derive(Debug)]
pub(super) struct StagedFile {
    owner: Owner,
    file: Option<Arc<File>>,
    opened: Opened,
    /// While the file is written past the page cache.
    direct: Option<Batch>,
    /// Written into the page cache since the last sync was begun.
    unsynced_bytes: u64,
    room: Room,
    faults: Faults,
}

/// The file, once it is on the disk, for those who read what was written. It
/// lives for as long as one of them does, whatever its name is by then. It is
/// opened once more for them, if there are any: the one that is written to may
/// take whole blocks alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened {
    wanted: Arc<AtomicBool>,
    file: Arc<OnceLock<Arc<File>>>,
}

// === impl Opened ===

impl Opened {
    /// Before the first write: somebody will read.
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    fn open(&self, path: &Path) -> io::Result<()> {
        if self.wanted.load(Ordering::Relaxed) {
            let file = Arc::new(File::open(path)?);
            self.file.get_or_init(|| file);
        }
        Ok(())
    }
}

#[async_trait]
impl StagedBytes for Opened {
    async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let file = self.file.get().map(Arc::clone);
        let file = file.ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let read = move || source::read_at(&file, range.start, length);
        let bytes = spawn_blocking(read).await.map_err(io::Error::other)??;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

// === impl StagedFile ===

impl StagedFile {
    /// Nothing else may have the owner's name.
    pub(super) fn new(owner: Owner, room: Room, faults: Faults) -> Self {
        Self {
            owner,
            file: None,
            direct: None,
            opened: Opened::default(),
            unsynced_bytes: 0,
            room,
            faults,
        }
    }

    pub(super) fn opened(&self) -> &Opened {
        &self.opened
    }

    pub(super) fn is_on_disk(&self) -> bool {
        self.file.is_some()
    }

    /// Tells what the next write begins with, or goes on with: all of it, or none.
    pub(super) fn prepare(&mut self, bytes: &[u8]) {
        if let Some(batch) = &mut self.direct {
            batch.push(bytes);
        }
    }

    /// Appends. Not synced.
    pub(super) fn write(&mut self, pieces: &[Bytes]) -> Result<(), BlobError> {
        self.room
            .check(pieces.iter().map(|piece| piece.len() as u64).sum())
            .map_err(BlobError::io("measure the room for", self.owner.path()))?;
        let failure = self.faults.check(Operation::Write);
        if self.file.is_none() {
            self.make(Batch::fits(pieces))?;
        }
        let written = match failure {
            Ok(()) => self.write_pieces(pieces),
            Err(error) => {
                let torn = &pieces[..pieces.len() / 2];
                self.write_pieces(torn).and(Err(error))
            }
        };
        written.map_err(BlobError::io("write staging file", self.owner.path()))
    }

    /// Makes the file; one that begins with a whole batch will be `large`.
    fn make(&mut self, large: bool) -> Result<(), BlobError> {
        let made = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.owner.path());
        let file = made.map_err(BlobError::io("make staging file", self.owner.path()))?;
        self.opened
            .open(self.owner.path())
            .map_err(BlobError::io("open staging file", self.owner.path()))?;
        // Some file systems have no direct writes, and do without.
        if large && direct::enter(&file).is_ok() {
            self.direct = Some(Batch::new());
        }
        self.file = Some(Arc::new(file));
        Ok(())
    }

    fn write_pieces(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Some(batch) = &mut self.direct {
            if Batch::fits(pieces) {
                return batch.write(file, pieces);
            }
            direct::leave(file)?;
            self.direct = None;
        }
        self.unsynced_bytes += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        write_all(file, pieces)
    }

    /// Reads back what was written.
    pub(super) fn digest(&mut self, algorithm: Algorithm) -> Result<Digest, BlobError> {
        const READING: &str = "read back staging file";
        if let Some(file) = &self.file
            && self.direct.take().is_some()
        {
            // Reads would need whole blocks as well.
            direct::leave(file).map_err(BlobError::io(READING, self.owner.path()))?;
        }
        let mut hasher = Hasher::new(algorithm);
        let mut offset = 0;
        while let Some(file) = &self.file {
            let piece = source::read_at(file, offset, READ_BYTES)
                .map_err(BlobError::io(READING, self.owner.path()))?;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
            offset += piece.len() as u64;
        }
        Ok(hasher.finish())
    }

    /// Makes the content durable.
    pub(super) fn sync(&mut self) -> Result<(), BlobError> {
        if self.file.is_none() {
            self.make(false)?;
        }
        match self.begin_sync() {
            Some(sync) => sync(),
            None => Ok(()),
        }
    }

    pub(super) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    /// The work of making what is written so far durable, while more is written;
    /// none when nothing is. The content is lost if it fails, whatever a later
    /// sync says.
    pub(super) fn begin_sync(
        &mut self,
    ) -> Option<impl FnOnce() -> Result<(), BlobError> + Send + 'static> {
        let file = Arc::clone(self.file.as_ref()?);
        let (path, faults) = (self.owner.path().to_owned(), self.faults.clone());
        self.unsynced_bytes = 0;
        Some(move || {
            faults
                .check(Operation::Sync)
                .and_then(|()| durable::sync_content(&file))
                .map_err(BlobError::io("sync staging file", path))
        })
    }

    /// Gives the synced file its name, which is not durable yet.
    pub(super) fn publish(mut self, named: &Path) -> Result<(), BlobError> {
        self.faults
            .check(Operation::Publish)
            .and_then(|()| durable::publish(self.owner.path(), named))
            .map_err(BlobError::io("rename staging file to", named))?;
        self.file = None;
        Ok(())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if self.file.take().is_none() {
            return;
        }
        // A file that another process has taken away is as gone as it should be;
        // any other one is found by its age, or when the store is opened next.
        match fs::remove_file(self.owner.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.owner.path().display(), %error, "could not delete staging file");
            }
            _ => {}
        }
    }
}

fn write_all(mut file: &File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
