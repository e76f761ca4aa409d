//! A blob's open file, and the few that are kept open because they are asked for
//! again and again.
//!
//! Bytes that may come from the disk are read into memory of their own and
//! proven there: what is given away is what was proven. Bytes that are in the
//! page cache and were proven lately are mapped, so that they are not copied; a
//! small piece is read all the same, since a mapping costs more than the copy.
//! Memory that is mapped counts as the process's own, so no more of a file is
//! mapped at a time than a window. The invariant: what is kept is what the name
//! stands for, or was when the caller asked.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use entrepot_oci::Digest;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use rustix::io::{Errno, ReadWriteFlags};

use super::care::Care;
use super::layout::Layout;
use super::ledger::{Identity, Ledger};
use super::mapping::Mapping;
use crate::{BlobError, BlobStat, Faults, Operation};

/// From here on a blob is mapped.
const MAPPED_BYTES_MIN: u64 = 64 * 1024;
/// Mapped of one file at a time, bytes; a blob that is no longer is kept open.
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes, and files, of blobs that are kept open.
const KEPT_BYTES_MAX: u64 = 32 * 1024 * 1024;
const KEPT_FILES_MAX: usize = 512;
/// The kernel reads ahead by about as much: where the first byte of a step is in
/// memory, the rest of it most likely is.
const RESIDENT_STEP_BYTES: usize = 128 * 1024;

/// A blob's open file.
#[derive(Debug)]
pub(super) struct Source {
    digest: Digest,
    file: File,
    size: u64,
    /// Whether it is worth mapping.
    mapped: bool,
    window: Mutex<Option<Mapping>>,
    /// What proves it, and what has proved right.
    ledger: Arc<Ledger>,
    faults: Faults,
}

/// Open files of small blobs, the busiest.
pub(super) struct Kept(Cache<Digest, Arc<Source>, BySize>);

#[derive(Clone)]
struct BySize;

// === impl Source ===

impl Source {
    /// Blocks the thread.
    pub(super) fn open(care: &Care, digest: &Digest, faults: &Faults) -> Result<Self, BlobError> {
        let path = care.layout.blob(digest);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::NotFound(*digest),
            _ => BlobError::io("open blob", &path)(error),
        })?;
        let ledger = care.ledger(digest, &file)?;
        let size = ledger.file().size();
        Ok(Self {
            digest: *digest,
            file,
            size,
            mapped: size >= MAPPED_BYTES_MIN,
            window: Mutex::default(),
            ledger,
            faults: faults.clone(),
        })
    }

    pub(super) fn stat(&self) -> BlobStat {
        BlobStat {
            digest: self.digest,
            size: self.size,
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether nobody has written to the file since it was opened.
    pub(super) fn is_unchanged(&self) -> bool {
        Identity::of(&self.file).is_ok_and(|now| now == *self.ledger.file())
    }

    /// `range`, if it can be had without the disk and need not be proven again.
    pub(super) fn at_hand(&self, range: &Range<u64>, now_s: u32) -> Option<io::Result<Bytes>> {
        if !self.mapped || !self.is_trusted(range, now_s) {
            return None;
        }
        let piece = || {
            self.faults.check(Operation::Read)?;
            self.window(range)?.bytes(range)
        };
        Some(piece())
    }

    /// Whether `range` is in memory as it was when it was proven.
    fn is_trusted(&self, range: &Range<u64>, now_s: u32) -> bool {
        self.ledger.is_proven(range, now_s) && self.is_resident(range) && self.is_unchanged()
    }

    /// All of `range`, which is within the blob and at most a window long, and
    /// how many bytes had to be proven for that; none: it is not right. Blocks
    /// the thread.
    pub(super) fn read(&self, range: &Range<u64>, now_s: u32) -> io::Result<Option<(Bytes, u64)>> {
        if let Some(piece) = self.at_hand(range, now_s) {
            return Ok(Some((piece?, 0)));
        }
        self.faults.check(Operation::Read)?;
        if self.is_trusted(range, now_s) {
            return Ok(self.bytes(range)?.map(|piece| (piece, 0)));
        }
        // Once more: the bytes may have been hurt on their way.
        let proven = match self.proven(range, now_s)? {
            None => self.proven(range, now_s)?,
            proven => proven,
        };
        Ok(proven.map(|content| {
            let extent = self.ledger.extent(range);
            let within = |offset: u64| {
                usize::try_from(offset - extent.start)
                    .map_or(content.len(), |at| at.min(content.len()))
            };
            let piece = content.slice(within(range.start)..within(range.end));
            (piece, content.len() as u64)
        }))
    }

    /// Reads and proves what `range` lies in; none: it is not right. Blocks the
    /// thread.
    pub(super) fn prove(&self, range: &Range<u64>, now_s: u32) -> io::Result<Option<Bytes>> {
        self.faults.check(Operation::Read)?;
        self.proven(range, now_s)
    }

    fn proven(&self, range: &Range<u64>, now_s: u32) -> io::Result<Option<Bytes>> {
        let extent = self.ledger.extent(range);
        let content = self.bytes(&extent)?;
        Ok(content.filter(|content| self.ledger.prove(&extent, content, now_s)))
    }

    /// What the file has of `range`; none: it is shorter than it was.
    fn bytes(&self, range: &Range<u64>) -> io::Result<Option<Bytes>> {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let piece = read_at(&self.file, range.start, length)?;
        Ok((piece.len() == length).then_some(piece))
    }

    fn window(&self, range: &Range<u64>) -> io::Result<Mapping> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mapping) = window.as_ref().filter(|window| window.covers(range)) {
            return Ok(mapping.clone());
        }
        let part = if self.size <= WINDOW_BYTES {
            0..self.size
        } else {
            range.start..range.end.max(self.size.min(range.start + WINDOW_BYTES))
        };
        let mapping = Mapping::new(&self.file, &part)?;
        *window = Some(mapping.clone());
        Ok(mapping)
    }

    /// Whether `range` is in the page cache, as far as a few looks can tell.
    pub(super) fn is_resident(&self, range: &Range<u64>) -> bool {
        let mut looks = (range.start..range.end)
            .step_by(RESIDENT_STEP_BYTES)
            .chain(range.end.checked_sub(1));
        looks.all(|offset| {
            let mut byte = [0];
            let mut buffer = [io::IoSliceMut::new(&mut byte)];
            let read = rustix::io::preadv2(&self.file, &mut buffer, offset, ReadWriteFlags::NOWAIT);
            read == Ok(1)
        })
    }
}

/// `length` bytes from `offset`, less at the end of the file.
pub(super) fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(length);
    while piece.len() < length {
        let position = offset + piece.len() as u64;
        // Into spare capacity: filling a MiB with zeros first would cost as much
        // as reading it.
        let spare = rustix::buffer::spare_capacity(&mut piece);
        match rustix::io::pread(file, spare, position) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(piece.into())
}

/// Whether the file holds these bytes, which are in memory, and no others.
pub(super) fn is_content(path: &Path, content: &[Bytes]) -> io::Result<bool> {
    let file = File::open(path)?;
    let mut offset = 0;
    for piece in content {
        if read_at(&file, offset, piece.len())? != *piece {
            return Ok(false);
        }
        offset += piece.len() as u64;
    }
    Ok(file.metadata()?.len() == offset)
}

// === impl Kept ===

impl Kept {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(KEPT_FILES_MAX, KEPT_BYTES_MAX, BySize))
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Source>> {
        self.0.get(digest)
    }

    /// Keeps `source`, which was opened by the name in `layout`, if it is small.
    /// Blocks the thread.
    pub(super) fn keep(&self, source: &Arc<Source>, layout: &Layout) {
        if !source.mapped || source.size > WINDOW_BYTES {
            return;
        }
        self.0.insert(source.digest, Arc::clone(source));
        // Whoever changes what the name stands for lets go of it after that: what
        // came between the opening and the insertion is seen here.
        if !is_named(&source.file, &layout.blob(&source.digest)) {
            self.forget(&source.digest);
        }
    }

    /// After the name was given to another file, or taken away, or the file
    /// could not be read.
    pub(super) fn forget(&self, digest: &Digest) {
        self.0.remove(digest);
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl Weighter<Digest, Arc<Source>> for BySize {
    fn weight(&self, _: &Digest, source: &Arc<Source>) -> u64 {
        source.size
    }
}

fn is_named(file: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (rustix::fs::fstat(file), rustix::fs::stat(path)) else {
        return false;
    };
    (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
}
