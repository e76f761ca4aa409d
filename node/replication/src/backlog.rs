//! The tasks that this node has in hand: which run, which wait and until when.
//!
//! Bounded for each destination; what has no room stays in the metadata and is
//! offered again. Lost with the process, which only means that what waited is
//! tried at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_metadata::query::{Task, TaskKey};
use entrepot_oci::RegionName;
use tokio::time::Instant;

/// Tasks in hand for one destination.
const IN_HAND_MAX: usize = 1_024;
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Backlog {
    in_hand: Mutex<BTreeMap<RegionName, BTreeMap<TaskId, Entry>>>,
}

/// Oldest first; the tasks of one push have one sequence.
type TaskId = (u64, TaskKey);

#[derive(Debug)]
struct Entry {
    task: Task,
    failures: u32,
    /// None while it runs.
    due: Option<Instant>,
}

/// One attempt under way. Dropped, it has failed.
#[derive(Debug)]
pub(crate) struct Running {
    backlog: Arc<Backlog>,
    pub(crate) task: Task,
    /// Attempts at this task that have failed before.
    pub(crate) failures: u32,
    ended: bool,
}

// === impl Backlog ===

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RegionName, BTreeMap<TaskId, Entry>>> {
        // The map is whole between any two statements that hold it.
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a task in hand, unless it is already or there is no room. Tasks
    /// that have failed make room for one that has not been tried.
    pub(crate) fn offer(&self, task: Task) {
        let mut in_hand = self.lock();
        let tasks = in_hand
            .entry(task.key.destination.region.clone())
            .or_default();
        let id = id(&task);
        if tasks.contains_key(&id) {
            return;
        }
        if tasks.len() >= IN_HAND_MAX {
            let last = tasks
                .iter()
                .filter(|(_, entry)| entry.failures > 0 && entry.due.is_some())
                .max_by_key(|(_, entry)| entry.due)
                .map(|(id, _)| id.clone());
            let Some(last) = last else { return };
            tasks.remove(&last);
        }
        let entry = Entry {
            task,
            failures: 0,
            due: Some(Instant::now()),
        };
        tasks.insert(id, entry);
    }

    /// Starts the oldest task for `destination` that is due.
    pub(crate) fn begin(self: &Arc<Self>, destination: &RegionName) -> Option<Running> {
        let now = Instant::now();
        let mut in_hand = self.lock();
        let entry = in_hand
            .get_mut(destination)?
            .values_mut()
            .find(|entry| entry.due.is_some_and(|due| due <= now))?;
        entry.due = None;
        Some(Running {
            backlog: Arc::clone(self),
            task: entry.task.clone(),
            failures: entry.failures,
            ended: false,
        })
    }

    /// When the first of the tasks for `destination` that wait is due.
    pub(crate) fn next_due(&self, destination: &RegionName) -> Option<Instant> {
        let in_hand = self.lock();
        let tasks = in_hand.get(destination)?;
        tasks.values().filter_map(|entry| entry.due).min()
    }

    /// Everything that waits is due.
    pub(crate) fn retry_now(&self) {
        let now = Instant::now();
        for entry in self.lock().values_mut().flat_map(BTreeMap::values_mut) {
            entry.due = entry.due.map(|_| now);
        }
    }
}

fn id(task: &Task) -> TaskId {
    (task.sequence, task.key.clone())
}

// === impl Running ===

impl Running {
    /// The task has ended, or is somebody else's.
    pub(crate) fn done(mut self) {
        self.ended = true;
        let mut in_hand = self.backlog.lock();
        if let Some(tasks) = in_hand.get_mut(&self.task.key.destination.region) {
            tasks.remove(&id(&self.task));
        }
    }

    /// The task is to be tried again, after the time that is returned.
    pub(crate) fn failed(mut self) -> Duration {
        self.ended = true;
        self.wait()
    }

    fn wait(&self) -> Duration {
        let delay = backoff(self.failures, self.task.sequence);
        let mut in_hand = self.backlog.lock();
        let tasks = in_hand.get_mut(&self.task.key.destination.region);
        if let Some(entry) = tasks.and_then(|tasks| tasks.get_mut(&id(&self.task))) {
            entry.failures = self.failures.saturating_add(1);
            entry.due = Some(Instant::now() + delay);
        }
        delay
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.wait();
        }
    }
}

/// Doubles with every failure; spread by the task so that many that failed
/// together do not return together.
fn backoff(failures: u32, spread: u64) -> Duration {
    let full = BACKOFF_FIRST
        .saturating_mul(1 << failures.min(16))
        .min(BACKOFF_MAX);
    let percent = u32::try_from(spread.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).unwrap_or(0) % 50;
    full * (75 + percent) / 100
}

#[cfg(test)]
mod tests {
    use entrepot_metadata::query::{Destination, TaskKind, TaskState};
    use entrepot_oci::{Algorithm, Digest};

    use super::*;

    fn west() -> RegionName {
        "eu-west-1".parse().unwrap()
    }

    fn task(sequence: u64) -> Task {
        Task {
            key: TaskKey {
                account: "123456789012".parse().unwrap(),
                repository: "app".parse().unwrap(),
                digest: Digest::of(Algorithm::Sha256, b"app"),
                tag: None,
                destination: Destination::new(&west(), &"123456789012".parse().unwrap()),
            },
            sequence,
            created_at_ms: 0,
            state: TaskState::InProgress,
            ended_at_ms: None,
            reason: None,
            denied: false,
            kind: TaskKind::Copy,
        }
    }

    fn with(sequences: impl IntoIterator<Item = u64>) -> Arc<Backlog> {
        let backlog = Arc::new(Backlog::default());
        for sequence in sequences {
            backlog.offer(task(sequence));
        }
        backlog
    }

    #[test]
    fn backoff_grows_to_its_limit_and_is_spread() {
        for failures in 0..40 {
            let delay = backoff(failures, u64::from(failures) * 31);
            assert!(delay >= BACKOFF_FIRST * 3 / 4);
            assert!(delay <= BACKOFF_MAX * 5 / 4);
        }
        assert!(backoff(10, 1) > backoff(1, 1));
        assert_ne!(backoff(5, 1), backoff(5, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_runs_first_and_no_task_runs_twice() {
        let backlog = with([3, 1, 2, 1]);
        let running: Vec<Running> = std::iter::from_fn(|| backlog.begin(&west())).collect();
        let order: Vec<u64> = running.iter().map(|one| one.task.sequence).collect();
        assert_eq!(order, [1, 2, 3]);
        backlog.offer(task(2));
        assert!(backlog.begin(&west()).is_none());
        for one in running {
            one.done();
        }
        assert_eq!(backlog.next_due(&west()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_fails_waits_longer_each_time() {
        let backlog = with([1]);
        let delay = backlog.begin(&west()).unwrap().failed();
        assert!(backlog.begin(&west()).is_none());
        tokio::time::advance(delay).await;
        // Dropped, as when it panics: that has failed too.
        assert_eq!(backlog.begin(&west()).unwrap().failures, 1);
        assert!(backlog.begin(&west()).is_none());
        backlog.retry_now();
        let last = backlog.begin(&west()).unwrap();
        assert_eq!(last.failures, 2);
        assert!(last.failed() > delay);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_leaves_room_for_what_was_not_tried() {
        let many = IN_HAND_MAX as u64;
        let backlog = with(1..=many + 1);
        let running: Vec<Running> = std::iter::from_fn(|| backlog.begin(&west())).collect();
        assert_eq!(running.len(), IN_HAND_MAX);
        // What runs stays in hand.
        backlog.offer(task(many + 1));
        assert!(backlog.begin(&west()).is_none());
        for one in running {
            one.failed();
        }
        backlog.offer(task(many + 1));
        assert_eq!(backlog.begin(&west()).unwrap().task.sequence, many + 1);
    }
}
