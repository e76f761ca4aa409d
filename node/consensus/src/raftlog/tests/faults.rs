//! Random histories on files that fail, with kills and power cuts in between.
//!
//! Whatever happens, what a start finds is the history up to some record, and
//! that record is none before the last acknowledged one. A log that failed
//! writes nothing more. A round depends on its seed alone:
//! `ENTREPOT_SEED=<seed> cargo test -p entrepot-consensus raftlog::tests::faults`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::super::{Ballot, EntryId, GroupLog, LogEntry, LogError, RaftLog};
use super::{SMALL, id};
use crate::files::{Draw, Fault, Faults, FaultyFiles, Files, MemoryFiles, Operation};

const ROUNDS: u64 = 400;
const LIVES: usize = 6;
const STEPS: usize = 60;
const GROUPS: [&str; 2] = ["global/0", "region/a/0"];

const KINDS: &[(Operation, Fault)] = &[
    (Operation::Write, Fault::Broken),
    (Operation::Write, Fault::Full),
    (Operation::Write, Fault::Short),
    (Operation::Write, Fault::Torn),
    (Operation::Write, Fault::TornFull),
    (Operation::Sync, Fault::Broken),
    (Operation::Create, Fault::Full),
    (Operation::SyncDirectory, Fault::Broken),
    (Operation::Remove, Fault::Broken),
    (Operation::Read, Fault::Broken),
    (Operation::Read, Fault::Short),
    (Operation::Open, Fault::Broken),
    (Operation::List, Fault::Broken),
    (Operation::SetLength, Fault::Broken),
];

/// One group, as the simplest log would have it.
#[derive(Debug, Default, Clone, PartialEq)]
struct Group {
    vote: Option<Ballot>,
    purged: Option<EntryId>,
    last: Option<EntryId>,
    entries: BTreeMap<u64, LogEntry>,
}

type State = [Group; GROUPS.len()];

/// The history of one life: the state after each record.
struct History {
    states: Vec<State>,
    /// The last state that somebody was promised.
    promised: usize,
    term: u64,
}

/// Says which round it was, should it fail.
struct Round(u64);

impl Drop for Round {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the round of ENTREPOT_SEED={} failed", self.0);
        }
    }
}

// === impl History ===

impl History {
    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    fn record(&mut self, group: usize, change: impl FnOnce(&mut Group)) {
        let mut state = self.now().clone();
        change(&mut state[group]);
        self.states.push(state);
    }

    /// The next entries of a group.
    fn append(&mut self, group: usize, draw: &mut Draw) -> Vec<LogEntry> {
        self.term += 1;
        let first = self.now()[group].last.map_or(0, |last| last.index + 1);
        let count = 1 + draw.below(4) as u64;
        let entries = (first..first + count).map(|index| LogEntry {
            id: id(self.term, index),
            payload: Bytes::from(vec![index.to_le_bytes()[0]; draw.below(150)]),
        });
        let entries: Vec<_> = entries.collect();
        for entry in &entries {
            self.record(group, |group| {
                group.last = Some(entry.id);
                group.entries.insert(entry.id.index, entry.clone());
            });
        }
        entries
    }

    fn truncate(&mut self, group: usize, back: u64) -> Option<u64> {
        let first = self.now()[group].entries.first_key_value()?.0;
        let last = self.now()[group].last?.index;
        let after = last.checked_sub(back).filter(|after| after >= first)?;
        self.record(group, |group| {
            group.entries.retain(|index, _| *index <= after);
            group.last = group.entries.last_key_value().map(|(_, entry)| entry.id);
        });
        Some(after)
    }

    fn purge(&mut self, group: usize, draw: &mut Draw) -> Option<EntryId> {
        let entries = &self.now()[group].entries;
        let upto = entries.values().nth(draw.below(entries.len()))?.id;
        self.record(group, |group| {
            group.entries.retain(|index, _| *index > upto.index);
            group.purged = Some(upto);
            group.last = group.last.max(Some(upto));
        });
        Some(upto)
    }
}

fn found(log: &RaftLog) -> Result<State, LogError> {
    let mut state = State::default();
    for (group, name) in state.iter_mut().zip(GROUPS) {
        let log = log.group(name);
        let (purged, last) = log.bounds();
        let entries = log.read(0..u64::MAX, usize::MAX)?;
        *group = Group {
            vote: log.vote(),
            purged,
            last,
            entries: entries.into_iter().map(|e| (e.id.index, e)).collect(),
        };
    }
    Ok(state)
}

/// Waits for what the callback says; not for more than one that never comes.
async fn outcome(start: impl FnOnce(super::super::shared::Done) -> Result<(), LogError>) -> bool {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let done = Box::new(move |result: std::io::Result<()>| sender.send(result.is_ok()).unwrap());
    match start(done) {
        Ok(()) => receiver.await.unwrap(),
        Err(error) => {
            assert!(matches!(error, LogError::Poisoned { .. }), "{error}");
            false
        }
    }
}

/// One step; false once the log has failed.
async fn step(log: &GroupLog, group: usize, history: &mut History, draw: &mut Draw) -> bool {
    match draw.below(10) {
        0..=4 => {
            let entries = history.append(group, draw);
            if !outcome(|done| log.append(entries, done)).await {
                return false;
            }
            history.promised = history.states.len() - 1;
        }
        5 => {
            history.term += 1;
            let vote = Ballot {
                term: history.term,
                node: draw.below(3) as u64,
                committed: draw.below(2) == 0,
            };
            history.record(group, |group| group.vote = Some(vote));
            let save = |done| {
                log.save_vote(vote, done);
                Ok(())
            };
            if !outcome(save).await {
                return false;
            }
            history.promised = history.states.len() - 1;
        }
        6 => {
            if let Some(after) = history.truncate(group, 1 + draw.below(4) as u64) {
                return log.truncate_after(Some(after)).is_ok();
            }
        }
        7 => {
            if let Some(upto) = history.purge(group, draw) {
                return log.purge(upto).is_ok();
            }
        }
        _ => {
            // An error or the truth.
            if let Ok(entries) = log.read(0..u64::MAX, usize::MAX) {
                let expected = history.now()[group].entries.values();
                assert!(entries.iter().eq(expected), "a wrong answer");
            }
        }
    }
    true
}

/// Opens the log, which may fail as often as the files do, and says what is in
/// it by the end.
fn open(files: &Arc<dyn Files>, faults: &Faults) -> (RaftLog, State) {
    let dir = Path::new("/data/log");
    for _ in 0..3 {
        match RaftLog::open(files, dir, SMALL) {
            Ok(log) => match found(&log) {
                Ok(state) => return (log, state),
                Err(error) => assert!(matches!(error, LogError::Io { .. }), "{error}"),
            },
            // No fault may be taken for damage, which an operator has to mend.
            Err(error) => assert!(matches!(error, LogError::Io { .. }), "{error}"),
        }
    }
    faults.clear();
    let log = RaftLog::open(files, dir, SMALL).unwrap();
    let state = found(&log).unwrap();
    (log, state)
}

async fn round(seed: u64) -> u64 {
    let mut draw = Draw::new(seed);
    let (memory, faults) = (MemoryFiles::new(), Faults::default());
    let files: Arc<dyn Files> =
        Arc::new(FaultyFiles::new(Arc::new(memory.clone()), faults.clone()));
    let mut history = History {
        states: vec![State::default()],
        promised: 0,
        term: 0,
    };
    let mut hits = 0;
    for life in 0..LIVES {
        let (log, state) = open(&files, &faults);
        let kept = history.states.iter().rposition(|known| *known == state);
        let kept = kept.expect("what is found has been there at some time");
        assert!(
            kept >= history.promised,
            "life {life}: a promise was broken"
        );
        history.states = vec![state];
        history.promised = 0;

        faults.clear();
        let one_in = 10 + draw.below(200);
        faults.draw(seed ^ life as u64, one_in, KINDS);
        for _ in 0..STEPS {
            let group = draw.below(GROUPS.len());
            if !step(&log.group(GROUPS[group]), group, &mut history, &mut draw).await {
                let refused = log.group(GROUPS[group]).truncate_after(None);
                assert!(matches!(refused, Err(LogError::Poisoned { .. })));
                assert_eq!(
                    faults.changes_after_failure(),
                    0,
                    "it wrote after a failure"
                );
                break;
            }
        }
        hits += faults.hits();
        match draw.below(3) {
            0 => memory.crash(),
            1 => memory.crash_keeping_some(draw.below(usize::MAX) as u64),
            // A kill: all that was written is still in the page cache.
            _ => {}
        }
        drop(log);
    }
    hits
}

fn run(seed: u64) -> u64 {
    let _round = Round(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(round(seed))
}

#[test]
fn no_fault_breaks_a_promise() {
    if let Ok(seed) = std::env::var("ENTREPOT_SEED") {
        run(seed.parse().unwrap());
        return;
    }
    let hits: u64 = (0..ROUNDS).map(run).sum();
    assert!(hits > ROUNDS, "only {hits} faults in {ROUNDS} rounds");
}
