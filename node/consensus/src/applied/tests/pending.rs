//! What waits for the tree: readers see no difference, and a kill takes it and
//! nothing else.

use proptest::prelude::{any, prop, proptest};
use proptest::test_runner::Config;

use super::*;

/// Entries that no batch is waited for with.
const ENTRIES: u64 = 32;

fn key(number: u64) -> Vec<u8> {
    [b"\x01", number.to_be_bytes().as_slice()].concat()
}

proptest! {
    #![proptest_config(Config { cases: 24, max_shrink_iters: 100, failure_persistence: None, ..Config::default() })]

    #[test]
    fn readers_see_no_difference(
        entries in prop::collection::vec((writes(), any::<bool>()), 1..12),
        looks in prop::collection::vec((0..2000_u16, 0..2000_u16, 0..300_usize), 1..12),
    ) {
        let store = Temporary::in_memory();
        let mut model = MemoryState::new();
        for (changes, flushed) in &entries {
            store.state.write(&batch(changes), &position(1)).unwrap();
            if *flushed {
                store.state.flush().unwrap();
            }
            model.apply_writes(&batch(changes));
            for (start, end, limit) in &looks {
                let key = |number: &u16| [[1].as_slice(), &number.to_be_bytes()].concat();
                let (start, end) = (key(start), key(end));
                assert_eq!(store.get(&start).unwrap(), model.get(&start).unwrap());
                assert_eq!(
                    store.scan(&start, &end, *limit).unwrap(),
                    model.scan(&start, &end, *limit).unwrap()
                );
            }
        }
    }
}

#[test]
fn a_kill_takes_what_waits_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let state = store.group("global/0").unwrap();
    for index in 1..=ENTRIES + 5 {
        state
            .write(&put(&key(index), b"v"), &position(index))
            .unwrap();
    }
    assert_eq!(state.position().unwrap(), position(ENTRIES + 5));
    drop((state, store));

    let (store, opened) = open(dir.path());
    assert_eq!(opened, Opened::Kept);
    let state = store.group("global/0").unwrap();
    assert_eq!(state.position().unwrap(), position(ENTRIES));
    let there = state.scan(&[1], &[2], 99).unwrap();
    assert_eq!(there.len() as u64, ENTRIES);
    assert_eq!(state.get(&key(ENTRIES + 1)).unwrap(), None);
}

#[test]
fn a_stop_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let state = store.group("global/0").unwrap();
    state.write(&put(&key(1), b"v"), &position(1)).unwrap();
    store.close().unwrap();
    drop((state, store));
    let (store, _) = open(dir.path());
    let state = store.group("global/0").unwrap();
    assert_eq!(state.position().unwrap(), position(1));
    assert!(state.get(&key(1)).unwrap().is_some());
}

#[test]
fn much_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let state = store.group("global/0").unwrap();
    let large = vec![7; 256 * 1024];
    state.write(&put(&key(1), &large), &position(1)).unwrap();
    drop((state, store));
    let (store, _) = open(dir.path());
    let state = store.group("global/0").unwrap();
    assert_eq!(state.position().unwrap(), position(1));
    assert_eq!(state.get(&key(1)).unwrap(), Some(Bytes::from(large)));
}

#[test]
fn what_waits_is_not_of_a_state_that_takes_its_place() {
    let store = Temporary::in_memory();
    store
        .state
        .write(&put(&key(1), b"v"), &position(1))
        .unwrap();
    let nothing = Vec::<Result<_, StorageError>>::new();
    store.state.replace(nothing, &position(9)).unwrap();
    assert_eq!(store.get(&key(1)).unwrap(), None);
    assert_eq!(store.state.position().unwrap(), position(9));
}
