//! A few bytes that outlive the process, such as how far a scrub has come.
//!
//! Owns one file. The invariant: what is read is what one `save` wrote, whole;
//! a power cut may take the last one and leave the one before.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use super::durable;

/// A note is a few lines.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// A small file that is replaced as a whole.
#[derive(Clone, Debug)]
pub struct Note {
    path: PathBuf,
}

// === impl Note ===

impl Note {
    /// Nothing else may write to `path`, nor to the same name with `.new`.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// What was saved last; none: nothing, or nothing that can be a note.
    pub async fn load(&self) -> io::Result<Option<String>> {
        let path = self.path.clone();
        blocking(move || {
            let length = match fs::metadata(&path) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            if length > NOTE_BYTES_MAX {
                return Ok(None);
            }
            Ok(String::from_utf8(fs::read(&path)?).ok())
        })
        .await
    }

    /// Replaces what was saved before, durably.
    pub async fn save(&self, text: String) -> io::Result<()> {
        let path = self.path.clone();
        blocking(move || {
            let mut scratch = path.clone().into_os_string();
            scratch.push(".new");
            durable::write_atomically(&path, Path::new(&scratch), text.as_bytes())
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
