//! Staging files that nobody owns.
//!
//! A staging removes its file when it ends, and opening the store removes those of the
//! process before. What could not be removed then stays behind; here it is found.
//! Must never touch a file of a staging that is alive. The invariant: an owner is
//! noted before its file is made, and forgotten after it is gone.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tracing::warn;

use crate::{Abandoned, BlobError};

/// The files of stagings that are alive. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners(Arc<Mutex<HashSet<PathBuf>>>);

/// Dropped, its file is nobody's.
#[derive(Debug)]
pub(super) struct Owner {
    owners: Owners,
    path: PathBuf,
}

// === impl Owners ===

impl Owners {
    pub(super) fn own(&self, path: PathBuf) -> Owner {
        self.lock().insert(path.clone());
        Owner {
            owners: self.clone(),
            path,
        }
    }

    fn has(&self, path: &Path) -> bool {
        self.lock().contains(path)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Owner ===

impl Owner {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.owners.lock().remove(&self.path);
    }
}

/// The files in `staging` that nobody owns, or has written to for `idle`; with
/// `delete`, they go. One that fails keeps no other from it. Blocks the thread.
pub(super) fn abandoned(
    staging: &Path,
    owners: &Owners,
    idle: Duration,
    delete: bool,
) -> Result<Abandoned, BlobError> {
    let failed = |error| BlobError::io("list directory", staging)(error);
    let now = SystemTime::now();
    let mut found = Abandoned::default();
    for entry in fs::read_dir(staging).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let looked = fs::symlink_metadata(&path)
            .and_then(|metadata| Ok((metadata.len(), metadata.modified()?)));
        let (bytes, written) = match looked {
            Ok(looked) => looked,
            // It has just been published, or removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                warn!(path = %path.display(), %error, "a staging file cannot be looked at");
                found.failed += 1;
                continue;
            }
        };
        // Of a clock that was put back, it is not known how long ago that was.
        let age = now.duration_since(written).unwrap_or_default();
        // After the look at the file: its owner was noted before it was made.
        if owners.has(&path) || age < idle {
            continue;
        }
        if delete {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    warn!(path = %path.display(), %error, "a staging file cannot be deleted");
                    found.failed += 1;
                    continue;
                }
            }
        }
        found.files += 1;
        found.bytes += bytes;
    }
    Ok(found)
}
