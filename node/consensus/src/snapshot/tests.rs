//! Snapshots are whole or not there.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use entrepot_metadata::{KeyValue, LEVEL, Writes};

use super::{SnapshotError, SnapshotStore};
use crate::applied::{AppliedStore, GroupState};
use crate::files::{Disk, Files, Stream};
use crate::raftlog::EntryId;
use crate::types::{Position, SnapshotMeta, log_id};

const GROUP: &str = "region/us-east-1/0";

fn disk() -> Arc<dyn Files> {
    Arc::new(Disk)
}

struct Node {
    dir: tempfile::TempDir,
    state: Arc<GroupState>,
    snapshots: SnapshotStore,
}

fn position(index: u64) -> Position {
    Position::from(SnapshotMeta {
        last_log_id: Some(log_id(EntryId {
            term: 1,
            node: 1,
            index,
        })),
        ..SnapshotMeta::default()
    })
}

fn node() -> Node {
    let dir = tempfile::tempdir().unwrap();
    let (applied, _) = AppliedStore::open(&dir.path().join("index"), false, None).unwrap();
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
        self.state.write(&writes, &position(index)).unwrap();
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

fn current(dir: &Path) -> Option<Position> {
    let store = SnapshotStore::open(&disk(), dir, GROUP).unwrap();
    let current = store.current().unwrap();
    current.map(|(meta, file)| file.position(&meta))
}

#[test]
fn a_snapshot_holds_the_state() {
    let (one, other) = (node(), node());
    one.fill(7);
    one.snapshot();
    let (meta, file) = one.snapshots.current().unwrap().unwrap();
    let position = file.position(&meta);
    let pairs = file.pairs().unwrap();
    other.state.replace(pairs, &position).unwrap();
    let all = |node: &Node| node.state.scan(&[1], &[2], 9999).unwrap();
    assert_eq!(all(&one).len(), 500);
    assert_eq!(all(&one), all(&other));
    assert_eq!(other.state.position().unwrap(), position);
}

#[test]
fn only_the_newest_is_kept() {
    let node = node();
    for index in [1, 2, 10] {
        node.fill(index);
        node.snapshot();
    }
    assert_eq!(node.files().len(), 1);
    assert_eq!(current(node.dir.path()), Some(position(10)));
}

#[test]
fn an_empty_state_has_a_snapshot_too() {
    let node = node();
    node.snapshot();
    assert_eq!(current(node.dir.path()), Some(Position::default()));
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
    assert_eq!(current(node.dir.path()), Some(position(1)));
}

#[test]
fn what_was_not_finished_is_removed() {
    let node = node();
    node.fill(1);
    let staged = node.snapshots.stage();
    Stream::new(staged.create().unwrap())
        .write_all(b"half")
        .unwrap();
    let refused = node.snapshots.accept(staged, &position(1)).unwrap_err();
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
    let receive = |announced: &Position| -> Result<_, SnapshotError> {
        let staged = other.snapshots.stage();
        let content = fs::read(&one.files()[0]).unwrap();
        Stream::new(staged.create().unwrap())
            .write_all(&content)
            .unwrap();
        other.snapshots.accept(staged, announced)
    };
    assert!(receive(&position(8)).is_err());
    let mut file = receive(&position(7)).unwrap();
    let meta = position(7).meta;
    other.snapshots.install(&mut file, &meta).unwrap();
    drop(file);
    assert_eq!(current(other.dir.path()), Some(position(7)));
}

#[test]
fn a_view_of_a_replaced_state_becomes_no_snapshot() {
    let node = node();
    node.fill(1);
    let view = node.state.freeze().unwrap();
    let nothing = Vec::<Result<_, SnapshotError>>::new();
    node.state.replace(nothing, &position(5)).unwrap();
    node.snapshots.write(&view).unwrap();
    assert!(node.snapshots.current().unwrap().is_none());
    assert!(node.files().is_empty());
}

/// As a newer version would write it.
fn newer(index: u64) -> Position {
    Position {
        level: LEVEL + 1,
        ..position(index)
    }
}

#[test]
fn the_level_of_a_state_goes_with_its_snapshot() {
    let (one, other) = (node(), node());
    let known = Position {
        level: LEVEL,
        ..position(7)
    };
    one.state.write(&Writes::default(), &known).unwrap();
    one.snapshot();
    assert_eq!(current(one.dir.path()), Some(known.clone()));
    let staged = other.snapshots.stage();
    let content = fs::read(&one.files()[0]).unwrap();
    let mut stream = Stream::new(staged.create().unwrap());
    stream.write_all(&content).unwrap();
    let mut file = other.snapshots.accept(staged, &known).unwrap();
    other.snapshots.install(&mut file, &known.meta).unwrap();
    assert_eq!(file.position(&known.meta), known);
    assert_eq!(current(other.dir.path()), Some(known));
}

#[test]
fn a_newer_state_is_refused_as_such() {
    let node = node();
    let staged = node.snapshots.stage();
    let stream = Stream::new(staged.create().unwrap());
    let nothing: [(&[u8], &[u8]); 0] = [];
    super::write_pairs(stream, GROUP, &newer(7), nothing).unwrap();
    let path = staged.path.clone();
    let content = fs::read(&path).unwrap();
    let refused = node.snapshots.accept(staged, &newer(7)).unwrap_err();
    let said = format!(
        "is of level {}, and this version of entrepot-node understands {LEVEL}: start the \
         version that the other nodes run",
        LEVEL + 1
    );
    assert!(refused.to_string().ends_with(&said), "{refused}");
    assert!(!path.exists());

    // Nor does a node of this version start from one of its own, and it stays.
    let own = path.with_file_name("00000000000000000007-1-1.snapshot");
    fs::write(&own, content).unwrap();
    let refused = SnapshotStore::open(&disk(), node.dir.path(), GROUP).unwrap_err();
    assert!(refused.to_string().ends_with(&said), "{refused}");
    assert!(own.exists());
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
