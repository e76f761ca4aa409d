//! The room on the disk of a store.
//!
//! Owns the measure of it and the part that is not for blobs. Must never let a
//! blob take that part: a node whose Raft log finds no room ends, and so would
//! every node of a region that is pushed to until the disks are full.

use std::{io, path::Path, sync::Arc};

use crate::BlobError;

/// Of the file system that one directory is on. Clones are cheap.
#[derive(Clone, Debug)]
pub(super) struct Room {
    directory: Arc<Path>,
    reserve_bytes: u64,
}

impl Room {
    pub(super) fn new(directory: &Path, reserve_bytes: u64) -> Self {
        Self {
            directory: directory.into(),
            reserve_bytes,
        }
    }

    /// Bytes that blobs may still take; none: the file system does not count.
    /// What it keeps for privileged processes is not room, whoever this one is:
    /// it keeps the machine alive.
    pub(super) fn bytes(&self) -> Result<Option<u64>, BlobError> {
        self.measure()
            .map_err(BlobError::io("measure the room in", &*self.directory))
    }

    /// That `bytes` more may be written. Those who write at the same moment may
    /// each find the same room, and take a MiB of the reserve each.
    pub(super) fn check(&self, bytes: u64) -> io::Result<()> {
        if self.reserve_bytes == 0 {
            return Ok(());
        }
        match self.measure()? {
            Some(room) if room < bytes => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn measure(&self) -> io::Result<Option<u64>> {
        let found = rustix::fs::statvfs(&*self.directory)?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let counted = found.f_blocks > 0;
        Ok(counted.then(|| free.saturating_sub(self.reserve_bytes)))
    }
}
