//! Files in memory, of which a crash takes what was not synced.
//!
//! Two states are kept: what programs see, and what would be there after a
//! power cut. A sync brings one file, or the names of one directory, from the
//! first to the second. [`MemoryFiles::crash`] makes the second one the first;
//! [`MemoryFiles::crash_keeping_some`] lets some of the rest survive, as disks
//! do. Handles and locks of before a crash are dead after it: whoever still
//! holds one cannot write into the life that follows.
//!
//! Nothing here reads a clock, draws a number or starts a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::draw::Draw;
use super::{Files, Handle, Held, Mode};

/// Unsynced bytes survive or go in pieces of this size.
const SECTOR_BYTES: usize = 512;

/// Files in memory; clones are the same files.
#[derive(Clone, Default)]
pub struct MemoryFiles {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// Counts crashes.
    life: u64,
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    durable_dirs: BTreeSet<PathBuf>,
    durable_names: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    /// Changes of names that no sync of their directory has followed yet.
    unsynced: Vec<Renaming>,
    locks: BTreeSet<PathBuf>,
}

#[derive(Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What leads from `durable` to `seen`, in order.
    unsynced: Vec<Write>,
}

enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone)]
enum Renaming {
    Dir(PathBuf),
    Name(PathBuf, Arc<Mutex<Content>>),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

struct Open {
    files: MemoryFiles,
    life: u64,
    content: Arc<Mutex<Content>>,
    writable: bool,
}

struct Lock {
    files: MemoryFiles,
    life: u64,
    path: PathBuf,
}

// === impl MemoryFiles ===

impl MemoryFiles {
    pub fn new() -> Self {
        Self::default()
    }

    /// The power is cut: what was not synced is gone.
    pub fn crash(&self) {
        self.crash_with(None);
    }

    /// The power is cut: of what was not synced, some reached the disk. Which
    /// depends on `seed` alone.
    pub fn crash_keeping_some(&self, seed: u64) {
        self.crash_with(Some(Draw::new(seed)));
    }

    /// Bytes of all files that would be gone after a crash now.
    pub fn unsynced_bytes(&self) -> usize {
        let inner = self.lock();
        let contents = inner.names.values();
        contents.map(|content| lock(content).unsynced_bytes()).sum()
    }

    fn crash_with(&self, mut keep: Option<Draw>) {
        let mut inner = self.lock();
        inner.life += 1;
        inner.locks.clear();
        let unsynced = std::mem::take(&mut inner.unsynced);
        // Journals keep an order: the names that survive are a prefix.
        let kept = keep
            .as_mut()
            .map_or(0, |draw| draw.below(unsynced.len() + 1));
        for change in &unsynced[..kept] {
            inner.make_durable(change);
        }
        let survived = (inner.durable_dirs.clone(), inner.durable_names.clone());
        (inner.dirs, inner.names) = survived;
        for content in inner.names.values() {
            lock(content).crash(keep.as_mut());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Fails for whoever began before the last crash; nothing crashes while the
    /// guard lives.
    fn alive(&self, life: u64) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        if inner.life == life {
            return Ok(inner);
        }
        Err(io::Error::other("the machine went down meanwhile"))
    }
}

/// A panic elsewhere left whole operations behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn find(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        let found = self.names.get(path).map(Arc::clone);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn needs_dir(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(dir) if !self.is_dir(dir) => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(()),
        }
    }

    /// The root is always there, and so is the current directory.
    fn is_dir(&self, dir: &Path) -> bool {
        dir.parent().is_none() || self.dirs.contains(dir)
    }

    fn make_durable(&mut self, change: &Renaming) {
        match change {
            Renaming::Dir(dir) => {
                self.durable_dirs.insert(dir.clone());
            }
            Renaming::Name(path, content) => {
                self.durable_names.insert(path.clone(), Arc::clone(content));
            }
            Renaming::Rename(from, to) => {
                if let Some(content) = self.durable_names.remove(from) {
                    self.durable_names.insert(to.clone(), content);
                }
            }
            Renaming::Remove(path) => {
                self.durable_names.remove(path);
            }
        }
    }
}

impl Renaming {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Dir(path) | Self::Name(path, _) | Self::Remove(path) | Self::Rename(_, path) => {
                path.parent() == Some(dir)
            }
        }
    }
}

impl Files for MemoryFiles {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn Handle>> {
        let mut inner = self.lock();
        if mode == Mode::Create {
            inner.needs_dir(path)?;
            if inner.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let content = Arc::new(Mutex::new(Content::default()));
            inner.names.insert(path.to_owned(), Arc::clone(&content));
            let change = Renaming::Name(path.to_owned(), content);
            inner.unsynced.push(change);
        }
        Ok(Arc::new(Open {
            files: self.clone(),
            life: inner.life,
            content: inner.find(path)?,
            writable: mode != Mode::Read,
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = self.lock();
        if !inner.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = inner.names.keys().chain(&inner.dirs);
        let inside = paths.filter(|path| path.parent() == Some(dir));
        Ok(inside.cloned().collect())
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.needs_dir(dir)?;
        if !inner.dirs.insert(dir.to_owned()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.unsynced.push(Renaming::Dir(dir.to_owned()));
        Ok(())
    }

    fn is_dir(&self, dir: &Path) -> bool {
        self.lock().is_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.needs_dir(to)?;
        let content = inner.find(from)?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), content);
        let change = Renaming::Rename(from.to_owned(), to.to_owned());
        inner.unsynced.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.find(path)?;
        inner.names.remove(path);
        inner.unsynced.push(Renaming::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        if !inner.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let unsynced = std::mem::take(&mut inner.unsynced);
        let (now, later) = unsynced.into_iter().partition(|change| change.is_in(dir));
        let now: Vec<Renaming> = now;
        for change in &now {
            inner.make_durable(change);
        }
        inner.unsynced = later;
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        let mut inner = MemoryFiles::lock(self);
        inner.needs_dir(path)?;
        if !inner.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock {
            files: self.clone(),
            life: inner.life,
            path: path.to_owned(),
        }))
    }

    fn may_block(&self) -> bool {
        false
    }
}

// === impl Content ===

impl Content {
    fn apply(bytes: &mut Vec<u8>, write: &Write) {
        match write {
            Write::Length(length) => bytes.resize(*length, 0),
            Write::Bytes(at, written) => {
                let end = at + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(written);
            }
        }
    }

    fn write(&mut self, write: Write) {
        Self::apply(&mut self.seen, &write);
        self.unsynced.push(write);
    }

    fn sync(&mut self) {
        for write in std::mem::take(&mut self.unsynced) {
            Self::apply(&mut self.durable, &write);
        }
    }

    fn unsynced_bytes(&self) -> usize {
        let sizes = self.unsynced.iter().map(|write| match write {
            Write::Bytes(_, bytes) => bytes.len(),
            Write::Length(_) => 0,
        });
        sizes.sum()
    }

    fn crash(&mut self, keep: Option<&mut Draw>) {
        let unsynced = std::mem::take(&mut self.unsynced);
        if let Some(draw) = keep {
            for write in unsynced {
                self.keep_some(write, draw);
            }
        }
        self.seen.clone_from(&self.durable);
    }

    /// Sectors reach the disk in any order; what lies between two that did
    /// reads as zeros.
    fn keep_some(&mut self, write: Write, draw: &mut Draw) {
        let Write::Bytes(at, bytes) = write else {
            if draw.below(2) == 0 {
                Self::apply(&mut self.durable, &write);
            }
            return;
        };
        let mut done = 0;
        while done < bytes.len() {
            let next = ((at + done) / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
            let end = next.min(bytes.len());
            if draw.below(2) == 0 {
                let sector = Write::Bytes(at + done, bytes[done..end].to_vec());
                Self::apply(&mut self.durable, &sector);
            }
            done = end;
        }
    }
}

// === impl Open, Lock ===

impl Open {
    fn change(&self, write: Write) -> io::Result<()> {
        let _alive = self.files.alive(self.life)?;
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        lock(&self.content).write(write);
        Ok(())
    }
}

impl Handle for Open {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let _alive = self.files.alive(self.life)?;
        let content = lock(&self.content);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = content.seen.get(start..).unwrap_or_default();
        let read = there.len().min(bytes.len());
        bytes[..read].copy_from_slice(&there[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.change(Write::Bytes(at, bytes.to_vec()))?;
        Ok(bytes.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.change(Write::Length(length))
    }

    fn length(&self) -> io::Result<u64> {
        let _alive = self.files.alive(self.life)?;
        Ok(lock(&self.content).seen.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let _alive = self.files.alive(self.life)?;
        lock(&self.content).sync();
        Ok(())
    }

    fn lose_unsynced(&self) {
        lock(&self.content).unsynced.clear();
    }
}

impl Held for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut inner = MemoryFiles::lock(&self.files);
        if inner.life == self.life {
            inner.locks.remove(&self.path);
        }
    }
}

impl fmt::Debug for MemoryFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("MemoryFiles")
            .field("life", &inner.life)
            .field("files", &inner.names.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
