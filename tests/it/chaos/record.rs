//! What happened in one round, by tag, and whether it could have.
//!
//! A tag takes a few hundred operations; then the clients go on with a new one,
//! since what a check costs grows with the length of a history.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use entrepot_harness::Operation;
use entrepot_harness::linearizable::{Verdict, check, minimal};

/// Tags that are in use at a time.
const SLOTS: usize = 5;
const OPERATIONS_PER_KEY: usize = 200;

/// One tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    round: u64,
    slot: usize,
    generation: usize,
}

#[derive(Debug)]
pub(crate) struct Record {
    round: u64,
    started: Instant,
    stopped: AtomicBool,
    last_value: AtomicU64,
    /// By digest.
    values: Mutex<HashMap<String, u64>>,
    /// Operations that were begun, by slot.
    begun: Mutex<[usize; SLOTS]>,
    histories: Mutex<BTreeMap<Key, Vec<Operation>>>,
    /// How often there was which answer.
    answers: Mutex<BTreeMap<String, u64>>,
}

/// What was checked.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Checked {
    pub(crate) keys: usize,
    pub(crate) operations: usize,
    /// Writes that got no answer.
    pub(crate) unknown: usize,
    /// Configurations that the checks tried.
    pub(crate) steps: u64,
}

// === impl Record ===

impl Record {
    pub(crate) fn new(round: u64) -> Self {
        Self {
            round,
            started: Instant::now(),
            stopped: AtomicBool::new(false),
            last_value: AtomicU64::new(0),
            values: Mutex::default(),
            begun: Mutex::default(),
            histories: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A number that no tag had before.
    pub(crate) fn new_value(&self) -> u64 {
        self.last_value.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn note_digest(&self, digest: &str, value: u64) {
        lock(&self.values).insert(digest.to_owned(), value);
    }

    /// # Errors
    /// When nobody pushed that.
    pub(crate) fn value_of(&self, digest: &str) -> Result<u64> {
        let found = lock(&self.values).get(digest).copied();
        found.with_context(|| format!("a tag was {digest}, which nobody pushed in this round"))
    }

    /// The tag for one more operation.
    pub(crate) fn next_key(&self, random: u64) -> Key {
        let slot = usize::try_from(random % SLOTS as u64).unwrap_or(0);
        let mut begun = lock(&self.begun);
        let generation = begun[slot] / OPERATIONS_PER_KEY;
        begun[slot] += 1;
        Key {
            round: self.round,
            slot,
            generation,
        }
    }

    /// Every tag that has a history.
    pub(crate) fn keys(&self) -> Vec<Key> {
        lock(&self.histories).keys().copied().collect()
    }

    pub(crate) fn add(&self, key: Key, operation: Operation) {
        lock(&self.histories)
            .entry(key)
            .or_default()
            .push(operation);
    }

    pub(crate) fn count(&self, answer: &str) {
        *lock(&self.answers).entry(answer.to_owned()).or_default() += 1;
    }

    /// How often there was which answer, for people.
    pub(crate) fn answers(&self) -> String {
        let answers = lock(&self.answers);
        let answers = answers
            .iter()
            .map(|(what, count)| format!("{what}: {count}"));
        answers.collect::<Vec<_>>().join(", ")
    }

    /// Checks the history of every tag.
    ///
    /// # Errors
    /// When one is not linearizable, or could not be decided: it is in `folder`
    /// then, and what there is to see of it is in the error.
    pub(crate) fn check(&self, folder: &Path) -> Result<Checked> {
        let mut checked = Checked::default();
        for (key, history) in &*lock(&self.histories) {
            match check(history) {
                Verdict::Linearizable { steps } => checked.steps += steps,
                Verdict::Undecided => {
                    let path = save(folder, *key, history)?;
                    bail!("the history of {key} could not be decided: {path}");
                }
                Verdict::Violation => {
                    let path = save(folder, *key, history)?;
                    let lines: Vec<String> =
                        minimal(history).iter().map(ToString::to_string).collect();
                    bail!(
                        "the history of {key} is not linearizable; {} operations, in {path}.\n\
                         These alone cannot have happened:\n{}",
                        history.len(),
                        lines.join("\n")
                    );
                }
            }
            checked.keys += 1;
            checked.operations += history.len();
            checked.unknown += history.iter().filter(|one| one.is_unknown()).count();
        }
        Ok(checked)
    }
}

/// One operation a line.
fn save(folder: &Path, key: Key, history: &[Operation]) -> Result<String> {
    let path = folder.join(format!("{key}.jsonl"));
    let lines: Vec<String> = history
        .iter()
        .map(|one| one.to_json().to_string())
        .collect();
    fs::write(&path, lines.join("\n")).with_context(|| format!("write {}", path.display()))?;
    Ok(path.display().to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}-s{}-{}", self.round, self.slot, self.generation)
    }
}

impl Checked {
    pub(crate) fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.operations += other.operations;
        self.unknown += other.unknown;
        self.steps += other.steps;
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations on {} tags, {} of them without an answer; {} steps to check them",
            self.operations, self.keys, self.unknown, self.steps
        )
    }
}
