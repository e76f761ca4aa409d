//! Snapshots that lack their last pair, and are whole in every other respect:
//! what a snapshot holds is not what its node had applied.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrepot_consensus::files::{Files, Handle, Held, MemoryFiles, Mode};

/// A snapshot's extension, when it is taken into use.
const SNAPSHOT: &str = "snapshot";
/// Magic and format version.
const START: usize = 12;
const END: [u8; 4] = [0xff; 4];

/// Files that take a pair out of each snapshot.
#[derive(Debug, Clone)]
pub(crate) struct DroppingFiles(pub(crate) MemoryFiles);

// === impl DroppingFiles ===

impl DroppingFiles {
    fn drop_last(&self, path: &Path) -> io::Result<()> {
        let file = self.0.open(path, Mode::Write)?;
        let mut content = vec![0; usize::try_from(file.length()?).unwrap_or_default()];
        let read = file.read_at(&mut content, 0)?;
        let Some(shorter) = content.get(..read).and_then(without_last) else {
            return Ok(());
        };
        file.set_length(0)?;
        let mut written = 0;
        while written < shorter.len() {
            written += file.write_at(&shorter[written..], written as u64)?;
        }
        file.sync()
    }
}

/// The bytes of a snapshot without its last pair; none, if it has no pair.
fn without_last(content: &[u8]) -> Option<Vec<u8>> {
    let header = usize::try_from(number(content, START)?).ok()?;
    let mut at = START + 4 + header;
    let (mut pairs, mut last) = (0_u64, None);
    while content.get(at..at + 4)? != END {
        last = Some(at);
        pairs += 1;
        let (key, value) = (number(content, at)?, number(content, at + 4)?);
        at += 8 + usize::try_from(key).ok()? + usize::try_from(value).ok()?;
    }
    let mut shorter = content.get(..last?)?.to_vec();
    shorter.extend_from_slice(&END);
    shorter.extend_from_slice(&(pairs - 1).to_le_bytes());
    let sum = blake3::hash(&shorter);
    shorter.extend_from_slice(sum.as_bytes());
    Some(shorter)
}

fn number(content: &[u8], at: usize) -> Option<u32> {
    let bytes = content.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

// === impl DroppingFiles ===

impl Files for DroppingFiles {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn Handle>> {
        self.0.open(path, mode)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(dir)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.make_dir(dir)
    }

    fn is_dir(&self, dir: &Path) -> bool {
        self.0.is_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if to
            .extension()
            .is_some_and(|extension| extension == SNAPSHOT)
        {
            self.drop_last(from)?;
        }
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        self.0.lock(path)
    }

    fn may_block(&self) -> bool {
        self.0.may_block()
    }
}
