//! The outbox: copying images to other regions.
//!
//! Every node of a region works on the open tasks whose digest ranks it first
//! among the nodes that are alive. There is no master: two nodes that disagree
//! on who is alive do a task twice, which is harmless, because every step is
//! idempotent. A task is tried until it is done or refused for good. One
//! destination never waits for another.
//!
//! A task is first sent with others in one call, as if all it needs were there
//! already. Only if the destination lacks something does it get a place of its
//! own, and is sent again when that is there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use entrepot_metadata::GroupId;
use entrepot_metadata::command::EndTask;
use entrepot_metadata::query::{self, Rule, Task, TaskKey};
use entrepot_metadata::response::Outcome as Done;
use entrepot_metadata::seam::Metadata;
use entrepot_oci::RegionName;
use entrepot_proto::environment::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::backlog::{Backlog, Class, Failure, Running};
use crate::error::{ReplicationError, chain};
use crate::tally::{InFlight, OpenTasks, Way};
use crate::{ClusterBlobs, placement};

/// For one destination: calls under way at the same time, and the tasks that
/// share one.
const CALLS_MAX: usize = 4;
const CALL_TASKS_MAX: usize = 64;
/// Tasks that bring a few bytes, and tasks that bring many, at the same time.
const LIGHT_MAX: usize = 8;
const HEAVY_MAX: usize = 4;
/// Open tasks looked at in one step.
const PAGE: usize = 256;
/// Between two steps, so that many small changes are looked at together.
const STEP_MIN: Duration = Duration::from_millis(2);
/// From the end of one sweep to the start of the next: other nodes' tasks become
/// this node's when they die.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Between two pages of a sweep, as many times what the last one took: a long
/// outbox costs a tenth of a processor at most.
const SWEEP_PAUSE_FACTOR: u32 = 9;
/// Between two looks at whether a rule lets something be sent at this hour.
const CLOSED_PAUSE: Duration = Duration::from_secs(20);
/// After the metadata could not be read.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Works on this node's share of its region's tasks.
#[derive(Debug)]
pub struct Outbox {
    pub(crate) blobs: Arc<ClusterBlobs>,
    pub(crate) metadata: Arc<dyn Metadata>,
    pub(crate) group: GroupId,
    clock: Arc<dyn Clock>,
    pub(crate) backlog: Arc<Backlog>,
    /// By region: those that there are or were.
    places: Mutex<BTreeMap<(RegionName, Class), Arc<Semaphore>>>,
}

/// What has become of a task.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is done, or refused for good.
    Ended(EndTask),
    /// It was dropped, ended by another node, or asked for anew; or it is another
    /// node's by now.
    NotMine,
    /// Its rule lets nothing be sent at this hour.
    Closed,
    /// What it needs is on its way elsewhere.
    Later(Duration),
    /// It needs something else than was thought: these blobs, as far as is known.
    Becomes(Class, Vec<String>),
}

/// How far this node has looked through the open tasks.
#[derive(Debug)]
struct Look {
    /// Everything up to this sequence has been seen once.
    newest: u64,
    /// Everything is seen again and again, page by page.
    sweep_after: u64,
    sweep_at: Instant,
    /// What the sweep under way has found open.
    open: OpenTasks,
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
            backlog: Arc::default(),
            places: Mutex::default(),
        })
    }

    /// Works until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut running = JoinSet::new();
        let mut health = self.blobs.health().changes();
        let mut applied = 0;
        let mut look = Look {
            newest: 0,
            sweep_after: 0,
            sweep_at: Instant::now() + SWEEP_INTERVAL,
            open: OpenTasks::default(),
        };
        loop {
            while running.try_join_next().is_some() {}
            let more = self.look(&mut look).unwrap_or_else(|error| {
                warn!(error = chain(&error), "the outbox cannot be read");
                look.sweep_at = Instant::now() + ERROR_PAUSE;
                false
            });
            self.start_due(&mut running);
            tokio::time::sleep(STEP_MIN).await;
            if more {
                continue;
            }
            let due = self.next_due().unwrap_or(look.sweep_at);
            tokio::select! {
                next = self.metadata.applied_after(&self.group, applied) => {
                    if let Ok(index) = next { applied = index } else {
                        tokio::time::sleep(ERROR_PAUSE).await;
                    }
                }
                Ok(()) = health.changed() => {
                    self.backlog.retry_now();
                    look.sweep_at = Instant::now();
                }
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep_until(due.min(look.sweep_at)) => {}
            }
        }
    }

    /// Takes in hand what is new, and what the sweep comes upon. Whether there
    /// is more that is new.
    fn look(&self, look: &mut Look) -> Result<bool, ReplicationError> {
        let newest = self.take_page(look.newest, None)?;
        look.newest = newest.unwrap_or(look.newest);
        let start = Instant::now();
        if start < look.sweep_at {
            return Ok(newest.is_some());
        }
        if let Some(last) = self.take_page(look.sweep_after, Some(&mut look.open))? {
            look.sweep_after = last;
            look.sweep_at = Instant::now() + start.elapsed() * SWEEP_PAUSE_FACTOR;
        } else {
            let open = std::mem::take(&mut look.open);
            self.blobs.tally.has_open(open, self.clock.now_ms());
            look.sweep_after = 0;
            look.sweep_at = Instant::now() + SWEEP_INTERVAL;
        }
        Ok(newest.is_some())
    }

    /// Takes this node's tasks of one page in hand, and adds them to `open`; the last
    /// sequence of the page.
    fn take_page(
        &self,
        after: u64,
        mut open: Option<&mut OpenTasks>,
    ) -> Result<Option<u64>, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let page = query::open_tasks(view.as_ref(), after, PAGE)?;
        let last = page.last().map(|task| task.sequence);
        let regions = self.destinations();
        let mut rules = BTreeMap::new();
        for task in page {
            let TaskKey {
                account,
                repository,
                destination,
                ..
            } = &task.key;
            if !regions.contains(&destination.region) || !self.is_mine(&task) {
                continue;
            }
            let key = (account.clone(), repository.clone());
            let rules = match rules.entry(key) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(none) => {
                    none.insert(query::destinations(view.as_ref(), account, repository)?)
                }
            };
            let rule = rules.get(destination);
            if let Some(open) = &mut open {
                open.add(rule, &task);
            }
            let priority = rule.map_or(0, |rule| rule.options.priority);
            self.backlog.offer(task, priority);
        }
        Ok(last)
    }

    fn is_mine(&self, task: &Task) -> bool {
        let alive = self.blobs.health().alive_in(self.blobs.region());
        let key = task.key.digest.to_string();
        placement::first(key.as_bytes(), alive) == Some(self.blobs.own())
    }

    /// The destinations and classes for which a task could be started now.
    fn open_places(&self) -> Vec<(RegionName, Class, Arc<Semaphore>)> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = Vec::new();
        for region in self.destinations() {
            if self.blobs.health().alive_in(&region).is_empty() {
                continue;
            }
            for class in Class::ALL {
                let new = || Arc::new(Semaphore::new(class.places()));
                let places = places.entry((region.clone(), class)).or_insert_with(new);
                if places.available_permits() > 0 {
                    open.push((region.clone(), class, Arc::clone(places)));
                }
            }
        }
        open
    }

    /// Every region; this one too, for the registries of other accounts.
    fn destinations(&self) -> Vec<RegionName> {
        self.blobs.peers().regions()
    }

    fn next_due(&self) -> Option<Instant> {
        self.open_places()
            .into_iter()
            .filter_map(|(region, class, _)| self.backlog.next_due(&region, class))
            .min()
    }

    fn start_due(self: &Arc<Self>, running: &mut JoinSet<()>) {
        for (region, class, places) in self.open_places() {
            while let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                let mut tasks = self.backlog.begin(&region, class, class.tasks());
                let flights = self.blobs.tally.begun(tasks.iter().map(|it| &it.task));
                let Some(last) = tasks.pop() else { break };
                let outbox = Arc::clone(self);
                if class == Class::Call {
                    tasks.push(last);
                    running.spawn(in_flight(flights, outbox.call_all(tasks, place)));
                } else {
                    running.spawn(in_flight(flights, outbox.attempt(last, place)));
                }
            }
        }
    }

    /// Brings what the destination lacks.
    async fn attempt(self: Arc<Self>, running: Running, place: OwnedSemaphorePermit) {
        let brought = self.bring(&running).await;
        drop(place);
        if let Ok(Outcome::Ended(_)) = &brought {
            self.backlog.answered(&running.task.key.destination.region);
        }
        self.settle(running, brought).await;
    }

    /// Whether a task is still to be done, and by this node.
    pub(crate) fn is_wanted(&self, task: &Task) -> Result<bool, ReplicationError> {
        let found = query::task(self.metadata.view(&self.group)?.as_ref(), &task.key)?;
        Ok(found.as_ref() == Some(task) && self.is_mine(task))
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Whether a rule lets copies be sent now.
    pub(crate) fn is_open(&self, rule: &Rule) -> bool {
        rule.options.is_open_at(self.clock.now_ms())
    }

    pub(crate) fn complete(&self, task: &Task) -> Outcome {
        let (repository, digest) = (&task.key.repository, &task.key.digest);
        let destination = &task.key.destination;
        info!(%repository, %digest, %destination, "an image was replicated");
        Outcome::Ended(EndTask::complete(task, self.clock.now_ms()))
    }

    /// Writes down what has become of a task.
    pub(crate) async fn settle(
        &self,
        running: Running,
        outcome: Result<Outcome, ReplicationError>,
    ) {
        let task = &running.task;
        let (repository, digest) = (&task.key.repository, &task.key.digest);
        let destination = &task.key.destination;
        let end = match outcome {
            Ok(Outcome::NotMine) => return running.done(),
            Ok(Outcome::Closed) => return running.later(CLOSED_PAUSE),
            Ok(Outcome::Later(pause)) => return running.later(pause),
            Ok(Outcome::Becomes(class, missing)) => return running.becomes(class, missing),
            Ok(Outcome::Ended(end)) => end,
            Err(error) if error.is_transient() => {
                return self.postpone(running, Failure::Task, &error);
            }
            Err(ReplicationError::Denied(reason)) => {
                warn!(%repository, %digest, %destination, reason, "an image is not allowed there");
                EndTask::denied(task, &reason, self.clock.now_ms())
            }
            Err(error) => {
                let error = chain(&error);
                warn!(%repository, %digest, %destination, error, "an image cannot be replicated");
                EndTask::failed(task, &error, self.clock.now_ms())
            }
        };
        let (at_ms, is_denied) = (end.at_ms, end.denied);
        let is_complete = end.failed_reason.is_none();
        let ended = match self.metadata.propose(&self.group, end.into()).await {
            Ok(response) => response
                .into_result()
                .map(|outcome| {
                    if matches!(outcome, Done::TaskEnded(it) if it.ended) {
                        self.count_end(task, is_complete, is_denied, at_ms);
                    }
                })
                .map_err(|refused| ReplicationError::Refused(refused.to_string())),
            Err(error) => Err(error.into()),
        };
        match ended {
            Ok(()) => running.done(),
            Err(error) => self.postpone(running, Failure::Task, &error),
        }
    }

    /// A task was ended by this node.
    fn count_end(&self, task: &Task, is_complete: bool, is_denied: bool, at_ms: i64) {
        let (way, objective) = match self.metadata.view(&self.group) {
            Ok(view) => Way::of(view.as_ref(), &task.key),
            // Numbers alone suffer.
            Err(_) => return,
        };
        if !is_complete {
            return self.blobs.tally.failed(&way, objective, is_denied);
        }
        let lag_ms = at_ms.saturating_sub(task.created_at_ms);
        self.blobs.tally.completed(&way, objective, lag_ms);
    }

    pub(crate) fn postpone(&self, running: Running, why: Failure, error: &ReplicationError) {
        let task = &running.task;
        self.blobs.tally.tried_again(&task.key);
        let (repository, digest) = (&task.key.repository, &task.key.digest);
        let destination = &task.key.destination;
        let (failures, error) = (running.failures, chain(error));
        // Rarer the longer it lasts.
        if failures == 0 || failures.is_power_of_two() {
            warn!(%repository, %digest, %destination, error, failures,
                "a replication task failed and will be tried again");
        } else {
            debug!(%repository, %digest, %destination, error, failures,
                "a replication task failed again");
        }
        running.failed(why);
    }
}

/// While `work` goes on.
async fn in_flight(flights: Vec<InFlight>, work: impl Future<Output = ()>) {
    work.await;
    drop(flights);
}

// === impl Class ===

impl Class {
    /// Of one destination.
    fn places(self) -> usize {
        match self {
            Self::Call => CALLS_MAX,
            Self::Light => LIGHT_MAX,
            Self::Heavy => HEAVY_MAX,
        }
    }

    /// Tasks that share a place.
    fn tasks(self) -> usize {
        match self {
            Self::Call => CALL_TASKS_MAX,
            Self::Light | Self::Heavy => 1,
        }
    }
}
