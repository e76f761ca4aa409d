//! What a command costs the store, and where the cost of one is bounded.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::{Machine, account, digest, image, rule};
use crate::apply::apply;
use crate::command::{DeleteRule, Envelope};
use crate::keys;
use crate::limits::SWEEP_TASKS_MAX;
use crate::query::{self, Destination, TaskKey, TaskState};
use crate::records::TaskRecord;
use crate::response::{Outcome, RulesChanged};
use crate::store::{KeyValue, MemoryState, StorageError, Writes};

/// Counts what is read.
#[derive(Debug)]
struct Counted<'a> {
    state: &'a MemoryState,
    gets: AtomicUsize,
    scans: AtomicUsize,
}

// === impl Counted ===

impl KeyValue for Counted<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.state.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        self.state.scan(start, end, limit)
    }
}

#[test]
fn a_push_costs_a_few_point_reads() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    let counted = Counted {
        state: &machine.state,
        gets: AtomicUsize::new(0),
        scans: AtomicUsize::new(0),
    };
    let push = image(10, &[1, 2, 3], &["v1"]);
    let envelope = Envelope::new([7; 16], push.into()).to_bytes();
    let (writes, _) = apply(&counted, 100, &envelope).unwrap();
    // Envelope, slot, repository, manifest, tag, task; one for each blob.
    assert_eq!(counted.gets.into_inner(), 6 + 3);
    // The rules.
    assert_eq!(counted.scans.into_inner(), 1);
    // Envelope, slot, manifest, content, tag both ways, task both ways; one for
    // each blob.
    assert_eq!(writes.len(), 8 + 3);
}

#[test]
fn a_change_of_rules_looks_at_so_many_tasks_and_says_if_more_are_open() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    let record = TaskRecord {
        sequence: 1,
        created_at_ms: 1,
        state: TaskState::InProgress.into(),
        ..TaskRecord::default()
    };
    let record = Bytes::from(prost::Message::encode_to_vec(&record));
    let mut entries = Vec::new();
    for number in 0..=SWEEP_TASKS_MAX {
        let key = TaskKey {
            account: account(),
            repository: super::app(),
            digest: digest(10),
            tag: Some(super::tag(&format!("t{number}"))),
            destination: Destination::new(&super::region("eu-west-1"), &account()),
        };
        entries.push((keys::task(&key).into_bytes(), Some(record.clone())));
        entries.push((keys::outbox(1, &key).into_bytes(), Some(Bytes::new())));
    }
    machine.state.apply_writes(&Writes { entries });

    let command = DeleteRule::new(&account(), "a");
    let envelope = Envelope::new([7; 16], command.into()).to_bytes();
    let (writes, response) = apply(&machine.state, 100, &envelope).unwrap();
    machine.state.apply_writes(&writes);
    let expected = RulesChanged {
        replaced: false,
        tasks_dropped: SWEEP_TASKS_MAX as u64,
        tasks_left: true,
    };
    assert_eq!(response.outcome, Some(Outcome::RulesChanged(expected)));
    assert_eq!(
        query::open_tasks(&machine.state, 0, usize::MAX)
            .unwrap()
            .len(),
        1
    );
}
