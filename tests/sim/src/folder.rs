//! The data folders of a simulation's nodes: of each, its identity and the list
//! of the cluster's nodes are files. In memory, where there is such a file system.

use std::path::{Path, PathBuf};

/// Removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

// === impl Folder ===

impl Folder {
    /// Of the simulation that a process runs.
    pub(crate) fn of(process: u32) -> Self {
        let shared = Path::new("/dev/shm");
        let above = if shared.is_dir() {
            shared.to_owned()
        } else {
            std::env::temp_dir()
        };
        Self(above.join(format!("entrepot-sim-{process}")))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It may not be there, or be gone.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
