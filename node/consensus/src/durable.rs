//! What has to happen on the real disk before something of the index counts as
//! written. The log and the snapshots have the same from [`crate::files`].

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::files::{self, Disk};

/// Creates `dir` and what is missing above it, durably.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    files::create_dir(&Disk, dir)
}

/// Replaces the content of a small file: after a crash it is the old one or
/// the new one, never a part.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("tmp");
    let mut file = File::create(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&staged, path)
}

/// Renames within one directory, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    files::rename(&Disk, from, to)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nested_directories_are_made_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let nested = dir.path().join("a/b/c");
        create_dir(&nested).unwrap();
        create_dir(&nested).unwrap();
        assert!(nested.is_dir());
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        replace_file(&path, b"one").unwrap();
        replace_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
