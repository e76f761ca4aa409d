//! What this node remembers of its attempts at tasks: which are under way, and
//! which have failed and wait.
//!
//! Bounded by the open tasks of this node. Lost with the process, which only
//! means that what waited is tried at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_metadata::query::Task;
use entrepot_oci::{RegionName, Tag};
use tokio::time::Instant;

const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The tasks of one push have one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AttemptKey {
    sequence: u64,
    destination: RegionName,
    tag: Option<Tag>,
}

#[derive(Debug, Default)]
pub(crate) struct Attempts {
    known: Mutex<HashMap<AttemptKey, Attempt>>,
}

#[derive(Debug)]
struct Attempt {
    failures: u32,
    /// None while it runs.
    due: Option<Instant>,
    /// The look at the outbox in which it was seen last.
    look: u64,
}

/// One attempt under way. However it ends, its task is not forgotten: dropped,
/// it has failed.
#[derive(Debug)]
pub(crate) struct Running {
    attempts: Arc<Attempts>,
    key: AttemptKey,
    /// Attempts at this task that have failed before.
    pub(crate) failures: u32,
    ended: bool,
}

// === impl Attempts ===

impl Attempts {
    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptKey, Attempt>> {
        // The map is whole between any two statements that hold it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a task seen in this look may be tried now.
    pub(crate) fn is_due(&self, key: &AttemptKey, look: u64) -> bool {
        let mut known = self.lock();
        let Some(attempt) = known.get_mut(key) else {
            return true;
        };
        attempt.look = look;
        attempt.due.is_some_and(|due| due <= Instant::now())
    }

    pub(crate) fn begin(self: &Arc<Self>, key: AttemptKey, look: u64) -> Running {
        let mut known = self.lock();
        let failures = known.get(&key).map_or(0, |attempt| attempt.failures);
        let attempt = Attempt {
            failures,
            due: None,
            look,
        };
        known.insert(key.clone(), attempt);
        Running {
            attempts: Arc::clone(self),
            key,
            failures,
            ended: false,
        }
    }

    /// Forgets what waits and was not seen in this look, which saw all tasks.
    pub(crate) fn forget_unseen(&self, look: u64) {
        self.lock()
            .retain(|_, attempt| attempt.due.is_none() || attempt.look == look);
    }

    /// Everything that waits is due.
    pub(crate) fn retry_now(&self) {
        let now = Instant::now();
        for attempt in self.lock().values_mut() {
            attempt.due = attempt.due.map(|_| now);
        }
    }

    /// When the first of those that wait is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.lock().values().filter_map(|attempt| attempt.due).min()
    }
}

// === impl AttemptKey ===

impl AttemptKey {
    pub(crate) fn of(task: &Task) -> Self {
        Self {
            sequence: task.sequence,
            destination: task.key.destination.clone(),
            tag: task.key.tag.clone(),
        }
    }
}

// === impl Running ===

impl Running {
    /// The task has ended.
    pub(crate) fn done(mut self) {
        self.ended = true;
        self.attempts.lock().remove(&self.key);
    }

    /// The task is to be tried again, after the time that is returned.
    pub(crate) fn failed(mut self) -> Duration {
        self.ended = true;
        self.wait()
    }

    fn wait(&self) -> Duration {
        let delay = backoff(self.failures, self.key.sequence);
        if let Some(attempt) = self.attempts.lock().get_mut(&self.key) {
            attempt.failures = self.failures.saturating_add(1);
            attempt.due = Some(Instant::now() + delay);
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
    use super::*;

    fn key(sequence: u64) -> AttemptKey {
        AttemptKey {
            sequence,
            destination: "eu-west-1".parse().unwrap(),
            tag: None,
        }
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
    async fn a_task_runs_once_and_then_waits_longer_each_time() {
        let attempts = Arc::new(Attempts::default());
        let first = attempts.begin(key(1), 1);
        assert!(!attempts.is_due(&key(1), 1));
        assert!(attempts.is_due(&key(2), 1));
        let delay = first.failed();
        assert!(!attempts.is_due(&key(1), 2));
        tokio::time::advance(delay).await;
        assert!(attempts.is_due(&key(1), 3));
        assert_eq!(attempts.begin(key(1), 3).failures, 1);
        // Dropped, as when it panics: that has failed too.
        assert!(!attempts.is_due(&key(1), 4));
        attempts.retry_now();
        assert!(attempts.is_due(&key(1), 4));
        let last = attempts.begin(key(1), 4);
        assert_eq!(last.failures, 2);
        last.done();
        assert_eq!(attempts.next_due(), None);
        assert_eq!(attempts.begin(key(1), 5).failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_longer_open_is_forgotten_unless_it_runs() {
        let attempts = Arc::new(Attempts::default());
        let running = attempts.begin(key(1), 1);
        for sequence in 2..=3 {
            attempts.begin(key(sequence), 1).failed();
        }
        attempts.is_due(&key(3), 2);
        attempts.forget_unseen(2);
        assert!(!attempts.is_due(&key(1), 3));
        assert!(attempts.is_due(&key(2), 3));
        assert!(!attempts.is_due(&key(3), 3));
        running.done();
    }
}
