//! Snapshots on files that fail, with power cuts in between.
//!
//! What a start finds is the last snapshot that was promised, or a newer one
//! that was not, and all of it. A round depends on its seed alone:
//! `ENTREPOT_SEED=<seed> cargo test -p entrepot-consensus snapshot::faults`.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use entrepot_metadata::Writes;

use super::{SnapshotError, SnapshotStore, write_pairs};
use crate::applied::{AppliedStore, GroupState};
use crate::files::{Draw, Fault, Faults, FaultyFiles, Files, MemoryFiles, Operation, Stream};
use crate::raftlog::EntryId;
use crate::types::{Position, SnapshotMeta, log_id};

const GROUP: &str = "region/us-east-1/0";
const ROUNDS: u64 = 300;
const LIVES: u64 = 5;
const STEPS: u64 = 6;

const KINDS: &[(Operation, Fault)] = &[
    (Operation::Create, Fault::Full),
    (Operation::Open, Fault::Broken),
    (Operation::Write, Fault::Broken),
    (Operation::Write, Fault::Short),
    (Operation::Write, Fault::TornFull),
    (Operation::Sync, Fault::Broken),
    (Operation::Rename, Fault::Broken),
    (Operation::SyncDirectory, Fault::Broken),
    (Operation::Remove, Fault::Broken),
    (Operation::List, Fault::Broken),
    (Operation::Read, Fault::Broken),
    (Operation::Read, Fault::Short),
];

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

fn pairs(index: u64) -> Vec<(Bytes, Bytes)> {
    let numbers = 0..(index % 7 + 1) * 30;
    let pair = |number: u64| {
        let key = [&[1], &number.to_be_bytes()[..]].concat();
        (Bytes::from(key), Bytes::from(format!("{index}: {number}")))
    };
    numbers.map(pair).collect()
}

/// As a node makes one of its own state.
fn write(store: &SnapshotStore, state: &GroupState, index: u64) -> Result<(), SnapshotError> {
    let nothing = Vec::<Result<_, SnapshotError>>::new();
    state.replace(nothing, &position(0)).unwrap();
    let entries = pairs(index).into_iter();
    let entries = entries.map(|(key, value)| (key.to_vec(), Some(value)));
    let writes = Writes {
        entries: entries.collect(),
    };
    state.write(&writes, &position(index)).unwrap();
    store.write(&state.freeze().unwrap())
}

/// As a node takes one from another.
fn receive(store: &SnapshotStore, index: u64) -> Result<(), SnapshotError> {
    let staged = store.stage();
    let io = |source| SnapshotError::io(Path::new("staged"), source);
    let handle = staged.create().map_err(io)?;
    write_pairs(Stream::new(handle), GROUP, &position(index), pairs(index)).map_err(io)?;
    let mut file = store.accept(staged, &position(index))?;
    store.install(&mut file, &position(index).meta)
}

/// The current snapshot; fails unless all of it is there.
fn found(store: &SnapshotStore) -> Result<Option<u64>, SnapshotError> {
    let Some((meta, file)) = store.current()? else {
        return Ok(None);
    };
    let index = meta.last_log_id.unwrap().index();
    let read: Result<Vec<_>, _> = file.pairs()?.collect();
    assert!(read? == pairs(index), "a wrong answer");
    Ok(Some(index))
}

/// Opens the snapshots, which may fail as often as the files do.
fn open(files: &Arc<dyn Files>, faults: &Faults) -> (SnapshotStore, Option<u64>) {
    for _ in 0..3 {
        let opened = SnapshotStore::open(files, Path::new("/data"), GROUP);
        match opened.and_then(|store| Ok((found(&store)?, store))) {
            Ok((index, store)) => return (store, index),
            Err(error) => assert!(matches!(error, SnapshotError::Io { .. }), "{error}"),
        }
    }
    faults.clear();
    let store = SnapshotStore::open(files, Path::new("/data"), GROUP).unwrap();
    let index = found(&store).unwrap();
    (store, index)
}

fn round(seed: u64, state: &GroupState) -> u64 {
    let mut draw = Draw::new(seed);
    let (memory, faults) = (MemoryFiles::new(), Faults::default());
    let inner = Arc::new(memory.clone());
    let files: Arc<dyn Files> = Arc::new(FaultyFiles::new(inner, faults.clone()));
    let (mut promised, mut tried, mut hits) = (None, 0, 0);
    for life in 0..LIVES {
        let (store, index) = open(&files, &faults);
        assert!(
            index >= promised && index <= Some(tried),
            "seed {seed}: {index:?}"
        );
        // It has been believed from now on.
        promised = index;
        faults.clear();
        faults.draw(seed ^ life, 5 + draw.below(60), KINDS);
        for _ in 0..STEPS {
            tried += 1;
            let done = if draw.below(2) == 0 {
                write(&store, state, tried)
            } else {
                receive(&store, tried)
            };
            match done {
                Ok(()) => promised = Some(tried),
                // What was read back wrong was written wrong by none of these.
                Err(error) => assert!(!error.is_damage(), "seed {seed}: {error}"),
            }
        }
        hits += faults.hits();
        match draw.below(3) {
            0 => memory.crash(),
            1 => memory.crash_keeping_some(draw.below(usize::MAX) as u64),
            _ => {}
        }
        drop(store);
    }
    hits
}

#[test]
fn no_fault_loses_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (applied, _) = AppliedStore::open(dir.path(), false, None).unwrap();
    let state = applied.group(GROUP).unwrap();
    if let Ok(seed) = std::env::var("ENTREPOT_SEED") {
        round(seed.parse().unwrap(), &state);
        return;
    }
    let hits: u64 = (0..ROUNDS).map(|seed| round(seed, &state)).sum();
    assert!(hits > ROUNDS, "only {hits} faults in {ROUNDS} rounds");
}
