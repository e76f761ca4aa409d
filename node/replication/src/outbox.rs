//! The outbox: copying images to other regions.
//!
//! Every node of a region works on the open tasks whose digest ranks it first
//! among the nodes that are alive. There is no master: two nodes that disagree
//! on who is alive do a task twice, which is harmless, because every step is
//! idempotent. A task is tried until it is done or refused for good. One
//! destination never waits for another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::GroupId;
use entrepot_metadata::command::EndTask;
use entrepot_metadata::query::{self, Task};
use entrepot_metadata::seam::Metadata;
use entrepot_oci::RegionName;
use entrepot_proto::environment::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::attempts::{AttemptKey, Attempts, Running};
use crate::error::ReplicationError;
use crate::{ClusterBlobs, placement};

/// Tasks for one destination that one node works on at the same time.
const RUNNING_MAX: usize = 8;
/// Open tasks looked at in one step.
const PAGE: usize = 256;
/// Looks at the outbox at least this often: other nodes' tasks become this
/// node's when they die.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// Between two looks: this, or this many times what the last one took, so that
/// a long outbox costs a tenth of a processor at most.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_FACTOR: u32 = 9;

/// Works on this node's share of its region's tasks.
#[derive(Debug)]
pub struct Outbox {
    pub(crate) blobs: Arc<ClusterBlobs>,
    pub(crate) metadata: Arc<dyn Metadata>,
    pub(crate) group: GroupId,
    clock: Arc<dyn Clock>,
    attempts: Arc<Attempts>,
    /// By destination: the other regions.
    places: BTreeMap<RegionName, Arc<Semaphore>>,
}

// === impl Outbox ===

impl Outbox {
    pub fn new(
        blobs: Arc<ClusterBlobs>,
        metadata: Arc<dyn Metadata>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let group = GroupId::region(blobs.region().clone());
        let places = blobs
            .peers()
            .regions()
            .into_iter()
            .filter(|region| region != blobs.region())
            .map(|region| (region, Arc::new(Semaphore::new(RUNNING_MAX))))
            .collect();
        Arc::new(Self {
            blobs,
            metadata,
            group,
            clock,
            attempts: Arc::default(),
            places,
        })
    }

    /// Works until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let mut health = self.blobs.health().changes();
        let mut applied = 0;
        for look in 0.. {
            while tasks.try_join_next().is_some() {}
            let start = Instant::now();
            if let Err(error) = self.start_due(look, &mut tasks).await {
                warn!(%error, "the outbox cannot be read");
            }
            tokio::time::sleep(PAUSE_MIN.max(start.elapsed() * PAUSE_FACTOR)).await;
            let idle = Instant::now() + IDLE_MAX;
            let due = self.attempts.next_due().filter(|_| self.has_place());
            tokio::select! {
                next = self.metadata.applied_after(&self.group, applied) => {
                    if let Ok(index) = next { applied = index } else {
                        tokio::time::sleep(IDLE_MAX).await;
                    }
                }
                Ok(()) = health.changed() => self.attempts.retry_now(),
                Some(_) = tasks.join_next() => {}
                () = tokio::time::sleep_until(due.unwrap_or(idle).min(idle)) => {}
            }
        }
    }

    /// Starts every open task that is this node's and due, oldest first, while
    /// there are places.
    async fn start_due(
        self: &Arc<Self>,
        look: u64,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let mut after = 0;
        while self.has_place() {
            let page = query::open_tasks(view.as_ref(), after, PAGE)?;
            let Some(last) = page.last() else {
                self.attempts.forget_unseen(look);
                break;
            };
            after = last.sequence;
            for task in page {
                let key = AttemptKey::of(&task);
                if !self.attempts.is_due(&key, look) || !self.is_mine(&task) {
                    continue;
                }
                let Some(place) = self.place(&task.key.destination) else {
                    continue;
                };
                let running = self.attempts.begin(key, look);
                let outbox = Arc::clone(self);
                tasks.spawn(async move {
                    outbox.attempt(task, running).await;
                    drop(place);
                });
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn has_place(&self) -> bool {
        self.places
            .values()
            .any(|places| places.available_permits() > 0)
    }

    /// A place for one more task; none while no node of the destination answers,
    /// or when it is no region of this cluster any more.
    fn place(&self, destination: &RegionName) -> Option<OwnedSemaphorePermit> {
        if self.blobs.health().alive_in(destination).is_empty() {
            return None;
        }
        let places = self.places.get(destination)?;
        Arc::clone(places).try_acquire_owned().ok()
    }

    fn is_mine(&self, task: &Task) -> bool {
        let alive = self.blobs.health().alive_in(self.blobs.region());
        let key = task.key.digest.to_string();
        placement::first(key.as_bytes(), alive) == Some(self.blobs.own())
    }

    async fn attempt(&self, task: Task, running: Running) {
        let result = match self.ship(&task, running.failures).await {
            Ok(()) => {
                info!(repository = %task.key.repository, digest = %task.key.digest,
                    destination = %task.key.destination, "an image was replicated");
                self.end(EndTask::complete(&task, self.clock.now_ms()))
                    .await
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
            Ok(()) => running.done(),
            Err(error) => {
                let failures = running.failures;
                let delay = running.failed();
                warn!(repository = %task.key.repository, digest = %task.key.digest,
                    destination = %task.key.destination, %error, failures,
                    delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                    "a replication task failed and will be tried again");
            }
        }
    }

    async fn end(&self, end: EndTask) -> Result<(), ReplicationError> {
        let response = self.metadata.propose(&self.group, end.into()).await?;
        response
            .into_result()
            .map(drop)
            .map_err(|refused| ReplicationError::Refused(refused.to_string()))
    }
}
