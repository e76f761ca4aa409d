//! Parts of a blob's file as memory, so that its pages go from the page cache to
//! a socket without a copy between.
//!
//! The one place of Entrepot with `unsafe`. Mapping a file is unsafe because the
//! memory changes, or goes away, with the file. Here it does not: a blob's file
//! is never written again once it has its name, never made shorter, and a
//! deleted one lives on for as long as it is mapped. What is left is a hand, or
//! a disk, that damages the file below:
//!
//! - other bytes are what a reader of the file would have got as well; whoever
//!   maps looks whether the file was written to;
//! - a page that cannot be read ends whoever touches it. Nothing is mapped that
//!   was not in memory a moment before. Should a page be dropped for want of
//!   memory later, and its disk fail at that moment, the kernel fails the write
//!   to the socket; only who looks at the bytes (TLS, gRPC) would end, and with
//!   it one node of several.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

/// A part of a file. Offsets are the file's.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    map: Arc<Mmap>,
    start: u64,
}

/// What keeps a mapping while its bytes are somewhere.
struct Held(Arc<Mmap>);

// === impl Mapping ===

impl Mapping {
    /// `file` is a blob's, with its name; `range` is within it.
    pub(super) fn new(file: &File, range: &Range<u64>) -> io::Result<Self> {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut options = MmapOptions::new();
        options.offset(range.start).len(length);
        // SAFETY: as the header says, nothing writes to or cuts this file.
        let map = unsafe { options.map(file)? };
        Ok(Self {
            map: Arc::new(map),
            start: range.start,
        })
    }

    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        self.within(range).is_some()
    }

    /// The bytes of `range`, which is in memory.
    pub(super) fn bytes(&self, range: &Range<u64>) -> io::Result<Bytes> {
        let range = self.within(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Bytes::from_owner(Held(Arc::clone(&self.map))).slice(range))
    }

    fn within(&self, range: &Range<u64>) -> Option<Range<usize>> {
        let start = usize::try_from(range.start.checked_sub(self.start)?).ok()?;
        let end = usize::try_from(range.end.checked_sub(self.start)?).ok()?;
        (end <= self.map.len()).then_some(start..end)
    }
}

// === impl Held ===

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
