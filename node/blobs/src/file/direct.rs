//! Writing past the page cache.
//!
//! A large blob is written once, in batches, and synced: copying it into the page
//! cache first costs more CPU than hashing it where memory is short, pushes out
//! what is being pulled, and leaves the disk idle until the sync. Owns the aligned
//! memory that such writes need. Must never write what does not fill whole blocks.

use std::{
    fs::File,
    io::{self, Write},
};

use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::gather::BATCH_BYTES;

/// What memory, offset and length of a direct write are multiples of: enough for
/// every block size that disks have.
const BLOCK_BYTES: usize = 4096;

const _: () = assert!(BATCH_BYTES.is_multiple_of(BLOCK_BYTES));

/// One batch, in memory that begins at a block.
pub(super) struct Batch {
    memory: Vec<u8>,
    /// Of the first block.
    start: usize,
    filled: usize,
}

// === impl Batch ===

impl Batch {
    pub(super) fn new() -> Self {
        let memory = vec![0; BATCH_BYTES + BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        Self {
            memory,
            start,
            filled: 0,
        }
    }

    /// Whether `pieces` are a whole batch, as all but the last of a blob are.
    pub(super) fn fits(pieces: &[Bytes]) -> bool {
        pieces.iter().map(Bytes::len).sum::<usize>() == BATCH_BYTES
    }

    /// Takes a copy of the next bytes of a batch, best while they are still in the
    /// processor's cache.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let at = self.start + self.filled;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// Writes the batch at the end of `file`: `pieces`, which [fit](Self::fits),
    /// unless they were pushed already.
    pub(super) fn write(&mut self, mut file: &File, pieces: &[Bytes]) -> io::Result<()> {
        if self.filled == 0 {
            for piece in pieces {
                self.push(piece);
            }
        }
        self.filled = 0;
        file.write_all(&self.memory[self.start..self.start + BATCH_BYTES])
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

/// From here on `file` takes whole batches alone, at offsets that are multiples of
/// one.
///
/// # Errors
/// Where its file system knows no such writes.
pub(super) fn enter(file: &File) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    Ok(fcntl_setfl(file, flags | OFlags::DIRECT)?)
}

/// Lets `file` take writes of any length, through the page cache.
pub(super) fn leave(file: &File) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    Ok(fcntl_setfl(file, flags - OFlags::DIRECT)?)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use bytes::Bytes;

    use super::{BATCH_BYTES, Batch, enter, leave};

    /// Pushed or not, in pieces that begin anywhere, and with an end that fills no
    /// block.
    #[test]
    fn batches_and_a_rest_are_the_content() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("staged");
        let mut file = fs::File::create_new(&path).expect("file");
        enter(&file).expect("a file system with direct writes");
        let content: Bytes = (0..2 * BATCH_BYTES + 777)
            .map(|at| (at % 251).to_le_bytes()[0])
            .collect();
        let mut batch = Batch::new();
        for (nth, whole) in content.chunks_exact(BATCH_BYTES).enumerate() {
            let pieces = [
                content.slice_ref(&whole[..333]),
                content.slice_ref(&whole[333..]),
            ];
            assert!(Batch::fits(&pieces));
            if nth == 0 {
                for piece in &pieces {
                    batch.push(piece);
                }
            }
            batch.write(&file, &pieces).expect("direct write");
        }
        let rest = content.slice(2 * BATCH_BYTES..);
        assert!(!Batch::fits(std::slice::from_ref(&rest)));
        leave(&file).expect("leave");
        file.write_all(&rest).expect("rest");
        assert!(fs::read(&path).expect("read") == content);
    }
}
