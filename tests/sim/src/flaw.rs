//! Products that are broken on purpose: the simulation has to notice.

mod blobs;
mod snapshots;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use entrepot_consensus::files::{Files, Handle, Held, MemoryFiles, Mode};

pub(crate) use self::blobs::LosingBlobs;
pub(crate) use self::snapshots::DroppingFiles;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flaw {
    #[default]
    None,
    /// Disks that say that something is synced when it is not.
    LyingSync,
    /// Blob stores that say that they hold what they do not.
    LosingBlobs,
    /// Nodes that make one copy less of each blob than they should.
    FewCopies,
    /// Snapshots that lack the last pair of the state.
    DroppingSnapshots,
}

/// Files of which each is synced once, when it is begun: without its header a
/// file would be found damaged.
#[derive(Debug, Clone)]
pub(crate) struct LyingFiles(pub(crate) MemoryFiles);

#[derive(Debug)]
struct LyingHandle {
    file: Arc<dyn Handle>,
    is_begun: AtomicBool,
}

// === impl LyingFiles ===

impl Files for LyingFiles {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn Handle>> {
        Ok(Arc::new(LyingHandle {
            file: self.0.open(path, mode)?,
            is_begun: AtomicBool::new(mode != Mode::Create),
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(dir)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.make_dir(dir)
    }

    fn is_dir(&self, dir: &Path) -> bool {
        self.0.is_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        self.0.lock(path)
    }

    fn may_block(&self) -> bool {
        self.0.may_block()
    }
}

impl Handle for LyingHandle {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_begun.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.file.sync()
    }
}
