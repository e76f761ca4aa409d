//! What a command costs the store, and where the cost of one is bounded.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::{Machine, account, digest, image, rule};
use crate::apply::apply;
use crate::command::{DeleteRule, Envelope, PutRegistrySettings, QuotasChange};
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

/// How often the state is read for a push, by key and by range, and how many pairs
/// it writes.
fn cost(machine: &Machine) -> [usize; 3] {
    let counted = Counted {
        state: &machine.state,
        gets: AtomicUsize::new(0),
        scans: AtomicUsize::new(0),
    };
    let push = image(10, &[1, 2, 3], &["v1"]);
    let envelope = Envelope::new([7; 16], push.into()).to_bytes();
    let (writes, _) = apply(&counted, 100, &envelope).unwrap();
    let (gets, scans) = (counted.gets.into_inner(), counted.scans.into_inner());
    [gets, scans, writes.len()]
}

#[test]
fn a_push_costs_a_few_point_reads() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    // Envelope, slot, repository, settings, manifest, tag, the count of its tags, task,
    // whether it was deleted before, and whether moves of the tag are remembered; one
    // for each blob.
    let gets = 10 + 3;
    // The rules.
    let scans = 1;
    // Envelope, slot, manifest, content, tag both ways, task both ways; one for
    // each blob.
    let writes = 8 + 3;
    assert_eq!(cost(&machine), [gets, scans, writes]);
    // With quotas, how many there are as well.
    machine.done(PutRegistrySettings {
        quotas: Some(QuotasChange::default()),
        ..PutRegistrySettings::new(&account())
    });
    machine.done(image(11, &[], &[]));
    assert_eq!(cost(&machine), [gets + 1, scans, writes + 1]);
    // With a quota of bytes, what the registry and the repository hold as well.
    machine.done(PutRegistrySettings {
        quotas: Some(QuotasChange {
            bytes: Some(1 << 30),
            ..QuotasChange::default()
        }),
        ..PutRegistrySettings::new(&account())
    });
    machine.done(image(12, &[], &[]));
    assert_eq!(cost(&machine), [gets + 3, scans, writes + 3]);
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
