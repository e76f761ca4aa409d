//! The Raft log of a node: one append-only stream of segments that all its
//! groups share.
//!
//! Entries, votes, committed positions, truncations and purges are records of
//! the same stream, so their order on disk is the order in which Raft made
//! them. One thread writes; whatever waits when it comes round is written
//! together and made durable by one `fdatasync`. A callback that reports
//! success is the promise that the record survives a power cut.
//!
//! The one invariant: after any failure to write or sync, nothing more is
//! written. The log is poisoned until the node starts again and reads back what
//! is really there; an `fdatasync` that failed is never tried again, because
//! the kernel may have dropped the pages.
//!
//! Why our own: raft-engine 0.4.2 (default features) depends on `protobuf`
//! 2.28, which carries RUSTSEC-2024-0437, and its log batches have no command
//! that cuts a log's end off: entries go by being overwritten, or from the
//! front. openraft truncates first and appends later. sled 0.34 does not sync
//! when it flushes on Linux.
//!
//! - [`record`]: the bytes of one record
//! - [`segment`]: files, headers, and what a scan finds
//! - [`index`]: what the log holds, in memory
//! - [`recovery`]: from files to index
//! - [`writer`]: what writes it
//! - [`driver`]: the thread that this happens on, or the task in a simulation
//! - [`group`]: the log as one group sees it

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::files::{self, Files, Held};

mod driver;
mod group;
mod index;
mod record;
mod recovery;
mod segment;
mod shared;
mod writer;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use self::driver::Driver;
pub(crate) use self::group::{GroupLog, LogEntry};
pub(crate) use self::record::{Ballot, EntryId, PAYLOAD_BYTES_MAX};
use self::shared::{Inner, Shared, Wake};

/// Bytes that may wait to be written; more make [`GroupLog::append`] wait.
const BACKLOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Sizes of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogOptions {
    /// A segment that has reached this is followed by a new one, bytes.
    pub(crate) segment_bytes: u32,
    /// Payloads of recent entries kept in memory for each group, bytes.
    pub(crate) recent_bytes_max: usize,
    /// From this many segments on, the few entries that still need the oldest
    /// one are copied to the end so that it can go.
    pub(crate) segments_before_copy: usize,
    /// "Few": at most this many bytes.
    pub(crate) copy_bytes_max: u64,
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("the log cannot access {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the log segment {path} is damaged at byte {offset}: {reason}")]
    Damaged {
        path: PathBuf,
        offset: u32,
        reason: String,
    },
    #[error("the log segment {path} has format {found}; this version knows {known}")]
    Format {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    #[error("the log of group {group} is not whole: {reason}")]
    Incomplete { group: String, reason: String },
    #[error("the log {path} is in use by another process")]
    Locked { path: PathBuf },
    #[error("the log failed before and takes nothing more: {reason}")]
    Poisoned { reason: String },
    #[error("group {group} cannot take entry {found} next: its log ends before {expected}")]
    Gap {
        group: String,
        expected: u64,
        found: u64,
    },
    #[error("an entry of {bytes} bytes is larger than the log takes ({PAYLOAD_BYTES_MAX})")]
    TooLarge { bytes: usize },
}

/// The log; cheap to clone through the handles of its groups.
#[derive(Debug)]
pub(crate) struct RaftLog {
    shared: Arc<Shared>,
    /// None once it is closed.
    driver: Mutex<Option<Driver>>,
    /// Held for as long as the log is open.
    _lock: Box<dyn Held>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            recent_bytes_max: 8 * 1024 * 1024,
            segments_before_copy: 4,
            copy_bytes_max: 8 * 1024 * 1024,
        }
    }
}

// === impl RaftLog ===

impl RaftLog {
    /// Opens the log in `dir`, or starts one there. Blocks.
    ///
    /// # Errors
    ///
    /// [`LogError::Damaged`] when something that was once synced cannot be
    /// read; nothing is changed then. A torn end is cut off silently.
    pub(crate) fn open(
        files: &Arc<dyn Files>,
        dir: &Path,
        options: LogOptions,
    ) -> Result<Self, LogError> {
        files::create_dir(&**files, dir).map_err(|source| LogError::io(dir, source))?;
        let lock = lock(&**files, dir)?;
        let recovered = recovery::recover(&**files, dir)?;
        let file = recovered.tail_file;
        let (segment, offset) = recovered.tail;
        let mut inner = Inner::new(recovered.index, recovered.files, recovered.tail);
        if inner.files.is_empty() {
            inner.start_segment();
        }
        let shared = Arc::new(Shared {
            files: Arc::clone(files),
            dir: dir.to_owned(),
            options,
            inner: Mutex::new(inner),
            wake: Wake::default(),
            room: Arc::new(Semaphore::new(BACKLOG_BYTES_MAX)),
        });
        let writer = writer::Writer::new(Arc::clone(&shared), file, segment, offset);
        let driver = Driver::start(writer).map_err(|source| LogError::io(dir, source))?;
        Ok(Self {
            shared,
            driver: Mutex::new(Some(driver)),
            _lock: lock,
        })
    }

    /// The log as `name` sees it; a group that is not there yet is empty.
    pub(crate) fn group(&self, name: &str) -> GroupLog {
        GroupLog::new(Arc::clone(&self.shared), name)
    }

    /// Why the log takes nothing more, if it failed.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.lock().failed.as_deref().map(str::to_owned)
    }

    /// Writes and syncs what waits, then stops. Blocks.
    pub(crate) fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.wake.wake();
        let driver = self.driver.lock();
        let driver = driver.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(driver) = driver {
            driver.finish();
        }
    }
}

impl Drop for RaftLog {
    fn drop(&mut self) {
        self.close();
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while it was held poisons the log itself, see `Writer::run`.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl LogError ===

impl LogError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    fn damaged(path: &Path, offset: u32, reason: &str) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            offset,
            reason: reason.to_owned(),
        }
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        io::Error::other(error)
    }
}

fn lock(files: &dyn Files, dir: &Path) -> Result<Box<dyn Held>, LogError> {
    let path = dir.join("lock");
    match files.lock(&path) {
        Ok(held) => Ok(held),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(LogError::Locked { path }),
        Err(source) => Err(LogError::io(&path, source)),
    }
}
