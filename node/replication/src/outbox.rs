//! The outbox: copying images to other regions.
//!
//! Every node of a region works on the open tasks whose digest ranks it first
//! among the nodes that are alive. There is no master: two nodes that disagree
//! on who is alive do a task twice, which is harmless, because every step is
//! idempotent. A task is tried until it is done or refused for good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_metadata::GroupId;
use entrepot_metadata::command::EndTask;
use entrepot_metadata::query::{self, Task};
use entrepot_metadata::seam::Metadata;
use entrepot_proto::environment::Clock;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::error::ReplicationError;
use crate::{ClusterBlobs, placement};

/// Tasks that one node works on at the same time.
const RUNNING_MAX: usize = 8;
/// Open tasks looked at in one step.
const PAGE: usize = 256;
/// Looks at the outbox at least this often: other nodes' tasks become this
/// node's when they die.
const IDLE_MAX: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Works on this node's share of its region's tasks.
#[derive(Debug)]
pub struct Outbox {
    pub(crate) blobs: Arc<ClusterBlobs>,
    pub(crate) metadata: Arc<dyn Metadata>,
    pub(crate) group: GroupId,
    pub(crate) clock: Arc<dyn Clock>,
    /// By sequence and destination: what is running or has failed.
    attempts: Mutex<HashMap<AttemptKey, Attempt>>,
    running: Arc<Semaphore>,
}

type AttemptKey = (u64, String, String);

#[derive(Debug, Clone, Copy)]
enum Attempt {
    Running { failures: u32 },
    Waiting { failures: u32, until: Instant },
}

// === impl Outbox ===

impl Outbox {
    pub fn new(
        blobs: Arc<ClusterBlobs>,
        metadata: Arc<dyn Metadata>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let group = GroupId::region(blobs.region().clone());
        Arc::new(Self {
            blobs,
            metadata,
            group,
            clock,
            attempts: Mutex::default(),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
        })
    }

    /// Works until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let mut health = self.blobs.health().changes();
        let mut applied = 0;
        loop {
            while tasks.try_join_next().is_some() {}
            if let Err(error) = self.start_due(&mut tasks).await {
                warn!(%error, "the outbox cannot be read");
            }
            let wake = self.next_wake();
            tokio::select! {
                next = self.metadata.applied_after(&self.group, applied) => {
                    if let Ok(index) = next { applied = index } else {
                        tokio::time::sleep(IDLE_MAX).await;
                    }
                }
                Ok(()) = health.changed() => self.retry_now(),
                Some(_) = tasks.join_next() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Starts every open task that is this node's and due.
    async fn start_due(self: &Arc<Self>, tasks: &mut JoinSet<()>) -> Result<(), ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let mut after = 0;
        let mut open = Vec::new();
        loop {
            let page = query::open_tasks(view.as_ref(), after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.sequence;
            for task in page {
                let key = attempt_key(&task);
                open.push(key.clone());
                if !self.is_mine(&task) || !self.is_due(&key) {
                    continue;
                }
                let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() else {
                    return Ok(());
                };
                let failures = self.begin(&key);
                let outbox = Arc::clone(self);
                tasks.spawn(async move {
                    outbox.attempt(task, key, failures).await;
                    drop(permit);
                });
            }
            tokio::task::yield_now().await;
        }
        // What is no longer open needs no memory of its failures.
        let open: std::collections::HashSet<_> = open.into_iter().collect();
        self.attempts()
            .retain(|key, attempt| matches!(attempt, Attempt::Running { .. }) || open.contains(key));
        Ok(())
    }

    fn is_mine(&self, task: &Task) -> bool {
        let alive = self.blobs.health().alive_in(self.blobs.region());
        let key = task.key.digest.to_string();
        placement::first(key.as_bytes(), alive) == Some(self.blobs.own())
    }

    async fn attempt(&self, task: Task, key: AttemptKey, failures: u32) {
        let result = match self.ship(&task).await {
            Ok(()) => {
                info!(repository = %task.key.repository, digest = %task.key.digest,
                    destination = %task.key.destination, "an image was replicated");
                self.end(EndTask::complete(&task, self.clock.now_ms())).await
            }
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                warn!(repository = %task.key.repository, digest = %task.key.digest,
                    destination = %task.key.destination, %error, "an image cannot be replicated");
                let reason = error.to_string();
                self.end(EndTask::failed(&task, &reason, self.clock.now_ms()))
                    .await
            }
        };
        match result {
            Ok(()) => {
                self.attempts().remove(&key);
            }
            Err(error) => {
                let delay = backoff(failures, task.sequence);
                warn!(repository = %task.key.repository, digest = %task.key.digest,
                    destination = %task.key.destination, %error, failures,
                    delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                    "a replication task failed and will be tried again");
                self.attempts().insert(
                    key,
                    Attempt::Waiting {
                        failures: failures + 1,
                        until: Instant::now() + delay,
                    },
                );
            }
        }
    }

    async fn end(&self, end: EndTask) -> Result<(), ReplicationError> {
        self.metadata.propose(&self.group, end.into()).await?;
        Ok(())
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<AttemptKey, Attempt>> {
        // The map is whole between any two statements that hold it.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, key: &AttemptKey) -> bool {
        match self.attempts().get(key) {
            None => true,
            Some(Attempt::Running { .. }) => false,
            Some(Attempt::Waiting { until, .. }) => *until <= Instant::now(),
        }
    }

    /// Marks a task as running and says how often it has failed before.
    fn begin(&self, key: &AttemptKey) -> u32 {
        let mut attempts = self.attempts();
        let failures = match attempts.get(key) {
            Some(Attempt::Waiting { failures, .. } | Attempt::Running { failures }) => *failures,
            None => 0,
        };
        attempts.insert(key.clone(), Attempt::Running { failures });
        failures
    }

    /// A peer has come or gone: what waits may work now.
    fn retry_now(&self) {
        let now = Instant::now();
        for attempt in self.attempts().values_mut() {
            if let Attempt::Waiting { until, .. } = attempt {
                *until = now;
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let latest = Instant::now() + IDLE_MAX;
        self.attempts()
            .values()
            .filter_map(|attempt| match attempt {
                Attempt::Waiting { until, .. } => Some(*until),
                Attempt::Running { .. } => None,
            })
            .fold(latest, Instant::min)
            // A task that is due but has no free place waits for one.
            .max(Instant::now() + Duration::from_millis(10))
    }
}

fn attempt_key(task: &Task) -> AttemptKey {
    (
        task.sequence,
        task.key.destination.to_string(),
        task.key
            .tag
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    )
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
}
