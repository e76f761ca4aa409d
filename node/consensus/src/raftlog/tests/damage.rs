//! Torn ends are cut off, damage is refused, failures are final.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::{LogError, LogOptions, RaftLog};
use super::{all, append, disk, entry, id, open, segments};

const ONE_SEGMENT: LogOptions = LogOptions {
    segment_bytes: 1 << 20,
    recent_bytes_max: 0,
    segments_before_copy: 100,
    copy_bytes_max: 0,
};

/// Batches of two entries in one segment; returns its path and the file size
/// after each batch.
fn batches(dir: &Path, count: u64) -> (PathBuf, Vec<u64>) {
    let log = RaftLog::open(&disk(), dir, ONE_SEGMENT).unwrap();
    let group = log.group("global/0");
    let mut sizes = Vec::new();
    for batch in 0..count {
        append(&group, vec![entry(1, 2 * batch), entry(1, 2 * batch + 1)]);
        let paths = segments(dir);
        sizes.push(fs::metadata(&paths[0]).unwrap().len());
    }
    (segments(dir).remove(0), sizes)
}

fn reopened(dir: &Path) -> Result<u64, LogError> {
    let log = RaftLog::open(&disk(), dir, ONE_SEGMENT)?;
    let group = log.group("global/0");
    let entries = all(&group);
    for (index, found) in entries.iter().enumerate() {
        assert_eq!(*found, entry(1, index as u64));
    }
    // What was recovered must be fit to go on with.
    let next = entries.len() as u64;
    append(&group, vec![entry(1, next)]);
    assert_eq!(all(&group).len() as u64, next + 1);
    Ok(next)
}

#[test]
fn a_cut_at_any_byte_leaves_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = batches(dir.path(), 3);
    let whole = fs::read(&path).unwrap();
    let mut before = 0;
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let found = reopened(dir.path()).unwrap();
        assert!(found >= before, "{length} bytes held less than fewer bytes");
        before = found;
        // The test went on in it, or in a new one.
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(before, 6);
}

#[test]
fn garbage_after_the_end_is_cut_off() {
    for garbage in [vec![0; 5000], vec![0xff; 77], b"half a record".to_vec()] {
        let dir = tempfile::tempdir().unwrap();
        let (path, sizes) = batches(dir.path(), 3);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&garbage, sizes[2]).unwrap();
        assert_eq!(reopened(dir.path()).unwrap(), 6);
    }
}

#[test]
fn a_hole_in_the_last_batch_is_a_torn_batch() {
    // Pages of one write may reach the disk in any order.
    let dir = tempfile::tempdir().unwrap();
    let (path, sizes) = batches(dir.path(), 3);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 20], sizes[1]).unwrap();
    assert_eq!(reopened(dir.path()).unwrap(), 4);
}

#[test]
fn damage_to_any_synced_byte_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, sizes) = batches(dir.path(), 3);
    let whole = fs::read(&path).unwrap();
    for at in 0..usize::try_from(sizes[1]).unwrap() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let error = reopened(dir.path()).unwrap_err();
        let expected = matches!(error, LogError::Damaged { .. } | LogError::Format { .. });
        assert!(expected, "byte {at}: {error}");
        assert_eq!(
            fs::read(&path).unwrap(),
            damaged,
            "a refused log is left alone"
        );
    }
}

#[test]
fn damage_to_an_earlier_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let group = log.group("global/0");
    for index in 0..40 {
        append(&group, vec![entry(1, index)]);
    }
    drop(log);
    let paths = segments(dir.path());
    assert!(paths.len() > 2, "{paths:?}");
    let whole = fs::read(&paths[0]).unwrap();

    fs::write(&paths[0], &whole[..whole.len() - 1]).unwrap();
    let torn = RaftLog::open(&disk(), dir.path(), super::SMALL).unwrap_err();
    assert!(matches!(torn, LogError::Damaged { .. }), "{torn}");

    fs::remove_file(&paths[1]).unwrap();
    fs::write(&paths[0], &whole).unwrap();
    let missing = RaftLog::open(&disk(), dir.path(), super::SMALL).unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
}

#[test]
fn a_lost_first_segment_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let group = log.group("global/0");
    for index in 0..40 {
        append(&group, vec![entry(1, index)]);
    }
    group.purge(id(1, 0)).unwrap();
    drop(log);
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    let error = RaftLog::open(&disk(), dir.path(), super::SMALL).unwrap_err();
    assert!(matches!(error, LogError::Incomplete { .. }), "{error}");
}

#[test]
fn a_segment_without_a_header_was_never_begun() {
    for content in [vec![], vec![0; 24], b"ENTRE".to_vec()] {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = batches(dir.path(), 2);
        let next = path.with_file_name("000000000002.log");
        fs::write(&next, content).unwrap();
        assert_eq!(reopened(dir.path()).unwrap(), 4);
    }
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = batches(dir.path(), 1);
    let mut content = fs::read(&path).unwrap();
    content[8] = 2;
    let checksum = crc32fast::hash(&content[..20]).to_le_bytes();
    content[20..24].copy_from_slice(&checksum);
    fs::write(&path, content).unwrap();
    let error = reopened(dir.path()).unwrap_err();
    assert!(
        matches!(error, LogError::Format { found: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_log_is_opened_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let second = RaftLog::open(&disk(), dir.path(), super::SMALL).unwrap_err();
    assert!(matches!(second, LogError::Locked { .. }), "{second}");
    drop(log);
    open(dir.path());
}

#[test]
fn a_failure_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let group = log.group("global/0");
    append(&group, vec![entry(1, 0)]);
    // The next segment cannot be created where one lies already.
    fs::write(dir.path().join("000000000002.log"), b"in the way").unwrap();
    let mut failed = false;
    for index in 1..40 {
        let (sender, receiver) = std::sync::mpsc::channel();
        let done = Box::new(move |result| sender.send(result).unwrap());
        failed = match group.append(vec![entry(1, index)], done) {
            Ok(()) => receiver.recv().unwrap().is_err(),
            Err(error) => matches!(error, LogError::Poisoned { .. }),
        };
        if failed {
            break;
        }
    }
    assert!(failed);
    assert!(log.failure().is_some());
    let refused = group.append(vec![entry(1, 40)], Box::new(|_| {}));
    assert!(matches!(refused, Err(LogError::Poisoned { .. })));
    let refused = group.purge(id(1, 0));
    assert!(matches!(refused, Err(LogError::Poisoned { .. })));
}

#[test]
fn an_entry_out_of_order_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let group = log.group("global/0");
    append(&group, vec![entry(1, 5)]);
    for index in [4, 5, 7] {
        let refused = group.append(vec![entry(1, index)], Box::new(|_| {}));
        assert!(matches!(refused, Err(LogError::Gap { expected: 6, .. })));
    }
    append(&group, vec![entry(1, 6)]);
}
