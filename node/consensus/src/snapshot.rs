//! Snapshots of a group: checksummed files, one of which is current.
//!
//! A snapshot counts once its file and its name are synced; only then may the
//! log before it go. It is written and received under a temporary name, and
//! never changed afterwards. Older ones are removed when a newer one counts.

mod format;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use entrepot_metadata::StorageError;

use crate::applied::{Abandoned, Frozen};
use crate::files::{self, Files, Handle, Mode, Stream};
use crate::types::{Position, SnapshotMeta};

#[cfg(test)]
pub(crate) use self::format::write_pairs;
pub(crate) use self::format::{Pairs, SnapshotError};

const EXTENSION: &str = "snapshot";
const STAGED: &str = "staged";
const DAMAGED: &str = "damaged";

/// The snapshots of one group.
#[derive(Debug)]
pub(crate) struct SnapshotStore {
    files: Arc<dyn Files>,
    dir: PathBuf,
    group: Arc<str>,
    current: Mutex<Option<Current>>,
    staged: AtomicU64,
}

#[derive(Debug, Clone)]
struct Current {
    position: Position,
    path: PathBuf,
}

/// A whole snapshot, open for reading; goes on being readable when a newer one
/// takes its place.
pub(crate) struct SnapshotFile {
    files: Arc<dyn Files>,
    handle: Arc<dyn Handle>,
    path: PathBuf,
    /// See [`Position`].
    level: u32,
    /// Received and not taken into use yet: goes with this value.
    staged: bool,
}

/// A snapshot on its way in; removed unless it is finished.
#[derive(Debug)]
pub(crate) struct Staged {
    files: Arc<dyn Files>,
    path: PathBuf,
    finished: bool,
}

// === impl SnapshotStore ===

impl SnapshotStore {
    /// Finds the newest whole snapshot of `group` in `dir`. A damaged one is
    /// renamed and passed over. Blocks.
    pub(crate) fn open(
        files: &Arc<dyn Files>,
        dir: &Path,
        group: &str,
    ) -> Result<Self, SnapshotError> {
        let dir = dir.join(group.replace('/', "_"));
        let io = |source| SnapshotError::io(&dir, source);
        files::create_dir(&**files, &dir).map_err(io)?;
        let mut found = Vec::new();
        for path in files.list(&dir).map_err(io)? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(EXTENSION) => found.push(path),
                Some(STAGED) => files.remove(&path).map_err(io)?,
                _ => {}
            }
        }
        let store = Self {
            files: Arc::clone(files),
            group: Arc::from(group),
            current: Mutex::new(None),
            staged: AtomicU64::new(0),
            dir: dir.clone(),
        };
        // A process that was killed may have left a name that is not durable:
        // nothing older goes, and no log, before it is.
        files.sync_dir(&dir).map_err(io)?;
        // Names sort by index.
        found.sort();
        for path in found.into_iter().rev() {
            store.consider(path)?;
        }
        Ok(store)
    }

    fn consider(&self, path: PathBuf) -> Result<(), SnapshotError> {
        let mut current = self.lock();
        if current.is_some() {
            // Left by a crash between a newer one's rename and this removal.
            let removed = self.files.remove(&path);
            return removed.map_err(|source| SnapshotError::io(&path, source));
        }
        match format::verify(&*self.files, &path, &self.group) {
            Ok(position) => *current = Some(Current { position, path }),
            Err(error) if error.is_damage() => {
                tracing::error!(%error, group = &*self.group, "passed over a damaged snapshot");
                let aside = path.with_extension(DAMAGED);
                files::rename(&*self.files, &path, &aside)
                    .map_err(|source| SnapshotError::io(&path, source))?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The current snapshot, if there is one.
    pub(crate) fn current(&self) -> Result<Option<(SnapshotMeta, SnapshotFile)>, SnapshotError> {
        let current = self.lock();
        let Some(Current { position, path }) = &*current else {
            return Ok(None);
        };
        let file = self.opened(path, position.level, false)?;
        Ok(Some((position.meta.clone(), file)))
    }

    /// Writes what `view` shows; it is current when this returns. Nothing is
    /// written when the state was replaced meanwhile: what replaced it is
    /// current. Blocks.
    pub(crate) fn write(&self, view: &Frozen) -> Result<(), SnapshotError> {
        let mut staged = self.stage();
        let io = |source| SnapshotError::io(&staged.path, source);
        let handle = staged.create().map_err(io)?;
        let out = Stream::new(Arc::clone(&handle));
        let mut writer = format::Writer::begin(out, &self.group, view.position()).map_err(io)?;
        loop {
            match view.next_chunk().map_err(SnapshotError::State)? {
                Err(Abandoned) => return Ok(()),
                Ok(chunk) if chunk.is_empty() => break,
                Ok(chunk) => {
                    for (key, value) in chunk {
                        writer.pair(&key, &value).map_err(io)?;
                    }
                }
            }
        }
        writer.finish().map_err(io)?;
        handle.sync().map_err(io)?;
        self.take_into_use(&staged.path, view.position())?;
        staged.finished = true;
        Ok(())
    }

    /// A place for a snapshot that is being received.
    pub(crate) fn stage(&self) -> Staged {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        Staged {
            files: Arc::clone(&self.files),
            path: self.dir.join(format!("{number}.{STAGED}")),
            finished: false,
        }
    }

    /// Checks a received snapshot, and that it is what was announced. Blocks.
    pub(crate) fn accept(
        &self,
        mut staged: Staged,
        announced: &Position,
    ) -> Result<SnapshotFile, SnapshotError> {
        let position = format::verify(&*self.files, &staged.path, &self.group)?;
        if position != *announced {
            return Err(SnapshotError::damaged(
                &staged.path,
                "it is not the one announced",
            ));
        }
        let file = self.opened(&staged.path, position.level, true)?;
        staged.finished = true;
        let synced = file.handle.sync();
        synced.map_err(|source| SnapshotError::io(&staged.path, source))?;
        Ok(file)
    }

    fn opened(&self, path: &Path, level: u32, staged: bool) -> Result<SnapshotFile, SnapshotError> {
        let handle = self.files.open(path, Mode::Read);
        Ok(SnapshotFile {
            files: Arc::clone(&self.files),
            handle: handle.map_err(|source| SnapshotError::io(path, source))?,
            path: path.to_owned(),
            level,
            staged,
        })
    }

    /// Makes a snapshot the current one, if it is not already. One that lies
    /// elsewhere is copied. Blocks.
    pub(crate) fn install(
        &self,
        file: &mut SnapshotFile,
        meta: &SnapshotMeta,
    ) -> Result<(), SnapshotError> {
        let position = file.position(meta);
        if !file.staged && file.path.parent() != Some(self.dir.as_path()) {
            let staged = self.stage();
            let copied = staged
                .create()
                .and_then(|copy| io::copy(&mut file.stream(0), &mut Stream::new(copy)));
            copied.map_err(|source| SnapshotError::io(&staged.path, source))?;
            *file = self.accept(staged, &position)?;
        }
        if file.staged {
            file.path = self.take_into_use(&file.path, &position)?;
            file.staged = false;
        }
        Ok(())
    }

    fn take_into_use(&self, staged: &Path, position: &Position) -> Result<PathBuf, SnapshotError> {
        let mut current = self.lock();
        if current
            .as_ref()
            .is_some_and(|old| old.position.meta.last_log_id > position.meta.last_log_id)
        {
            // A newer one was installed while this one was being built.
            let removed = self.files.remove(staged);
            removed.map_err(|source| SnapshotError::io(staged, source))?;
            return Ok(staged.to_owned());
        }
        let path = self.dir.join(file_name(&position.meta));
        files::rename(&*self.files, staged, &path)
            .map_err(|source| SnapshotError::io(&path, source))?;
        let old = current.replace(Current {
            position: position.clone(),
            path: path.clone(),
        });
        if let Some(old) = old.filter(|old| old.path != path) {
            let removed = self.files.remove(&old.path);
            removed.map_err(|source| SnapshotError::io(&old.path, source))?;
        }
        Ok(path)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_name(meta: &SnapshotMeta) -> String {
    match &meta.last_log_id {
        None => format!("empty.{EXTENSION}"),
        Some(id) => {
            let leader = id.committed_leader_id();
            let (term, node) = (leader.term, leader.node_id);
            format!("{:020}-{term}-{node}.{EXTENSION}", id.index())
        }
    }
}

// === impl SnapshotFile, Staged ===

impl SnapshotFile {
    /// The pairs in it, in the order of their keys.
    pub(crate) fn pairs(&self) -> Result<Pairs, SnapshotError> {
        Pairs::open(self.stream(0), &self.path)
    }

    /// Its bytes from `at` on.
    pub(crate) fn stream(&self, at: u64) -> Stream {
        Stream::from(Arc::clone(&self.handle), at)
    }

    /// Its length and its checksum, which tell it from any other. Blocks.
    pub(crate) fn identity(&self) -> io::Result<(u64, Bytes)> {
        let length = self.handle.length()?;
        let mut checksum = vec![0; format::TRAILER_BYTES];
        let start = length.saturating_sub(checksum.len() as u64);
        files::read_exact_at(&*self.handle, &mut checksum, start)?;
        Ok((length, Bytes::from(checksum)))
    }

    /// What it stands for; openraft carries `meta`, and nothing else.
    pub(crate) fn position(&self, meta: &SnapshotMeta) -> Position {
        Position {
            meta: meta.clone(),
            level: self.level,
        }
    }

    /// What it lies in.
    pub(crate) fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if self.staged {
            discard(&*self.files, &self.path);
        }
    }
}

impl Staged {
    /// Creates the file; called once.
    pub(crate) fn create(&self) -> io::Result<Arc<dyn Handle>> {
        self.files.open(&self.path, Mode::Create)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.finished {
            discard(&*self.files, &self.path);
        }
    }
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What is not removed now is removed at the next start.
fn discard(files: &dyn Files, path: &Path) {
    match files.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "cannot remove a staged snapshot");
        }
        _ => {}
    }
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        io::Error::other(error)
    }
}

impl From<StorageError> for SnapshotError {
    fn from(error: StorageError) -> Self {
        Self::State(error)
    }
}
