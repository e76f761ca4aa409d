//! Who takes the steps of backfills: one node of the region, whichever ranks first
//! among those that are alive. Two that disagree take steps twice, which is
//! harmless, and where one dies the next goes on at the next step.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::KeyValue;
use entrepot_metadata::command::{StartBackfill, StepBackfill};
use entrepot_metadata::limits::{
    BACKFILL_KEPT_MS, BACKFILL_STEP_TASKS, BACKFILL_WAITING_MAX, BACKFILLS_MAX,
};
use entrepot_metadata::query::{
    self, Backfill, BackfillPhase, ItemState, TaskKind, TaskState, WantedBackfill,
};
use entrepot_metadata::response::Refused;
use entrepot_oci::AccountId;
use entrepot_replication::{chain, placement};
use tokio::time::Instant;
use tracing::{info, warn};

use super::new_id;
use crate::metadata::refused;
use crate::{Registry, ServiceError};

/// Names the node that takes them.
const ROLE: &[u8] = b"backfills";
/// Between two looks at what there is to do.
const PAUSE: Duration = Duration::from_millis(250);
/// After a step: the shorter, the less a step looks through.
const STEP_PAUSE: Duration = Duration::from_millis(10);
const STEP_PAUSE_PER_WAITING: Duration = Duration::from_micros(100);
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// Backfills of all registries that are looked at in one turn.
const RUNNING_MAX: usize = 1_000;
/// Between two looks for what is to be forgotten, and how many it looks at.
const FORGET_INTERVAL: Duration = Duration::from_mins(10);
const FORGOTTEN_PAGE: usize = 1_000;

/// Takes the steps of the region's backfills.
#[derive(Debug)]
pub struct Backfills {
    registry: Arc<Registry>,
}

// === impl Backfills ===

impl Backfills {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        let mut forget_at = Instant::now();
        loop {
            let turn = async {
                if !self.is_mine() {
                    return Ok(PAUSE);
                }
                let pause = self.turn().await?;
                if Instant::now() >= forget_at {
                    self.forget().await?;
                    forget_at = Instant::now() + FORGET_INTERVAL;
                }
                Ok(pause)
            };
            let pause = turn.await.unwrap_or_else(|error: ServiceError| {
                warn!(error = chain(&error), "backfills cannot go on");
                ERROR_PAUSE
            });
            tokio::time::sleep(pause).await;
        }
    }

    fn is_mine(&self) -> bool {
        let health = self.registry.blobs.health();
        let alive = health.alive_in(self.registry.region());
        placement::first(ROLE, alive) == Some(health.own())
    }

    /// One step of each; how long nothing more is to be done.
    async fn turn(&self) -> Result<Duration, ServiceError> {
        let view = self.registry.local()?;
        let running = query::running_backfills(view.as_ref(), RUNNING_MAX)?;
        for wanted in query::wanted_backfills(view.as_ref(), None, RUNNING_MAX)? {
            if has_room(&running, &wanted) {
                self.start(&wanted).await?;
            }
        }
        let mut pause = PAUSE;
        for (account, found) in running {
            match self.advance(view.as_ref(), &account, &found).await {
                Ok(true) => {
                    let waiting = u32::try_from(found.waiting).unwrap_or(u32::MAX);
                    pause = pause.min(STEP_PAUSE + STEP_PAUSE_PER_WAITING * waiting);
                }
                Ok(false) => {}
                // The others go on.
                Err(error) => {
                    let (id, error) = (found.id, chain(&error));
                    warn!(%account, id, error, "a backfill cannot go on");
                    pause = ERROR_PAUSE;
                }
            }
        }
        Ok(pause)
    }

    /// Whether there was something to do.
    async fn advance(
        &self,
        view: &dyn KeyValue,
        account: &AccountId,
        found: &Backfill,
    ) -> Result<bool, ServiceError> {
        if found.phase == BackfillPhase::Preparing {
            self.prepare(account, found).await?;
        } else if has_step(view, account, found)? {
            self.step(account, found.sequence).await?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    async fn start(&self, wanted: &WantedBackfill) -> Result<(), ServiceError> {
        let (account, destination) = (&wanted.account, &wanted.destination);
        let (id, now) = (new_id()?, self.registry.clock.now_ms());
        let command = StartBackfill {
            rule: wanted.rule.clone(),
            ..StartBackfill::new(account, &id, destination, now)
        };
        let response = self.registry.propose(command.into()).await?;
        match response.into_result() {
            Ok(_) => info!(%account, %destination, rule = wanted.rule, id, "a backfill has begun"),
            // Somebody else was first.
            Err(
                Refused::BackfillRunning(_)
                | Refused::BackfillLimit(_)
                | Refused::DestinationUnknown(_),
            ) => {}
            Err(error) => return Err(refused(error)),
        }
        Ok(())
    }

    async fn prepare(&self, account: &AccountId, found: &Backfill) -> Result<(), ServiceError> {
        let (destination, rule) = (&found.destination, found.rule.as_deref());
        let count = self
            .registry
            .backfill_count(account, destination, rule)
            .await?;
        let command = StepBackfill {
            counted: Some(count),
            ..StepBackfill::new(account, found.sequence, self.registry.clock.now_ms())
        };
        self.propose(command).await
    }

    async fn step(&self, account: &AccountId, sequence: u64) -> Result<(), ServiceError> {
        let now = self.registry.clock.now_ms();
        self.propose(StepBackfill::new(account, sequence, now))
            .await
    }

    async fn propose(&self, step: StepBackfill) -> Result<(), ServiceError> {
        let response = self.registry.propose(step.into()).await?;
        response.into_result().map(drop).map_err(refused)
    }

    /// Removes what ended long ago.
    async fn forget(&self) -> Result<(), ServiceError> {
        let view = self.registry.local()?;
        let oldest = self.registry.clock.now_ms() - BACKFILL_KEPT_MS;
        let mut after = None;
        loop {
            let page = query::backfills_of_all(view.as_ref(), after.as_ref(), FORGOTTEN_PAGE)?;
            let is_last = page.len() < FORGOTTEN_PAGE;
            for (account, found) in page {
                let sequence = found.sequence;
                if found.ended_at_ms.is_some_and(|ended| ended <= oldest) {
                    // Each step removes some of its images, the last one it itself.
                    while query::backfill(view.as_ref(), &account, sequence)?.is_some() {
                        self.step(&account, sequence).await?;
                    }
                }
                after = Some((account, sequence));
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Whether one that a rule asks for may begin.
fn has_room(running: &[(AccountId, Backfill)], wanted: &WantedBackfill) -> bool {
    let of_account = running
        .iter()
        .filter(|(account, _)| *account == wanted.account);
    let region = &wanted.destination.region;
    let mut count = 0;
    for (_, found) in of_account {
        count += 1;
        if found.destination.region == *region {
            return false;
        }
    }
    count < BACKFILLS_MAX
}

/// Whether a step would change anything.
fn has_step(
    view: &dyn KeyValue,
    account: &AccountId,
    found: &Backfill,
) -> Result<bool, ServiceError> {
    let asks_on = found.phase == BackfillPhase::InProgress
        && !found.walked
        && found.failure.is_none()
        && found.waiting < BACKFILL_WAITING_MAX;
    if asks_on || found.waiting == 0 {
        return Ok(true);
    }
    let limit = usize::try_from(BACKFILL_WAITING_MAX).unwrap_or(usize::MAX) + BACKFILL_STEP_TASKS;
    let (sequence, state) = (found.sequence, ItemState::Waiting);
    for item in query::backfill_items(view, account, sequence, state, None, limit)? {
        let task = query::task(view, &item.place.task(account, &found.destination))?;
        let is_open =
            |task: &query::Task| task.kind == TaskKind::Copy && task.state == TaskState::InProgress;
        if !task.as_ref().is_some_and(is_open) {
            return Ok(true);
        }
    }
    Ok(false)
}
