//! The applied state of every group, in one sled database.
//!
//! The index: it holds nothing that a snapshot and the log cannot bring back, because
//! sled 0.34 does not sync what it flushes: after a power cut it may have lost
//! what it acknowledged, or may not open. So it is believed only where that
//! cannot have happened: after a clean stop, or while the machine has not
//! rebooted since it was written (a killed process loses nothing that reached
//! the page cache). Otherwise it is set aside and built again.
//!
//! - [`trust`]: whether to believe it
//! - [`state`]: one group
//! - [`pending`]: what waits to get into its tree
//! - [`frozen`]: a view that stands still while the group moves on
//! - [`tree`]: what the last two ask of a database
//! - [`sled_tree`], [`memory`]: the databases of nodes and of simulations
//! - [`values`]: what is too large for sled

mod cache;
mod frozen;
mod memory;
mod pending;
mod sled_tree;
mod state;
mod tree;
mod trust;
mod values;

#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use entrepot_metadata::StorageError;
use tokio::task::JoinError;

use self::sled_tree::SledDatabase;
use self::tree::Database;
use self::trust::Trust;
use crate::durable;

pub(crate) use self::frozen::{Abandoned, Frozen};
pub use self::memory::MemoryIndex;
pub(crate) use self::state::GroupState;

/// How long a stop waits for sled to let go of its file.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
const CLOSE_POLL: Duration = Duration::from_millis(5);

/// The database, and what is known of its trustworthiness.
#[derive(Debug)]
pub(crate) struct AppliedStore {
    kept: Kept,
    open: Mutex<Option<Open>>,
}

/// Where it is.
#[derive(Debug)]
enum Kept {
    /// sled's files, in this directory.
    Disk(PathBuf),
    Memory(MemoryIndex),
}

#[derive(Debug)]
struct Open {
    database: Arc<dyn Database>,
    groups: Vec<Weak<GroupState>>,
}

/// How the database was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opened {
    /// There was none.
    Fresh,
    /// As it was left.
    Kept,
    /// It was set aside, for this reason; the groups are built again.
    SetAside(String),
}

/// The database cannot be had at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppliedError {
    #[error("cannot access the index in {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot open a new index in {path}: {reason}")]
    Open { path: PathBuf, reason: String },
}

// === impl AppliedStore ===

impl AppliedStore {
    /// Opens the database in `dir`, or sets it aside and begins a new one, with
    /// `cache_bytes` of it in memory; none: what suits its size. Blocks.
    pub(crate) fn open(
        dir: &Path,
        rebuild: bool,
        cache_bytes: Option<u64>,
    ) -> Result<(Self, Opened), AppliedError> {
        let io = |source| AppliedError::Io {
            path: dir.to_owned(),
            source,
        };
        durable::create_dir(dir).map_err(io)?;
        let path = database(dir);
        // Before it is set aside: what is built anew will be as large.
        let cache_bytes = match cache_bytes {
            Some(bytes) => bytes,
            None => cache::suited_to(cache::bytes_in(&path).map_err(io)?),
        };
        let mut opened = match (path.exists(), rebuild, Trust::read(dir).doubt()) {
            (false, _, _) => Opened::Fresh,
            (true, true, _) => Opened::SetAside("it was asked for".to_owned()),
            (true, false, Some(doubt)) => Opened::SetAside(doubt),
            (true, false, None) => Opened::Kept,
        };
        if let Opened::SetAside(_) = opened {
            set_aside(dir).map_err(io)?;
        }
        // Written before anything else: from here on it is not clean.
        Trust::running().write(dir).map_err(io)?;
        let begin = || SledDatabase::open(&path, &values(dir), cache_bytes, state::probe);
        let database = match begin() {
            Ok(database) => database,
            Err(reason) if opened == Opened::Kept => {
                set_aside(dir).map_err(io)?;
                opened = Opened::SetAside(reason);
                begin().map_err(|reason| AppliedError::Open {
                    path: path.clone(),
                    reason,
                })?
            }
            Err(reason) => return Err(AppliedError::Open { path, reason }),
        };
        let store = Self::over(Kept::Disk(dir.to_owned()), Arc::new(database));
        Ok((store, opened))
    }

    /// The same over an index in memory, which nothing ever waits for.
    pub(crate) fn in_memory(index: &MemoryIndex, rebuild: bool) -> (Self, Opened) {
        let opened = match (index.is_empty(), rebuild) {
            (true, _) => Opened::Fresh,
            (false, true) => Opened::SetAside("it was asked for".to_owned()),
            (false, false) => Opened::Kept,
        };
        if rebuild {
            index.lose();
        }
        let kept = Kept::Memory(index.clone());
        (Self::over(kept, Arc::new(index.clone())), opened)
    }

    fn over(kept: Kept, database: Arc<dyn Database>) -> Self {
        Self {
            kept,
            open: Mutex::new(Some(Open {
                database,
                groups: Vec::new(),
            })),
        }
    }

    /// One group's state. Blocks.
    pub(crate) fn group(&self, name: &str) -> Result<Arc<GroupState>, StorageError> {
        let mut open = self.lock();
        let open = open.as_mut().ok_or_else(state::closed)?;
        let group = Arc::new(GroupState::open(Arc::clone(&open.database), name)?);
        open.groups.push(Arc::downgrade(&group));
        Ok(group)
    }

    /// Gets what was written so far onto the disk, as far as sled allows.
    /// Blocks.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        let open = self.lock();
        let database = open.as_ref().map(|open| Arc::clone(&open.database));
        drop(open);
        database.ok_or_else(state::closed)?.flush()?;
        let Kept::Disk(dir) = &self.kept else {
            return Ok(());
        };
        // sled's own flush is no sync on Linux.
        database_file(dir)
            .and_then(|file| file.sync_data())
            .map_err(|error| StorageError::backend("sync", error))
    }

    /// Closes every group and the database. If sled lets go of it, it is
    /// believed after this whatever happens to the machine. Blocks.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        let Some(Open { database, groups }) = self.lock().take() else {
            return Ok(());
        };
        for group in groups.iter().filter_map(Weak::upgrade) {
            group.close()?;
        }
        database.flush()?;
        drop(database);
        let Kept::Disk(dir) = &self.kept else {
            return Ok(());
        };
        let marked = wait_for_release(dir).and_then(|file| {
            file.sync_all()?;
            rustix::fs::syncfs(File::open(dir)?)?;
            Trust::stopped().write(dir)
        });
        marked.map_err(|error| StorageError::backend("close", error))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next start build it again. Blocks.
    pub(crate) fn distrust(&self) {
        match &self.kept {
            Kept::Memory(index) => index.lose(),
            Kept::Disk(dir) => {
                if let Err(error) = Trust::broken().write(dir) {
                    tracing::error!(%error, "cannot mark the index as broken");
                }
            }
        }
    }

    /// Does work on it where it may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        match self.kept {
            Kept::Disk(_) => tokio::task::spawn_blocking(work).await,
            Kept::Memory(_) => Ok(work()),
        }
    }
}

/// sled locks its file for as long as any of its threads may write.
fn wait_for_release(dir: &Path) -> io::Result<File> {
    let file = database_file(dir)?;
    let deadline = Instant::now() + CLOSE_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(CLOSE_POLL);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn database_file(dir: &Path) -> io::Result<File> {
    File::open(database(dir).join("db"))
}

fn database(dir: &Path) -> PathBuf {
    dir.join("sled")
}

fn values(dir: &Path) -> PathBuf {
    dir.join("values")
}

/// Moves the database away; the one that was moved away before goes.
fn set_aside(dir: &Path) -> io::Result<()> {
    let aside = dir.join("sled.aside");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // They are worth nothing without it.
    match fs::remove_dir_all(values(dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    durable::rename(&database(dir), &aside)
}

/// Runs work on the database where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    store: &Arc<AppliedStore>,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let result = store.run(work).await;
    let failed = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error,
        Err(panic) => StorageError::backend("use", panic),
    };
    let distrusted = Arc::clone(store);
    // If even that fails, the next start meets the same error again.
    let _ = store.run(move || distrusted.distrust()).await;
    Err(failed)
}
