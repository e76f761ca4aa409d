//! The applied state of every group, in one sled database.
//!
//! It holds nothing that a snapshot and the log cannot bring back, because
//! sled 0.34 does not sync what it flushes: after a power cut it may have lost
//! what it acknowledged, or may not open. So it is believed only where that
//! cannot have happened: after a clean stop, or while the machine has not
//! rebooted since it was written (a killed process loses nothing that reached
//! the page cache). Otherwise it is set aside and built again.
//!
//! - [`trust`]: whether to believe it
//! - [`state`]: one group
//! - [`frozen`]: a view that stands still while the group moves on

mod frozen;
mod state;
mod trust;

#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use entrepot_metadata::StorageError;

use self::trust::Trust;
use crate::durable;

pub(crate) use self::frozen::{Abandoned, Frozen};
pub(crate) use self::state::GroupState;

/// sled's page cache for all groups, bytes.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// How often sled writes its buffers, ms. Its space is only reclaimed by the
/// thread that does this.
const FLUSH_EVERY_MS: u64 = 500;

/// How long a stop waits for sled to let go of its file.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
const CLOSE_POLL: Duration = Duration::from_millis(5);

/// The database, and what is known of its trustworthiness.
#[derive(Debug)]
pub(crate) struct AppliedStore {
    dir: PathBuf,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    db: sled::Db,
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
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot open a new index in {path}: {reason}")]
    Open { path: PathBuf, reason: String },
}

// === impl AppliedStore ===

impl AppliedStore {
    /// Opens the database in `dir`, or sets it aside and begins a new one.
    /// Blocks.
    pub(crate) fn open(dir: &Path, rebuild: bool) -> Result<(Self, Opened), AppliedError> {
        let io = |source| AppliedError::Io {
            path: dir.to_owned(),
            source,
        };
        durable::create_dir(dir).map_err(io)?;
        let path = database(dir);
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
        let db = match open_guarded(&path) {
            Ok(db) => db,
            Err(reason) if opened == Opened::Kept => {
                set_aside(dir).map_err(io)?;
                opened = Opened::SetAside(reason);
                open_guarded(&path).map_err(|reason| AppliedError::Open {
                    path: path.clone(),
                    reason,
                })?
            }
            Err(reason) => return Err(AppliedError::Open { path, reason }),
        };
        let store = Self {
            dir: dir.to_owned(),
            open: Mutex::new(Some(Open {
                db,
                groups: Vec::new(),
            })),
        };
        Ok((store, opened))
    }

    /// One group's state. Blocks.
    pub(crate) fn group(&self, name: &str) -> Result<Arc<GroupState>, StorageError> {
        let mut open = self.lock();
        let open = open.as_mut().ok_or_else(state::closed)?;
        let group = Arc::new(GroupState::open(open.db.clone(), name)?);
        open.groups.push(Arc::downgrade(&group));
        Ok(group)
    }

    /// Gets what was written so far onto the disk, as far as sled allows.
    /// Blocks.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        let db = self.lock().as_ref().map(|open| open.db.clone());
        db.ok_or_else(state::closed)?
            .flush()
            .map_err(state::backend)?;
        // sled's own flush is no sync on Linux.
        self.database_file()
            .and_then(|file| file.sync_data())
            .map_err(|error| StorageError::backend("sync", error))
    }

    /// Closes every group and the database. If sled lets go of it, it is
    /// believed after this whatever happens to the machine. Blocks.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        let Some(Open { db, groups }) = self.lock().take() else {
            return Ok(());
        };
        for group in groups.iter().filter_map(Weak::upgrade) {
            group.close();
        }
        db.flush().map_err(state::backend)?;
        drop(db);
        let marked = self.wait_for_release().and_then(|file| {
            file.sync_all()?;
            rustix::fs::syncfs(File::open(&self.dir)?)?;
            Trust::stopped().write(&self.dir)
        });
        marked.map_err(|error| StorageError::backend("close", error))
    }

    /// sled locks its file for as long as any of its threads may write.
    fn wait_for_release(&self) -> std::io::Result<File> {
        let file = self.database_file()?;
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

    fn database_file(&self) -> std::io::Result<File> {
        File::open(database(&self.dir).join("db"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next start build it again. Blocks.
    pub(crate) fn distrust(&self) {
        if let Err(error) = Trust::broken().write(&self.dir) {
            tracing::error!(%error, "cannot mark the index as broken");
        }
    }
}

fn database(dir: &Path) -> PathBuf {
    dir.join("sled")
}

/// Moves the database away; the one that was moved away before goes.
fn set_aside(dir: &Path) -> std::io::Result<()> {
    let aside = dir.join("sled.aside");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    durable::rename(&database(dir), &aside)
}

/// sled panics on some kinds of damage instead of returning an error.
fn open_guarded(path: &Path) -> Result<sled::Db, String> {
    let path = path.to_owned();
    let opening = std::thread::spawn(move || -> Result<sled::Db, String> {
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .open()
            .map_err(|error| error.to_string())?;
        state::probe(&db).map_err(|error| error.to_string())?;
        Ok(db)
    });
    opening
        .join()
        .unwrap_or_else(|_| Err("sled panicked".to_owned()))
}

/// Runs work on the database where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    store: &Arc<AppliedStore>,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let result = tokio::task::spawn_blocking(work).await;
    let failed = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error,
        Err(panic) => StorageError::backend("use", panic),
    };
    let store = Arc::clone(store);
    // If even that fails, the next start meets the same error again.
    let _ = tokio::task::spawn_blocking(move || store.distrust()).await;
    Err(failed)
}
