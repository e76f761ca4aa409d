//! The state against the conformance body, a model, and broken databases.

mod pending;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use entrepot_metadata::conformance::{self, Store};
use entrepot_metadata::{KeyValue, LEVEL, MemoryState, StorageError, Writes};
use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::test_runner::Config;

use super::{AppliedStore, Frozen, GroupState, MemoryIndex, Opened};
use crate::raftlog::EntryId;
use crate::types::{Position, SnapshotMeta, log_id};

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

fn put(key: &[u8], value: &[u8]) -> Writes {
    Writes {
        entries: vec![(key.to_vec(), Some(Bytes::copy_from_slice(value)))],
    }
}

fn open(dir: &Path) -> (AppliedStore, Opened) {
    AppliedStore::open(dir, false, None).unwrap()
}

/// A state in a directory of its own.
#[derive(Debug)]
struct Temporary {
    state: Arc<GroupState>,
    /// Whether each batch goes to the tree at once.
    flushes: bool,
    _store: AppliedStore,
    _dir: Option<tempfile::TempDir>,
}

impl Temporary {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, opened) = open(dir.path());
        assert_eq!(opened, Opened::Fresh);
        Self {
            state: store.group("region/a/0").unwrap(),
            flushes: false,
            _store: store,
            _dir: Some(dir),
        }
    }

    fn in_memory() -> Self {
        let (store, opened) = AppliedStore::in_memory(&MemoryIndex::new(), false);
        assert_eq!(opened, Opened::Fresh);
        Self {
            state: store.group("region/a/0").unwrap(),
            flushes: false,
            _store: store,
            _dir: None,
        }
    }
}

impl KeyValue for Temporary {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.state.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.state.scan(start, end, limit)
    }
}

impl Store for Temporary {
    fn write(&mut self, writes: &Writes) -> Result<(), StorageError> {
        self.state.write(writes, &position(1))?;
        if self.flushes {
            self.state.flush()?;
        }
        Ok(())
    }
}

#[test]
fn the_state_conforms() {
    conformance::run(Temporary::new);
}

#[test]
fn the_state_conforms_when_nothing_waits() {
    conformance::run(|| Temporary {
        flushes: true,
        ..Temporary::new()
    });
}

#[test]
fn the_state_in_memory_conforms() {
    conformance::run(Temporary::in_memory);
}

fn drain(view: &Frozen) -> Vec<(Bytes, Bytes)> {
    let mut all = Vec::new();
    loop {
        let chunk = view.next_chunk().unwrap().unwrap();
        if chunk.is_empty() {
            return all;
        }
        all.extend(chunk);
    }
}

fn writes() -> impl Strategy<Value = Vec<(u16, Option<u16>)>> {
    prop::collection::vec((0..2000_u16, any::<Option<u16>>()), 1..400)
}

fn batch(changes: &[(u16, Option<u16>)]) -> Writes {
    let mut entries = std::collections::BTreeMap::new();
    for (key, value) in changes {
        let [high, low] = key.to_be_bytes();
        // Some of them have files of their own.
        let value = value.map(|value| Bytes::from(vec![1; usize::from(value % 12_000)]));
        entries.insert(vec![1, high, low], value);
    }
    Writes {
        entries: entries.into_iter().collect(),
    }
}

proptest! {
    #![proptest_config(Config { cases: 24, max_shrink_iters: 100, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_frozen_view_stands_still(
        before in writes(),
        during in prop::collection::vec(writes(), 1..12),
        memory in any::<bool>(),
    ) {
        let store = if memory { Temporary::in_memory() } else { Temporary::new() };
        let mut model = MemoryState::new();
        store.state.write(&batch(&before), &position(1)).unwrap();
        model.apply_writes(&batch(&before));
        let expected: Vec<_> = model
            .iter()
            .map(|(key, value)| (Bytes::copy_from_slice(key), value.clone()))
            .collect();

        let view = store.state.freeze().unwrap();
        let mut found = Vec::new();
        for changes in &during {
            store.state.write(&batch(changes), &position(2)).unwrap();
            found.extend(view.next_chunk().unwrap().unwrap());
        }
        found.extend(drain(&view));
        assert_eq!(found, expected);
        assert_eq!(view.position(), &position(1));
    }
}

#[test]
fn a_replaced_state_is_the_new_one_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let state = store.group("global/0").unwrap();
    state.write(&put(b"\x01old", b"1"), &position(1)).unwrap();
    let view = state.freeze().unwrap();

    let pairs = (0..2000_u16).map(|number| {
        let [high, low] = number.to_be_bytes();
        Ok::<_, String>((Bytes::from(vec![1, high, low]), Bytes::from_static(b"new")))
    });
    state.replace(pairs, &position(9)).unwrap();

    assert!(view.next_chunk().unwrap().is_err());
    assert_eq!(state.get(b"\x01old").unwrap(), None);
    assert_eq!(state.scan(&[1], &[2], 9999).unwrap().len(), 2000);
    drop((view, state, store));
    let (store, opened) = open(dir.path());
    assert_eq!(opened, Opened::Kept);
    let state = store.group("global/0").unwrap();
    assert_eq!(state.position().unwrap(), position(9));
    assert_eq!(state.scan(&[1], &[2], 9999).unwrap().len(), 2000);
}

#[test]
fn a_half_loaded_state_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let state = store.group("global/0").unwrap();
    state.write(&put(b"\x01old", b"1"), &position(1)).unwrap();
    state.flush().unwrap();
    let pairs = vec![
        Ok((Bytes::from_static(b"\x01new"), Bytes::new())),
        Err("the file ends here"),
    ];
    assert!(state.replace(pairs, &position(9)).is_err());
    assert_eq!(
        state.get(b"\x01old").unwrap(),
        Some(Bytes::from_static(b"1"))
    );
    drop((state, store));
    let (store, _) = open(dir.path());
    let state = store.group("global/0").unwrap();
    assert_eq!(state.position().unwrap(), position(1));
    assert_eq!(state.scan(&[1], &[2], 9).unwrap().len(), 1);
}

#[test]
fn groups_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let (one, other) = (
        store.group("region/a/0").unwrap(),
        store.group("region/a/1").unwrap(),
    );
    one.write(&put(b"\x01k", b"v"), &position(4)).unwrap();
    assert_eq!(other.get(b"\x01k").unwrap(), None);
    assert_eq!(other.position().unwrap(), Position::default());
}

#[test]
fn a_clean_stop_or_a_kill_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..4 {
        let (store, opened) = open(dir.path());
        assert_eq!(opened == Opened::Kept, round > 1, "{opened:?}");
        let state = store.group("global/0").unwrap();
        assert_eq!(state.get(b"\x01k").unwrap().is_some(), round > 1);
        state.write(&put(b"\x01k", b"v"), &position(round)).unwrap();
        if round > 1 {
            state.flush().unwrap();
        }
        if round == 1 {
            store.close().unwrap();
            assert!(state.get(b"\x01k").is_err(), "it is closed");
            let said = fs::read_to_string(dir.path().join("state")).unwrap();
            assert!(said.contains("clean yes"), "{said}");
        }
    }
}

#[test]
fn memory_keeps_it_until_it_is_lost() {
    let index = MemoryIndex::new();
    let written = |rebuild: bool| {
        let (store, opened) = AppliedStore::in_memory(&index, rebuild);
        let state = store.group("global/0").unwrap();
        let found = state.get(b"\x01k").unwrap().is_some();
        state.write(&put(b"\x01k", b"v"), &position(1)).unwrap();
        store.close().unwrap();
        assert!(state.get(b"\x01k").is_err(), "it is closed");
        (opened, found)
    };
    assert_eq!(written(false), (Opened::Fresh, false));
    assert_eq!(written(false), (Opened::Kept, true));
    let (opened, found) = written(true);
    assert!(matches!(opened, Opened::SetAside(_)) && !found);
    index.lose();
    assert_eq!(written(false), (Opened::Fresh, false));
    AppliedStore::in_memory(&index, false).0.distrust();
    assert_eq!(written(false), (Opened::Fresh, false));
}

#[test]
fn doubt_sets_it_aside() {
    let dir = tempfile::tempdir().unwrap();
    let written = |rebuild: bool| {
        let (store, opened) = AppliedStore::open(dir.path(), rebuild, None).unwrap();
        let state = store.group("global/0").unwrap();
        let found = state.get(b"\x01k").unwrap().is_some();
        state.write(&put(b"\x01k", b"v"), &position(1)).unwrap();
        state.flush().unwrap();
        (store, opened, found)
    };
    drop(written(false));

    // It failed while it was in use.
    let (store, _, found) = written(false);
    assert!(found);
    store.distrust();
    drop(store);
    let (_, opened, found) = written(false);
    assert!(
        matches!(opened, Opened::SetAside(_)) && !found,
        "{opened:?}"
    );

    // Another boot of the machine, and no clean stop.
    fs::write(dir.path().join("state"), "layout 1\nboot other\nclean no\n").unwrap();
    let (_, opened, found) = written(false);
    assert!(
        matches!(opened, Opened::SetAside(_)) && !found,
        "{opened:?}"
    );

    // Asked for.
    let (_, opened, found) = written(true);
    assert!(
        matches!(opened, Opened::SetAside(_)) && !found,
        "{opened:?}"
    );
    let (_, opened, found) = written(false);
    assert!(opened == Opened::Kept && found, "{opened:?}");
}

#[test]
fn a_database_that_does_not_open_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let state = store.group("global/0").unwrap();
    for index in 0..2000 {
        let key = [b"\x01", u64::to_be_bytes(index).as_slice()].concat();
        state
            .write(&put(&key, &[7; 300]), &position(index))
            .unwrap();
    }
    store.close().unwrap();
    drop((state, store));
    fs::write(dir.path().join("sled/conf"), b"not a configuration").unwrap();
    let (store, opened) = open(dir.path());
    assert!(matches!(opened, Opened::SetAside(_)), "{opened:?}");
    let state = store.group("global/0").unwrap();
    assert_eq!(state.position().unwrap(), Position::default());
    assert!(dir.path().join("sled.aside").is_dir());
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

/// sled would keep all of them, whatever its limit is.
#[test]
fn large_values_do_not_stay_in_memory() {
    const VALUES: u16 = 128;
    const VALUE_BYTES: usize = 4 * 1024 * 1024;
    const RESIDENT_BYTES_MAX: usize = 160 * 1024 * 1024;
    let key = |nth: u16| [&[1], nth.to_be_bytes().as_slice()].concat();
    let value = |nth: u16| Bytes::from(vec![nth.to_le_bytes()[0]; VALUE_BYTES]);
    let dir = tempfile::tempdir().unwrap();
    for opened in [Opened::Fresh, Opened::Kept] {
        let (store, found) = open(dir.path());
        assert_eq!(found, opened);
        let state = store.group("region/a/0").unwrap();
        for nth in 0..VALUES {
            if opened == Opened::Fresh {
                let entries = vec![(key(nth), Some(value(nth)))];
                state.write(&Writes { entries }, &position(1)).unwrap();
            }
            assert!(state.get(&key(nth)).unwrap() == Some(value(nth)));
        }
        let resident = resident_bytes();
        assert!(
            resident < RESIDENT_BYTES_MAX,
            "{resident} bytes are resident"
        );
        store.close().unwrap();
    }
}

/// How many values have files of their own.
fn files(dir: &Path) -> usize {
    let trees = fs::read_dir(dir.join("values")).unwrap();
    let files = trees.map(|tree| fs::read_dir(tree.unwrap().path()).unwrap().count());
    files.sum()
}

#[test]
fn files_go_with_the_values_that_needed_them() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let state = store.group("region/a/0").unwrap();
    let large = vec![7; 100_000];
    let (one, two) = (b"\x01one".as_slice(), b"\x01two".as_slice());
    for key in [one, two] {
        state.write(&put(key, &large), &position(1)).unwrap();
        state.flush().unwrap();
    }
    assert_eq!(files(dir.path()), 2, "one for each key");
    // The same again, as when the log is applied again after a crash.
    state.write(&put(one, &large), &position(2)).unwrap();
    state.flush().unwrap();
    assert_eq!(state.get(one).unwrap(), Some(Bytes::from(large)));
    assert_eq!(files(dir.path()), 2);
    state.write(&put(one, b"small"), &position(3)).unwrap();
    state.flush().unwrap();
    assert_eq!(files(dir.path()), 1);
    let entries = vec![(two.to_vec(), None)];
    state.write(&Writes { entries }, &position(4)).unwrap();
    state.flush().unwrap();
    assert_eq!(files(dir.path()), 0);
    assert_eq!(state.get(one).unwrap(), Some(Bytes::from_static(b"small")));
    state
        .replace(
            [Ok::<_, StorageError>((
                Bytes::copy_from_slice(two),
                Bytes::from(vec![1; 50_000]),
            ))],
            &position(5),
        )
        .unwrap();
    assert_eq!(
        state.get(two).unwrap().map(|value| value.len()),
        Some(50_000)
    );
    assert_eq!(files(dir.path()), 1, "those of the old tree are gone");
}

#[test]
fn a_state_of_a_newer_level_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let level = |level| Position {
        level,
        ..position(4)
    };
    let state = store.group("global/0").unwrap();
    state.write(&put(b"\x01k", b"v"), &level(LEVEL)).unwrap();
    state.flush().unwrap();
    assert_eq!(
        store.group("global/0").unwrap().position().unwrap(),
        level(LEVEL)
    );
    state
        .write(&put(b"\x01k", b"w"), &level(LEVEL + 1))
        .unwrap();
    state.flush().unwrap();
    let refused = store.group("global/0").unwrap_err();
    assert!(
        matches!(refused, StorageError::NewerState { level } if level == LEVEL + 1),
        "{refused}"
    );
}
