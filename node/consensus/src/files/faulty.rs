//! Files that fail on purpose.
//!
//! A plan says which operation fails next and how; it may also draw faults
//! from a seed. Whatever it does not hit goes through unchanged. The plan
//! counts what it did and what came through after a fault, so that a test can
//! tell that nothing was written once it must not be.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::draw::Draw;
use super::{Files, Handle, Held, Mode};

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Making a new file.
    Create,
    /// Opening one that is there.
    Open,
    Read,
    Write,
    SetLength,
    Sync,
    SyncDirectory,
    Rename,
    Remove,
    /// Reading a directory.
    List,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An input/output error; nothing was done.
    Broken,
    /// No room left; nothing was done.
    Full,
    /// Only a part was read or written, and the call says so. Anything but a
    /// read or a write goes through.
    Short,
    /// A part was written, then came an input/output error.
    Torn,
    /// A part was written, then the room ran out.
    TornFull,
}

/// A plan of faults; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    plan: Arc<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    planned: Mutex<Planned>,
    hits: AtomicU64,
    failures: AtomicU64,
    changes_after_failure: AtomicU64,
}

#[derive(Debug, Default)]
struct Planned {
    once: Vec<Once>,
    drawn: Option<Drawn>,
}

#[derive(Debug)]
struct Once {
    operation: Operation,
    successes: u32,
    fault: Fault,
}

#[derive(Debug)]
struct Drawn {
    draw: Draw,
    one_in: usize,
    kinds: Vec<(Operation, Fault)>,
}

/// Files behind a plan.
#[derive(Debug)]
pub struct FaultyFiles {
    inner: Arc<dyn Files>,
    faults: Faults,
}

#[derive(Debug)]
struct FaultyHandle {
    inner: Arc<dyn Handle>,
    faults: Faults,
}

// === impl Faults ===

impl Faults {
    /// Lets the next `operation` fail.
    pub fn fail(&self, operation: Operation, fault: Fault) {
        self.fail_after(operation, 0, fault);
    }

    /// Lets `successes` more operations of that kind pass and the next one fail.
    pub fn fail_after(&self, operation: Operation, successes: u32, fault: Fault) {
        self.lock().once.push(Once {
            operation,
            successes,
            fault,
        });
    }

    /// From now on, lets each operation that `kinds` names fail in one of
    /// `one_in` cases; which, depends on `seed` and on the order of operations.
    pub fn draw(&self, seed: u64, one_in: usize, kinds: &[(Operation, Fault)]) {
        self.lock().drawn = Some(Drawn {
            draw: Draw::new(seed),
            one_in,
            kinds: kinds.to_vec(),
        });
    }

    /// Forgets what has not happened yet, and what was counted.
    pub fn clear(&self) {
        *self.lock() = Planned::default();
        self.plan.hits.store(0, Ordering::Relaxed);
        self.plan.failures.store(0, Ordering::Relaxed);
        self.plan.changes_after_failure.store(0, Ordering::Relaxed);
    }

    /// How many operations were hit.
    pub fn hits(&self) -> u64 {
        self.plan.hits.load(Ordering::Relaxed)
    }

    /// How many changes were tried after the first one that failed.
    pub fn changes_after_failure(&self) -> u64 {
        self.plan.changes_after_failure.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Planned> {
        self.plan
            .planned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, operation: Operation) -> Option<Fault> {
        let mut planned = self.lock();
        let plan = &self.plan;
        if operation.changes() && plan.failures.load(Ordering::Relaxed) > 0 {
            plan.changes_after_failure.fetch_add(1, Ordering::Relaxed);
        }
        let fault = planned.next(operation)?;
        plan.hits.fetch_add(1, Ordering::Relaxed);
        if operation.changes() && fault != Fault::Short {
            plan.failures.fetch_add(1, Ordering::Relaxed);
        }
        Some(fault)
    }

    /// For what is done as a whole or not at all.
    fn check(&self, operation: Operation) -> io::Result<()> {
        match self.next(operation) {
            None | Some(Fault::Short) => Ok(()),
            Some(fault) => Err(fault.error()),
        }
    }
}

impl Planned {
    fn next(&mut self, operation: Operation) -> Option<Fault> {
        let once = self.once.iter();
        let mut once = once.enumerate().filter(|(_, o)| o.operation == operation);
        if let Some((at, _)) = once.next() {
            if self.once[at].successes == 0 {
                return Some(self.once.remove(at).fault);
            }
            self.once[at].successes -= 1;
        }
        let drawn = self.drawn.as_mut()?;
        let kinds = drawn.kinds.iter().filter(|(kind, _)| *kind == operation);
        let kinds: Vec<Fault> = kinds.map(|(_, fault)| *fault).collect();
        if kinds.is_empty() || drawn.draw.below(drawn.one_in) != 0 {
            return None;
        }
        kinds.get(drawn.draw.below(kinds.len())).copied()
    }
}

impl Operation {
    fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::List)
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Full | Self::TornFull => io::ErrorKind::StorageFull.into(),
            Self::Broken | Self::Short | Self::Torn => {
                io::Error::other("an injected input/output error")
            }
        }
    }
}

// === impl FaultyFiles ===

impl FaultyFiles {
    pub fn new(inner: Arc<dyn Files>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

impl Files for FaultyFiles {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn Handle>> {
        self.faults.check(match mode {
            Mode::Create => Operation::Create,
            Mode::Read | Mode::Write => Operation::Open,
        })?;
        Ok(Arc::new(FaultyHandle {
            inner: self.inner.open(path, mode)?,
            faults: self.faults.clone(),
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.faults.check(Operation::List)?;
        self.inner.list(dir)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.check(Operation::Create)?;
        self.inner.make_dir(dir)
    }

    fn is_dir(&self, dir: &Path) -> bool {
        self.inner.is_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check(Operation::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.check(Operation::Remove)?;
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.check(Operation::SyncDirectory)?;
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        self.inner.lock(path)
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }
}

// === impl FaultyHandle ===

impl Handle for FaultyHandle {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.faults.next(Operation::Read) {
            None => self.inner.read_at(bytes, offset),
            Some(Fault::Short) => {
                let part = part(bytes.len());
                self.inner.read_at(&mut bytes[..part], offset)
            }
            Some(fault) => Err(fault.error()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let fault = self.faults.next(Operation::Write);
        match fault {
            None => self.inner.write_at(bytes, offset),
            Some(Fault::Short) => self.inner.write_at(&bytes[..part(bytes.len())], offset),
            Some(fault @ (Fault::Torn | Fault::TornFull)) => {
                self.inner.write_at(&bytes[..bytes.len() / 2], offset)?;
                Err(fault.error())
            }
            Some(fault) => Err(fault.error()),
        }
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.faults.check(Operation::SetLength)?;
        self.inner.set_length(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    /// The kernel takes what it could not write for written.
    fn sync(&self) -> io::Result<()> {
        let checked = self.faults.check(Operation::Sync);
        checked.inspect_err(|_| self.inner.lose_unsynced())?;
        self.inner.sync()
    }
}

/// Half of it, but not nothing: that would be an end.
fn part(length: usize) -> usize {
    length.div_ceil(2)
}
