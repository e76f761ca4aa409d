//! A blob's bytes on their way out.
//!
//! Owns the positioned reads and the one read ahead of the consumer. Must never
//! read on an async thread: a cold page would stop every other request on it.
//! The invariant: a stream holds two pieces at most, the one it gives away and
//! the one that follows.

use std::{fs::File, io, num::NonZeroU64, ops::Range, sync::Arc};

use bytes::Bytes;
use entrepot_oci::Digest;
use futures::{StreamExt, stream};
use tokio::task::{JoinHandle, spawn_blocking};

use super::layout::Layout;
use crate::{BlobError, BlobStat, BlobStream, Faults, Operation, READ_BYTES, store::check_range};

/// An opened range of a blob whose first piece has been read.
#[derive(Debug)]
pub(super) struct Reader {
    source: Arc<Source>,
    /// Still to be read.
    left: Range<u64>,
    next: Next,
}

#[derive(Debug)]
struct Source {
    file: File,
    faults: Faults,
}

#[derive(Debug)]
enum Next {
    Ready(Bytes),
    Reading(JoinHandle<io::Result<Bytes>>),
    Ended,
}

// === impl Reader ===

impl Reader {
    /// Opens and reads the first piece, all of a small blob. Blocks the thread.
    pub(super) fn open(
        layout: &Layout,
        digest: &Digest,
        range: Option<Range<u64>>,
        faults: &Faults,
    ) -> Result<(BlobStat, Self), BlobError> {
        let path = layout.blob(digest);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::NotFound(*digest),
            _ => BlobError::io("open blob", &path)(error),
        })?;
        let metadata = file.metadata().map_err(BlobError::io("stat blob", &path))?;
        let stat = BlobStat {
            digest: *digest,
            size: metadata.len(),
        };
        let left = check_range(&stat, range)?;
        advise(&file, &left);
        let mut reader = Self {
            source: Arc::new(Source {
                file,
                faults: faults.clone(),
            }),
            left,
            next: Next::Ended,
        };
        if let Some(first) = reader.advance() {
            let piece = reader
                .source
                .read(&first)
                .map_err(BlobError::io("read blob", &path))?;
            reader.next = Next::Ready(piece);
        }
        Ok((stat, reader))
    }

    pub(super) fn into_stream(self) -> BlobStream {
        stream::unfold(self, Self::piece).boxed()
    }

    async fn piece(mut self) -> Option<(io::Result<Bytes>, Self)> {
        let piece = match std::mem::replace(&mut self.next, Next::Ended) {
            Next::Ready(piece) => Ok(piece),
            Next::Reading(task) => task.await.map_err(io::Error::other).flatten(),
            Next::Ended => return None,
        };
        if piece.is_ok()
            && let Some(range) = self.advance()
        {
            let source = Arc::clone(&self.source);
            self.next = Next::Reading(spawn_blocking(move || source.read(&range)));
        }
        Some((piece, self))
    }

    /// Cuts the range of the next piece off what is left.
    fn advance(&mut self) -> Option<Range<u64>> {
        if self.left.is_empty() {
            return None;
        }
        let start = self.left.start;
        self.left.start = self.left.end.min(start + READ_BYTES as u64);
        Some(start..self.left.start)
    }
}

// === impl Source ===

impl Source {
    /// All of `range`, which is at most [`READ_BYTES`] long.
    fn read(&self, range: &Range<u64>) -> io::Result<Bytes> {
        self.faults.check(Operation::Read)?;
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let piece = read_at(&self.file, range.start, length)?;
        if piece.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(piece)
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
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(piece.into())
}

/// Lets the kernel read further ahead where more than one piece will be read.
/// Advice only, so a refusal does not matter.
fn advise(file: &File, range: &Range<u64>) {
    let length = range.end - range.start;
    if length > READ_BYTES as u64 {
        let _ = rustix::fs::fadvise(
            file,
            range.start,
            NonZeroU64::new(length),
            rustix::fs::Advice::Sequential,
        );
    }
}
