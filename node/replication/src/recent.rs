//! The newest bytes of what is being staged, for those who read it meanwhile.
//!
//! The invariant: what is no longer here can be read back from the staging.

use std::collections::VecDeque;

use bytes::Bytes;
use entrepot_blobs::{GROUP_BYTES, UNWRITTEN_BYTES_MAX};

/// The newest bytes stay in memory until they can be read back for certain.
const RECENT_BYTES: u64 = UNWRITTEN_BYTES_MAX + 2 * GROUP_BYTES as u64;

/// The newest bytes, in order.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    pieces: VecDeque<(u64, Bytes)>,
    end: u64,
}

// === impl Recent ===

impl Recent {
    /// Begins at `offset`, if there is nothing yet.
    pub(crate) fn start_at(&mut self, offset: u64) {
        if self.pieces.is_empty() {
            self.end = offset;
        }
    }

    /// Where the bytes end then.
    pub(crate) fn push(&mut self, piece: Bytes) -> u64 {
        let start = self.end;
        self.end += piece.len() as u64;
        self.pieces.push_back((start, piece));
        while let Some((start, oldest)) = self.pieces.front()
            && start + oldest.len() as u64 + RECENT_BYTES <= self.end
        {
            self.pieces.pop_front();
        }
        self.end
    }

    /// Bytes from `offset` on, if they are here.
    pub(crate) fn get(&self, offset: u64) -> Option<Bytes> {
        let place = self.pieces.partition_point(|(start, _)| *start <= offset);
        let (start, piece) = self.pieces.get(place.checked_sub(1)?)?;
        let within = usize::try_from(offset - start).ok()?;
        (within < piece.len()).then(|| piece.slice(within..))
    }

    /// Before this, bytes have to be read back.
    pub(crate) fn start(&self) -> u64 {
        self.pieces.front().map_or(self.end, |(start, _)| *start)
    }

    /// Where they end.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }
}
