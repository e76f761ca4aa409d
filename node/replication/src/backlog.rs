//! The tasks that this node has in hand: which run, which wait and until when.
//!
//! There is a lane for each destination, and none waits for another. Within one,
//! accounts take turns, whatever each has waiting; and what is small has places
//! of its own, apart from what is large. A destination that does not answer is
//! asked again by one task alone, ever more rarely, until it does.
//!
//! Bounded for each destination and account; what has no room stays in the
//! metadata and is offered again. Lost with the process, which only means that
//! what waited is tried at once.

mod lane;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_metadata::query::{Task, TaskKey};
use entrepot_oci::RegionName;
use tokio::time::Instant;

use self::lane::{Begun, Lane};

const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What a task still needs. Each has places of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// As far as is known only a call, which many tasks share.
    Call,
    /// A few bytes as well.
    Light,
    /// Many bytes.
    Heavy,
}

/// Why an attempt has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// For a reason of its own.
    Task,
    /// The destination does not answer, whatever it is asked.
    Destination,
}

#[derive(Debug, Default)]
pub(crate) struct Backlog {
    lanes: Mutex<BTreeMap<RegionName, Lane>>,
}

/// Of the highest priority first, then the oldest; the tasks of one push have one
/// sequence.
type TaskId = (Reverse<u32>, u64, TaskKey);

/// One attempt under way. Dropped, it has failed.
#[derive(Debug)]
pub(crate) struct Running {
    backlog: Arc<Backlog>,
    pub(crate) task: Task,
    /// Of the rule that asked for it: higher goes first.
    priority: u32,
    /// Attempts at this task that have failed before.
    pub(crate) failures: u32,
    /// Blobs that the destination has said it lacks; none: not known.
    pub(crate) missing: Vec<String>,
    /// Whether what was missing has been brought, as far as whoever brought it says,
    /// since the task failed last.
    pub(crate) brought: bool,
    ended: bool,
}

// === impl Class ===

impl Class {
    pub(crate) const ALL: [Self; 3] = [Self::Call, Self::Light, Self::Heavy];
}

// === impl Backlog ===

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RegionName, Lane>> {
        // The map is whole between any two statements that hold it.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a task in hand, unless it is already or there is no room.
    pub(crate) fn offer(&self, task: Task, priority: u32) {
        let mut lanes = self.lock();
        let lane = lanes.entry(region(&task).clone()).or_default();
        lane.offer(task, priority, Instant::now());
    }

    /// Starts up to `most` tasks of `class` for `destination` that are due: the
    /// oldest of each account in turn.
    pub(crate) fn begin(
        self: &Arc<Self>,
        destination: &RegionName,
        class: Class,
        most: usize,
    ) -> Vec<Running> {
        let now = Instant::now();
        let mut lanes = self.lock();
        let Some(lane) = lanes.get_mut(destination) else {
            return Vec::new();
        };
        let begun = std::iter::from_fn(|| lane.begin(class, now)).take(most);
        let running = |begun: Begun| Running {
            backlog: Arc::clone(self),
            task: begun.task,
            priority: begun.priority,
            failures: begun.failures,
            missing: begun.missing,
            brought: begun.brought,
            ended: false,
        };
        begun.map(running).collect()
    }

    /// When the first of the tasks of `class` for `destination` that wait is due.
    pub(crate) fn next_due(&self, destination: &RegionName, class: Class) -> Option<Instant> {
        self.lock().get(destination)?.next_due(class)
    }

    /// How often `destination` has not answered since it did last.
    pub(crate) fn unanswered(&self, destination: &RegionName) -> u32 {
        self.lock().get(destination).map_or(0, Lane::unanswered)
    }

    /// `destination` has answered.
    pub(crate) fn answered(&self, destination: &RegionName) {
        if let Some(lane) = self.lock().get_mut(destination) {
            lane.answered();
        }
    }

    /// Everything that waits is due.
    pub(crate) fn retry_now(&self) {
        let now = Instant::now();
        for lane in self.lock().values_mut() {
            lane.retry(now);
        }
    }
}

fn region(task: &Task) -> &RegionName {
    &task.key.destination.region
}

// === impl Running ===

impl Running {
    /// The task has ended, or is somebody else's.
    pub(crate) fn done(mut self) {
        self.ended = true;
        if let Some(lane) = self.backlog.lock().get_mut(region(&self.task)) {
            lane.remove(&self.id(), Instant::now());
        }
    }

    /// The task is to be tried again, after the time that is returned.
    pub(crate) fn failed(mut self, why: Failure) -> Duration {
        self.ended = true;
        self.wait(why)
    }

    /// The task needs something else than was thought, and has not failed.
    pub(crate) fn becomes(mut self, class: Class, missing: Vec<String>) {
        self.ended = true;
        if let Some(lane) = self.backlog.lock().get_mut(region(&self.task)) {
            lane.becomes(&self.id(), class, missing, Instant::now());
        }
    }

    /// The task may not be sent before `pause` is over, and has not failed.
    pub(crate) fn later(mut self, pause: Duration) {
        self.ended = true;
        let now = Instant::now();
        if let Some(lane) = self.backlog.lock().get_mut(region(&self.task)) {
            lane.later(&self.id(), now, pause);
        }
    }

    fn id(&self) -> TaskId {
        let task = &self.task;
        (Reverse(self.priority), task.sequence, task.key.clone())
    }

    fn wait(&self, why: Failure) -> Duration {
        let now = Instant::now();
        let delay = backoff(self.failures, self.task.sequence);
        if let Some(lane) = self.backlog.lock().get_mut(region(&self.task)) {
            lane.failed(&self.id(), why, now, delay);
        }
        delay
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.wait(Failure::Task);
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
