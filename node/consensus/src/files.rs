//! What the Raft log and the snapshots do with files.
//!
//! The seam through which both reach a disk: [`Disk`] in a node,
//! [`MemoryFiles`] in simulations, either of them behind [`FaultyFiles`] in
//! tests. Every call is one operation of a file system and promises no more
//! than that: a file is durable once its content is synced *and* its directory
//! is. What has to be combined to get there is said once, at the end of this
//! file.
//!
//! The index is not behind it: sled knows only real files, and holds nothing
//! that cannot be built again.

mod disk;
mod draw;
mod faulty;
mod memory;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::disk::Disk;
#[cfg(test)]
pub(crate) use self::draw::Draw;
pub use self::faulty::{Fault, Faults, FaultyFiles, Operation};
pub use self::memory::MemoryFiles;

/// Directories and the files in them. Calls block.
pub trait Files: fmt::Debug + Send + Sync + 'static {
    /// Opens a file as `mode` says.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn Handle>>;

    /// The files of a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes one directory.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] where there is one.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    fn is_dir(&self, dir: &Path) -> bool;

    /// Gives a file another name; what had that name is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Keeps others out until what it returns is dropped; creates the file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] while somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>>;

    /// Whether a call may keep its thread waiting. What need not wait is done
    /// at once, where it is asked for: no other thread takes part then, and the
    /// order of things depends on nothing but the runtime.
    fn may_block(&self) -> bool {
        true
    }
}

/// An open file. Goes on being usable when its name is gone.
pub trait Handle: fmt::Debug + Send + Sync {
    /// Reads up to `bytes.len()` bytes; 0 at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some of `bytes` and returns how many.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Bytes in it.
    fn length(&self) -> io::Result<u64>;

    /// Makes the content durable; a failure may have lost any of what was
    /// written since the last sync, whatever a later one says.
    fn sync(&self) -> io::Result<()>;

    /// What a sync that fails may do: what was not synced is still read, but no
    /// later sync brings it to the disk. Only files that are meant to fail have
    /// to know of it.
    fn lose_unsynced(&self) {}
}

/// Something that is held as long as it lives.
pub trait Held: fmt::Debug + Send + Sync {}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Read,
    /// To read and write what is there.
    Write,
    /// To read and write what is not there yet.
    Create,
}

/// A handle as something to read or to write from one end to the other.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    handle: Arc<dyn Handle>,
    at: u64,
}

// === impl Stream ===

impl Stream {
    pub(crate) fn new(handle: Arc<dyn Handle>) -> Self {
        Self::from(handle, 0)
    }

    /// Begins at `at`.
    pub(crate) fn from(handle: Arc<dyn Handle>, at: u64) -> Self {
        Self { handle, at }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.handle.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.handle.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    /// Nothing is held back here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === what is made of single operations ===

/// Writes all of `bytes`.
pub(crate) fn write_all_at(handle: &dyn Handle, bytes: &[u8], offset: u64) -> io::Result<()> {
    let (mut rest, mut at) = (bytes, offset);
    while !rest.is_empty() {
        match handle.write_at(rest, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                rest = &rest[written..];
                at += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills all of `bytes`.
pub(crate) fn read_exact_at(handle: &dyn Handle, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    let (mut rest, mut at) = (bytes, offset);
    while !rest.is_empty() {
        match handle.read_at(rest, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                rest = &mut rest[read..];
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// All of a file.
pub(crate) fn read_all(handle: &Arc<dyn Handle>) -> io::Result<Vec<u8>> {
    let length = usize::try_from(handle.length()?).map_err(io::Error::other)?;
    let mut content = Vec::with_capacity(length);
    Stream::new(Arc::clone(handle)).read_to_end(&mut content)?;
    Ok(content)
}

/// Creates `dir` and what is missing above it, durably.
pub(crate) fn create_dir(files: &dyn Files, dir: &Path) -> io::Result<()> {
    if files.is_dir(dir) {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| *parent != OsStr::new(""));
    if let Some(parent) = parent {
        create_dir(files, parent)?;
    }
    match files.make_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => files.sync_dir(parent.unwrap_or(Path::new("."))),
    }
}

/// Renames within one directory, durably.
pub(crate) fn rename(files: &dyn Files, from: &Path, to: &Path) -> io::Result<()> {
    files.rename(from, to)?;
    files.sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// Does what may block where that is allowed, and the rest at once.
pub(crate) async fn run<T: Send + 'static>(
    files: &Arc<dyn Files>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if !files.may_block() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
}
