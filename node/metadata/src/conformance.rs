//! What every [`KeyValue`] has to do, as one test body.
//!
//! Run over the map in memory here and over the store of a node where that is
//! implemented. Panics at the first difference, as tests do.

mod script;

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;

use crate::apply::apply;
use crate::invariants;
use crate::keys;
use crate::store::{KeyValue, MemoryState, StorageError, Writes};

/// A store under test.
pub trait Store: KeyValue {
    /// Applies a batch, all of it or nothing.
    fn write(&mut self, writes: &Writes) -> Result<(), StorageError>;
}

impl Store for MemoryState {
    fn write(&mut self, writes: &Writes) -> Result<(), StorageError> {
        self.apply_writes(writes);
        Ok(())
    }
}

/// Runs everything; `make` gives an empty store each time.
///
/// # Panics
/// When the store does something else than it should.
pub fn run<S: Store>(make: impl Fn() -> S) {
    an_empty_store_has_nothing(&make());
    a_batch_puts_replaces_and_deletes(make());
    keys_are_ordered_by_their_bytes(make());
    a_scan_has_a_start_an_end_and_a_limit(make());
    large_values_are_kept_whole(make());
    it_does_what_a_map_does(make());
    the_state_machine_leaves_the_same_state(make());
}

fn an_empty_store_has_nothing(store: &impl Store) {
    assert_eq!(ok(store.get(&[1])), None);
    assert_eq!(ok(store.scan(&[], &[0xff], 10)), []);
}

fn a_batch_puts_replaces_and_deletes(mut store: impl Store) {
    put(&mut store, &[(&[1], Some("a")), (&[2], Some("b"))]);
    put(
        &mut store,
        &[
            (&[1], Some("")),
            (&[2], None),
            (&[3], None),
            (&[4], Some("d")),
        ],
    );
    // No value is not the same as no pair.
    assert_eq!(ok(store.get(&[1])), Some(Bytes::new()));
    assert_eq!(ok(store.get(&[2])), None);
    assert_eq!(ok(store.get(&[3])), None);
    assert_eq!(ok(store.get(&[4])), Some(Bytes::from("d")));
    put(&mut store, &[]);
    assert_eq!(ok(store.scan(&[], &[0xff], 10)).len(), 2);
}

fn keys_are_ordered_by_their_bytes(mut store: impl Store) {
    let ordered: [&[u8]; 8] = [
        &[1],
        &[1, 0],
        &[1, 0, 0],
        &[1, 0, 0xff],
        &[1, 1],
        &[1, 0x7f],
        &[1, 0x80],
        &[1, 0xff, 0xff],
    ];
    for key in ordered.iter().rev() {
        put(&mut store, &[(key, Some("value"))]);
    }
    let found: Vec<_> = ok(store.scan(&[1], &[2], 100))
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(found, ordered);
}

fn a_scan_has_a_start_an_end_and_a_limit(mut store: impl Store) {
    for key in 10..20 {
        put(&mut store, &[(&[key], Some("value"))]);
    }
    let scan = |start: u8, end: u8, limit| -> Vec<u8> {
        ok(store.scan(&[start], &[end], limit))
            .into_iter()
            .map(|(key, _)| key[0])
            .collect()
    };
    assert_eq!(scan(12, 15, 100), [12, 13, 14]);
    assert_eq!(scan(0, 0xff, 3), [10, 11, 12]);
    assert_eq!(scan(18, 0xff, 3), [18, 19]);
    assert_eq!(scan(12, 15, usize::MAX), [12, 13, 14]);
    assert_eq!(scan(12, 15, 0), [0_u8; 0]);
    assert_eq!(scan(12, 12, 10), [0_u8; 0]);
    assert_eq!(scan(15, 12, 10), [0_u8; 0]);
    assert_eq!(scan(30, 40, 10), [0_u8; 0]);
}

fn large_values_are_kept_whole(mut store: impl Store) {
    let value = Bytes::from(vec![0xa5; 4 * 1024 * 1024]);
    let writes = Writes {
        entries: vec![(vec![1; 1024], Some(value.clone()))],
    };
    ok(store.write(&writes));
    assert_eq!(ok(store.get(&[1; 1024])), Some(value));
}

fn it_does_what_a_map_does(mut store: impl Store) {
    let mut map = BTreeMap::<Vec<u8>, Bytes>::new();
    let mut random = Random(1);
    for _ in 0..300 {
        // A batch names each key once.
        let mut batch = BTreeMap::new();
        for _ in 0..random.below(8) {
            let value = random.below(4);
            let value = (value > 0).then(|| Bytes::from(vec![0; random.below(100)]));
            batch.insert(random.key(), value);
        }
        for (key, value) in &batch {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        let entries = batch.into_iter().collect();
        ok(store.write(&Writes { entries }));

        let key = random.key();
        assert_eq!(ok(store.get(&key)), map.get(&key).cloned());
        let (start, end) = (random.key(), random.key());
        let limit = random.below(20);
        let expected: Vec<(Bytes, Bytes)> = map
            .iter()
            .filter(|(key, _)| (&start..&end).contains(key))
            .take(limit)
            .map(|(key, value)| (Bytes::from(key.clone()), value.clone()))
            .collect();
        assert_eq!(ok(store.scan(&start, &end, limit)), expected);
    }
}

fn the_state_machine_leaves_the_same_state(mut store: impl Store) {
    let mut memory = MemoryState::new();
    for (index, envelope) in (1..).zip(script::envelopes()) {
        let (writes, response) = ok(apply(&memory, index, &envelope));
        let (same_writes, same_response) = ok(apply(&store, index, &envelope));
        assert_eq!(same_writes, writes, "entry {index}");
        assert_eq!(same_response, response, "entry {index}");
        memory.apply_writes(&writes);
        ok(store.write(&writes));
    }
    let all = ok(memory.scan(&[keys::FIRST], &[0xff], usize::MAX));
    assert_eq!(ok(store.scan(&[keys::FIRST], &[0xff], usize::MAX)), all);
    assert_eq!(invariants::check(&store), invariants::check(&memory));
    assert!(invariants::check(&memory).is_ok_and(|summary| summary.open_tasks > 0));
}

fn put(store: &mut impl Store, entries: &[(&[u8], Option<&'static str>)]) {
    let entries = entries
        .iter()
        .map(|(key, value)| (key.to_vec(), value.map(Bytes::from)))
        .collect();
    ok(store.write(&Writes { entries }));
}

fn ok<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the store failed: {error:?}"),
    }
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

// === impl Random ===

impl Random {
    /// Less than `bound`, which must be small and not 0.
    fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX generator; its high bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let high = usize::from((self.0 >> 48) as u16);
        high % bound
    }

    /// One of a few short keys, most of which share a prefix with others.
    fn key(&mut self) -> Vec<u8> {
        let length = 1 + self.below(3);
        (0..length)
            .map(|_| [1, 2, 0x7f, 0xff][self.below(4)])
            .collect()
    }
}
