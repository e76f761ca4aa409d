//! Random histories of three groups, with reopening anywhere, must leave the
//! log equal to the simplest model of it.

use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;

use super::super::{Ballot, EntryId, GroupLog, LogEntry, RaftLog};
use super::{SMALL, all, append, disk, id};
use bytes::Bytes;

const GROUPS: [&str; 3] = ["global/0", "region/a/0", "region/b/0"];

#[derive(Debug, Clone)]
enum Step {
    Append(usize, u8, u16),
    Vote(usize, u64, bool),
    Committed(usize),
    Truncate(usize, u8),
    Purge(usize, u8),
    PurgeBeyond(usize, u8),
    Reopen,
    /// As a kill would leave it: nothing flushed, only what was written.
    ReopenUnclosed,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Model {
    term: u64,
    vote: Option<Ballot>,
    committed: Option<EntryId>,
    purged: Option<EntryId>,
    last: Option<EntryId>,
    entries: BTreeMap<u64, LogEntry>,
}

fn step() -> impl Strategy<Value = Step> {
    let group = 0..GROUPS.len();
    prop_oneof![
        6 => (group.clone(), 1..6_u8, 0..200_u16).prop_map(|(g, n, len)| Step::Append(g, n, len)),
        2 => (group.clone(), any::<u64>(), any::<bool>()).prop_map(|(g, t, c)| Step::Vote(g, t, c)),
        2 => group.clone().prop_map(Step::Committed),
        2 => (group.clone(), 0..8_u8).prop_map(|(g, back)| Step::Truncate(g, back)),
        2 => (group.clone(), 0..20_u8).prop_map(|(g, forward)| Step::Purge(g, forward)),
        1 => (group, 1..5_u8).prop_map(|(g, beyond)| Step::PurgeBeyond(g, beyond)),
        2 => Just(Step::Reopen),
        1 => Just(Step::ReopenUnclosed),
    ]
}

impl Model {
    fn append(&mut self, count: u8, bytes: u16) -> Vec<LogEntry> {
        self.term += 1;
        let mut appended = Vec::new();
        for _ in 0..count {
            let index = self.last.map_or(0, |last| last.index + 1);
            let entry = LogEntry {
                id: id(self.term, index),
                payload: Bytes::from(vec![index.to_le_bytes()[0]; usize::from(bytes)]),
            };
            self.last = Some(entry.id);
            self.entries.insert(index, entry.clone());
            appended.push(entry);
        }
        appended
    }

    fn truncate(&mut self, back: u8) -> Option<u64> {
        let after = self.last?.index.checked_sub(u64::from(back));
        self.entries
            .retain(|index, _| after.is_some_and(|after| *index <= after));
        let kept = self.entries.last_key_value().map(|(_, entry)| entry.id);
        self.last = kept.or(self.purged);
        after
    }

    fn purge(&mut self, upto: EntryId) {
        self.entries.retain(|index, _| *index > upto.index);
        self.purged = Some(upto);
        if self.entries.is_empty() {
            self.last = Some(upto);
        }
    }

    fn of(log: &GroupLog, term: u64) -> Self {
        let (purged, last) = log.bounds();
        Self {
            term,
            vote: log.vote(),
            committed: log.committed(),
            purged,
            last,
            entries: all(log)
                .into_iter()
                .map(|entry| (entry.id.index, entry))
                .collect(),
        }
    }
}

fn perform(step: &Step, log: &RaftLog, models: &mut [Model]) {
    match *step {
        Step::Append(group, count, bytes) => {
            let entries = models[group].append(count, bytes);
            append(&log.group(GROUPS[group]), entries);
        }
        Step::Vote(group, term, committed) => {
            let vote = Ballot {
                term,
                node: 2,
                committed,
            };
            models[group].vote = Some(vote);
            log.group(GROUPS[group]).save_vote(vote, Box::new(|_| {}));
        }
        Step::Committed(group) => {
            models[group].committed = models[group].last;
            let log = log.group(GROUPS[group]);
            log.save_committed(models[group].last).unwrap();
        }
        Step::Truncate(group, back) => {
            if models[group].last.is_some() {
                let after = models[group].truncate(back);
                log.group(GROUPS[group]).truncate_after(after).unwrap();
            }
        }
        Step::Purge(group, forward) => {
            let at = usize::from(forward).min(models[group].entries.len());
            let upto = models[group].entries.values().nth(at).map(|entry| entry.id);
            if let Some(upto) = upto {
                models[group].purge(upto);
                log.group(GROUPS[group]).purge(upto).unwrap();
            }
        }
        Step::PurgeBeyond(group, beyond) => {
            let model = &mut models[group];
            let index = model.last.map_or(0, |last| last.index) + u64::from(beyond);
            let upto = id(model.term, index);
            model.purge(upto);
            log.group(GROUPS[group]).purge(upto).unwrap();
        }
        Step::Reopen | Step::ReopenUnclosed => {}
    }
}

proptest! {
    #![proptest_config(Config { cases: 48, max_shrink_iters: 300, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_log_equals_the_model(steps in prop::collection::vec(step(), 1..80)) {
        let dir = quick_dir();
        let mut models = vec![Model::default(); GROUPS.len()];
        let mut log = RaftLog::open(&disk(), dir.path(), SMALL).unwrap();
        for step in &steps {
            perform(step, &log, &mut models);
            match step {
                Step::Reopen => {
                    drop(log);
                    log = RaftLog::open(&disk(), dir.path(), SMALL).unwrap();
                }
                Step::ReopenUnclosed => {
                    super::settle(&log.group("settle"));
                    let copy = copy_of(dir.path());
                    let copied = RaftLog::open(&disk(), copy.path(), SMALL).unwrap();
                    compare(&copied, &models);
                }
                _ => {}
            }
            compare(&log, &models);
        }
        assert_eq!(log.failure(), None);
    }
}

fn compare(log: &RaftLog, models: &[Model]) {
    for (name, model) in GROUPS.iter().zip(models) {
        assert_eq!(&Model::of(&log.group(name), model.term), model, "{name}");
    }
}

/// The files as a kill now would leave them. Segments may go meanwhile.
fn copy_of(dir: &std::path::Path) -> tempfile::TempDir {
    loop {
        let copy = quick_dir();
        let copied = super::segments(dir).iter().try_for_each(|path| {
            let to = copy.path().join(path.file_name().unwrap());
            std::fs::copy(path, to).map(|_| ())
        });
        if copied.is_ok() {
            return copy;
        }
    }
}

/// Thousands of syncs: in memory where the machine has such a file system.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}
