//! How much of an index is kept in memory, unless somebody says so.
//!
//! A small registry must not cost a large registry's memory. Where the index has
//! grown, what a request reads is spread over all of it, and what is not in
//! memory has to be read and decoded each time.

use std::fs;
use std::io;
use std::path::Path;

/// A small node stays small.
const BYTES_MIN: u64 = 32 * 1024 * 1024;
/// Whoever wants more says so.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Of the index's size on the disk, about half of which is in use.
const SHARE: u64 = 4;

/// Bytes to keep in memory of an index that takes `index_bytes` on the disk.
pub(super) fn suited_to(index_bytes: u64) -> u64 {
    (index_bytes / SHARE).clamp(BYTES_MIN, BYTES_MAX)
}

/// Bytes of the files below `dir`; 0: there is none.
pub(super) fn bytes_in(dir: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            bytes_in(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_quarter_is_kept_within_limits() {
        for (index, cache) in [(0, 32), (100, 32), (400, 100), (5_000, 256)] {
            assert_eq!(suited_to(index * MIB), cache * MIB, "{index} MiB");
        }
    }

    #[test]
    fn what_is_there_is_counted_however_deep() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(bytes_in(&dir.path().join("none")).unwrap(), 0);
        fs::create_dir(dir.path().join("blobs")).unwrap();
        fs::write(dir.path().join("db"), [0; 1000]).unwrap();
        fs::write(dir.path().join("blobs/1"), [0; 234]).unwrap();
        assert_eq!(bytes_in(dir.path()).unwrap(), 1234);
    }
}
