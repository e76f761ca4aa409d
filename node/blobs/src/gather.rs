//! Small frames into large batches.
//!
//! Owns the bytes of a staging that are not yet handed to the disk. Must never
//! hold more than [`BATCH_BYTES`], nor more pieces than one vectored write
//! takes, however the bytes were cut on their way here.

use bytes::{Bytes, BytesMut};

/// Bytes that are hashed and written in one go. Large enough to make the hop to
/// another thread free, small enough to stay in a core's cache between the two.
pub(crate) const BATCH_BYTES: usize = 1024 * 1024;

/// Pieces below this are copied together: hashing and writing many tiny ones
/// costs more than the copy, and a slice keeps its whole buffer alive.
const COPY_BELOW_BYTES: usize = 16 * 1024;

/// The next batch while it grows.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    pieces: Vec<Bytes>,
    /// Follows `pieces`.
    small: BytesMut,
    bytes: usize,
}

impl Gather {
    pub(crate) fn is_full(&self) -> bool {
        self.bytes == BATCH_BYTES
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves as much from the front of `chunk` as there is room for and returns
    /// how many bytes that were.
    pub(crate) fn accept(&mut self, chunk: &mut Bytes) -> usize {
        let taken = chunk.split_to(chunk.len().min(BATCH_BYTES - self.bytes));
        let length = taken.len();
        self.bytes += length;
        if length < COPY_BELOW_BYTES {
            self.small.extend_from_slice(&taken);
        } else {
            self.seal();
            self.pieces.push(taken);
        }
        length
    }

    /// What has gathered, in order; starts the next batch.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        self.seal();
        self.bytes = 0;
        std::mem::take(&mut self.pieces)
    }

    /// The batch so far, in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces
            .iter()
            .map(Bytes::as_ref)
            .chain(std::iter::once(self.small.as_ref()))
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::{collection::vec, proptest};

    use super::{BATCH_BYTES, COPY_BELOW_BYTES, Gather};

    /// Linux takes 1,024 buffers in one `writev`.
    const WRITEV_PIECES_MAX: usize = 1024;

    fn batches(chunks: impl IntoIterator<Item = Bytes>) -> Vec<Vec<Bytes>> {
        let mut gather = Gather::default();
        let mut batches = Vec::new();
        for mut chunk in chunks {
            while !chunk.is_empty() {
                if gather.is_full() {
                    batches.push(gather.take());
                }
                gather.accept(&mut chunk);
            }
        }
        batches.push(gather.take());
        batches
    }

    #[test]
    fn single_bytes_become_one_piece() {
        let batches = batches((0..=255).map(|byte: u8| Bytes::from(vec![byte])));
        assert_eq!(batches, [vec![(0..=255).collect::<Bytes>()]]);
    }

    #[test]
    fn a_huge_chunk_is_cut_into_batches() {
        let batches = batches([Bytes::from(vec![7; 2 * BATCH_BYTES + 1])]);
        let sizes: Vec<usize> = batches.iter().map(|batch| batch[0].len()).collect();
        assert_eq!(sizes, [BATCH_BYTES, BATCH_BYTES, 1]);
    }

    #[test]
    fn the_worst_cut_fits_one_vectored_write() {
        let chunk = |n| Bytes::from(vec![0; if n % 2 == 0 { 1 } else { COPY_BELOW_BYTES }]);
        let batches = batches((0..1000).map(chunk));
        let most = batches.iter().map(Vec::len).max();
        assert!(most < Some(WRITEV_PIECES_MAX / 2), "{most:?} pieces");
    }

    proptest! {
        #[test]
        fn batches_are_the_chunks(lengths in vec(0..3 * COPY_BELOW_BYTES, 0..60)) {
            let chunks: Vec<Bytes> = lengths
                .iter()
                .zip(0_u8..)
                .map(|(&length, number)| Bytes::from(vec![number; length]))
                .collect();
            let batches: Vec<Vec<u8>> = batches(chunks.clone()).iter().map(|b| b.concat()).collect();
            assert!(batches.iter().all(|batch| batch.len() <= BATCH_BYTES));
            assert!(batches.concat() == chunks.concat());
        }
    }
}
