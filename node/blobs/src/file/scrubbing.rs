//! Verifying what lies on the disk, whoever reads it or not.
//!
//! Owns one step of a scrub. Must never leave memory full of what nobody else
//! reads. The invariant: what is called right was read from the disk, unless a
//! reader has it mapped, and was proven.

use std::{fs::File, io, num::NonZeroU64, ops::Range};

use entrepot_oci::Digest;
use rustix::fs::Advice;

use super::{Shared, care, source::Source};
use crate::{BlobError, READ_BYTES, Verified};

/// Verifies from `offset` on, about `limit_bytes` of it. Blocks the thread.
pub(super) fn step(
    shared: &Shared,
    digest: &Digest,
    offset: u64,
    limit_bytes: u64,
) -> Result<Verified, BlobError> {
    let source = Source::open(&shared.care, digest, &shared.faults)?;
    let size = source.stat().size;
    let wanted = offset.min(size)..size.min(offset.saturating_add(limit_bytes));
    let extent = source.ledger().extent(&wanted);
    let mut at = extent.start;
    loop {
        let piece = at..extent.end.min(at + READ_BYTES as u64);
        at = piece.end;
        verify(shared, &source, &piece)?;
        if at >= extent.end {
            return Ok(Verified { size, end: at });
        }
    }
}

fn verify(shared: &Shared, source: &Source, piece: &Range<u64>) -> Result<(), BlobError> {
    let digest = source.stat().digest;
    let was_in_memory = source.is_resident(piece);
    drop_pages(source.file(), piece);
    let right = match source.prove(piece, shared.care.now_s()) {
        // Once more: the cause may lie elsewhere.
        Err(_) => source.prove(piece, shared.care.now_s()),
        outcome => outcome,
    };
    if !was_in_memory {
        drop_pages(source.file(), piece);
    }
    let reason = match right {
        Ok(Some(bytes)) => {
            shared
                .care
                .metrics
                .verified_bytes
                .inc_by(bytes.len() as u64);
            return Ok(());
        }
        Ok(None) => "its bytes are not the right ones".to_owned(),
        Err(error) if is_exhaustion(&error) => {
            return Err(care::failed(error, shared.care.layout.blob(&digest)));
        }
        Err(error) => format!("it cannot be read: {error}"),
    };
    let file = source.ledger().file();
    shared.care.condemn(&digest, file, &reason);
    Err(BlobError::Damaged(digest))
}

/// Whether the process, not the disk, is the reason.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted
    )
}

/// Lets the kernel drop what nobody has mapped. Advice only.
fn drop_pages(file: &File, range: &Range<u64>) {
    let length = NonZeroU64::new(range.end - range.start);
    if length.is_some() {
        let _ = rustix::fs::fadvise(file, range.start, length, Advice::DontNeed);
    }
}
