//! A blob's bytes on their way out.
//!
//! Owns the order of the pieces and the one read ahead of the consumer. Must
//! never wait for the disk on an async thread: that would stop every other
//! request on it. The invariant: a stream holds two pieces at most, the one it
//! gives away and the one that follows; it ends well only if nobody has written
//! to the file meanwhile.

use std::{fs::File, io, num::NonZeroU64, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::task::{JoinHandle, spawn_blocking};

use super::care::Care;
use super::source::Source;
use crate::{BlobError, BlobStream, READ_BYTES, store::check_range};

/// An opened range of a blob whose first piece has been read.
#[derive(Debug)]
pub(super) struct Reader {
    source: Arc<Source>,
    care: Arc<Care>,
    /// Still to be read.
    left: Range<u64>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Ready(io::Result<Bytes>),
    Reading(JoinHandle<io::Result<Bytes>>),
    Ended,
}

// === impl Reader ===

impl Reader {
    /// Of `range`, or all of it.
    pub(super) fn new(
        source: Arc<Source>,
        care: Arc<Care>,
        range: Option<Range<u64>>,
    ) -> Result<Self, BlobError> {
        let left = check_range(&source.stat(), range)?;
        Ok(Self {
            source,
            care,
            left,
            next: Next::Ended,
        })
    }

    /// Takes the first piece if that needs no disk; whether it did.
    pub(super) fn try_begin(&mut self) -> io::Result<bool> {
        let mut ahead = self.left.clone();
        let Some(first) = cut(&mut ahead) else {
            return Ok(true);
        };
        let Some(piece) = self.source.at_hand(&first, self.care.now_s()) else {
            return Ok(false);
        };
        (self.left, self.next) = (ahead, Next::Ready(Ok(piece?)));
        Ok(true)
    }

    /// Reads the first piece, all of a small blob. Blocks the thread.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        advise(self.source.file(), &self.left);
        if let Some(first) = cut(&mut self.left) {
            self.next = Next::Ready(Ok(self.care.read(&self.source, &first)?));
        }
        Ok(())
    }

    pub(super) fn into_stream(self) -> BlobStream {
        stream::unfold(self, Self::piece).boxed()
    }

    async fn piece(mut self) -> Option<(io::Result<Bytes>, Self)> {
        let mut piece = match std::mem::replace(&mut self.next, Next::Ended) {
            Next::Ready(piece) => piece,
            Next::Reading(task) => task.await.map_err(io::Error::other).flatten(),
            Next::Ended => return None,
        };
        // The reader may have what was changed on its way out: it must not take
        // that for the whole.
        if piece.is_ok() && self.left.is_empty() && !self.source.is_unchanged() {
            let changed = BlobError::Changed(self.source.stat().digest);
            piece = Err(io::Error::new(io::ErrorKind::InvalidData, changed));
        }
        if piece.is_ok()
            && let Some(range) = cut(&mut self.left)
        {
            self.next = self.follow(range);
        }
        if piece.is_err() {
            self.care.kept.forget(&self.source.stat().digest);
        }
        Some((piece, self))
    }

    fn follow(&self, range: Range<u64>) -> Next {
        if let Some(piece) = self.source.at_hand(&range, self.care.now_s()) {
            return Next::Ready(piece);
        }
        let (care, source) = (Arc::clone(&self.care), Arc::clone(&self.source));
        Next::Reading(spawn_blocking(move || care.read(&source, &range)))
    }
}

/// Cuts the range of the next piece off what is left.
fn cut(left: &mut Range<u64>) -> Option<Range<u64>> {
    if left.is_empty() {
        return None;
    }
    let start = left.start;
    // Where the pieces of the whole blob end, so that each lies in groups of its
    // own.
    let piece = READ_BYTES as u64;
    left.start = left.end.min(start / piece * piece + piece);
    Some(start..left.start)
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
