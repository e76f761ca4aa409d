//! Snapshots are whole or not there.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use entrepot_metadata::{KeyValue, Writes};

use super::{SnapshotError, SnapshotStore};
use crate::applied::{AppliedStore, GroupState};
use crate::files::{Disk, Files, Stream};
use crate::raftlog::EntryId;
use crate::types::{SnapshotMeta, log_id};

const GROUP: &str = "region/us-east-1/0";

fn disk() -> Arc<dyn Files> {
    Arc::new(Disk)
}

struct Node {
    dir: tempfile::TempDir,
    state: Arc<GroupState>,
    snapshots: SnapshotStore,
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(EntryId {
            term: 1,
            node: 1,
            index,
        })),
        ..SnapshotMeta::default()
    }
}

fn node() -> Node {
    let dir = tempfile::tempdir().unwrap();
    let (applied, _) = AppliedStore::open(&dir.path().join("index"), false).unwrap();
    Node {
        state: applied.group(GROUP).unwrap(),
        snapshots: SnapshotStore::open(&disk(), dir.path(), GROUP).unwrap(),
        dir,
    }
}

impl Node {
    fn fill(&self, index: u64) {
        let entries = (0..500_u32).map(|number| {
            let key = [b"\x01".as_slice(), &number.to_be_bytes()].concat();
            (key, Some(Bytes::from(format!("{index}: {number}"))))
        });
        let writes = Writes {
            entries: entries.collect(),
        };
        self.state.write(&writes, &meta(index)).unwrap();
    }

    fn snapshot(&self) {
        let view = self.state.freeze().unwrap();
        self.snapshots.write(&view).unwrap();
    }

    fn files(&self) -> Vec<PathBuf> {
        let dir = self.dir.path().join("region_us-east-1_0");
        let files = fs::read_dir(dir).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }
}

fn current(dir: &Path) -> Option<SnapshotMeta> {
    let store = SnapshotStore::open(&disk(), dir, GROUP).unwrap();
    store.current().unwrap().map(|(meta, _)| meta)
}

#[test]
fn a_snapshot_holds_the_state() {
    let (one, other) = (node(), node());
    one.fill(7);
    one.snapshot();
    let (meta, file) = one.snapshots.current().unwrap().unwrap();
    other.state.replace(file.pairs().unwrap(), &meta).unwrap();
    let all = |node: &Node| node.state.scan(&[1], &[2], 9999).unwrap();
    assert_eq!(all(&one).len(), 500);
    assert_eq!(all(&one), all(&other));
    assert_eq!(other.state.position().unwrap(), meta);
}

#[test]
fn only_the_newest_is_kept() {
    let node = node();
    for index in [1, 2, 10] {
        node.fill(index);
        node.snapshot();
    }
    assert_eq!(node.files().len(), 1);
    assert_eq!(current(node.dir.path()), Some(meta(10)));
}

#[test]
fn an_empty_state_has_a_snapshot_too() {
    let node = node();
    node.snapshot();
    assert_eq!(current(node.dir.path()), Some(SnapshotMeta::default()));
}

#[test]
fn any_damage_is_noticed() {
    let node = node();
    node.fill(1);
    node.snapshot();
    let path = node.files().remove(0);
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        for content in [&damaged[..], &whole[..at]] {
            fs::write(&path, content).unwrap();
            assert_eq!(current(node.dir.path()), None, "byte {at}");
        }
        fs::remove_file(path.with_extension("damaged")).unwrap();
    }
}

#[test]
fn a_damaged_one_is_passed_over() {
    let node = node();
    node.fill(1);
    node.snapshot();
    let older = node.files().remove(0);
    let saved = fs::read(&older).unwrap();
    node.fill(2);
    node.snapshot();
    fs::write(&older, saved).unwrap();
    fs::write(
        older.with_file_name("00000000000000000002-1-1.snapshot"),
        b"x",
    )
    .unwrap();
    assert_eq!(current(node.dir.path()), Some(meta(1)));
}

#[test]
fn what_was_not_finished_is_removed() {
    let node = node();
    node.fill(1);
    let staged = node.snapshots.stage();
    Stream::new(staged.create().unwrap())
        .write_all(b"half")
        .unwrap();
    let refused = node.snapshots.accept(staged, &meta(1)).unwrap_err();
    assert!(refused.is_damage(), "{refused}");
    assert!(node.files().is_empty());

    let staged = node.snapshots.stage();
    staged.create().unwrap();
    std::mem::forget(staged);
    assert_eq!(node.files().len(), 1);
    assert_eq!(current(node.dir.path()), None);
    assert!(node.files().is_empty());
}

#[test]
fn a_received_one_must_be_the_one_announced() {
    let (one, other) = (node(), node());
    one.fill(7);
    one.snapshot();
    let receive = |announced: &SnapshotMeta| -> Result<_, SnapshotError> {
        let staged = other.snapshots.stage();
        let content = fs::read(&one.files()[0]).unwrap();
        Stream::new(staged.create().unwrap())
            .write_all(&content)
            .unwrap();
        other.snapshots.accept(staged, announced)
    };
    assert!(receive(&meta(8)).is_err());
    let mut file = receive(&meta(7)).unwrap();
    other.snapshots.install(&mut file, &meta(7)).unwrap();
    drop(file);
    assert_eq!(current(other.dir.path()), Some(meta(7)));
}

#[test]
fn a_view_of_a_replaced_state_becomes_no_snapshot() {
    let node = node();
    node.fill(1);
    let view = node.state.freeze().unwrap();
    let nothing = Vec::<Result<_, SnapshotError>>::new();
    node.state.replace(nothing, &meta(5)).unwrap();
    node.snapshots.write(&view).unwrap();
    assert!(node.snapshots.current().unwrap().is_none());
    assert!(node.files().is_empty());
}

#[test]
fn a_newer_format_is_refused_as_such_wherever_its_checksum_is() {
    let node = node();
    node.fill(1);
    node.snapshot();
    let path = node.files().remove(0);
    let mut content = fs::read(&path).unwrap();
    content[8] = 2;
    fs::write(&path, &content).unwrap();
    let refused = SnapshotStore::open(&disk(), node.dir.path(), GROUP).unwrap_err();
    assert!(
        matches!(refused, SnapshotError::Format { found: 2, .. }),
        "{refused}"
    );
    assert_eq!(fs::read(&path).unwrap(), content, "it is left alone");
}
