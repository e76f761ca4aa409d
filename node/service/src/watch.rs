//! Following what changes in a repository, from any log index that is
//! remembered, at any node of the region.
//!
//! A watch reads what it missed from the state, then takes what the feed hands
//! out. The invariants: every change is told once, in the order of the log, and
//! the index of what was told last is where another watch goes on; and nothing is
//! told to a caller who may not hear it any more.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::limits::ENVELOPES_KEPT;
use entrepot_metadata::query::{self, Change, RepositoryChanges};
use entrepot_oci::RepositoryName;
use tokio::time::{Instant, timeout_at};

use crate::feed::{End, Entry, Home, Subscription, stopping};
use crate::{Caller, Registry, ServiceError, Target};

const ACTION: &str = "ecr:DescribeImages";
/// After so long without a change, a watcher is told how far the log has got.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// How long a watch lasts.
const WATCH_TIME_MAX: Duration = Duration::from_hours(1);
/// How often it is asked whether the caller is still who they were, and may what
/// they might, while there is nothing to tell them. They are asked besides each
/// time that they are told something.
const STANDING_INTERVAL: Duration = Duration::from_secs(2);
/// Entries of the log read before others get their turn.
const ENTRIES_AT_ONCE: u64 = 64;

/// What one entry of the log changed in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// Every change up to and with this log index has been told.
    pub index: u64,
    /// Empty: nothing has changed, the log is there.
    pub changes: Vec<Change>,
    /// There was more: the repository is to be listed anew.
    pub truncated: bool,
}

/// A watch under way.
#[derive(Debug)]
pub struct Watch {
    registry: Arc<Registry>,
    who: Caller,
    home: Home,
    subscription: Subscription,
    /// Up to where the caller has been told everything.
    told: u64,
    /// Up to where to read the state; what comes after is in the subscription.
    behind: u64,
    stage: Stage,
    ends: Instant,
    /// When to tell how far the log has got, unless there is something to tell.
    progress_at: Instant,
    /// When to ask next about the caller.
    asked_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The caller waits to hear where it begins.
    New,
    Open,
    Ended,
}

// === impl Registry ===

impl Registry {
    /// The log that the indexes of watches are of.
    pub fn log(&self) -> String {
        self.group.to_string()
    }

    /// Follows a repository from after the log index `after` on (none: from
    /// now). `log`: whose index that is, where the caller knows it.
    ///
    /// # Errors
    /// [`ServiceError::WatchOutOfRange`] when what came after `after` is
    /// forgotten, or has not happened yet.
    pub async fn watch_repository(
        self: &Arc<Self>,
        who: &Caller,
        repository: &RepositoryName,
        after: Option<u64>,
        log: Option<&str>,
    ) -> Result<Watch, ServiceError> {
        self.authorize(who, ACTION, Target::Repository(repository))?;
        if log.is_some_and(|log| log != self.log()) {
            return Err(ServiceError::WatchOtherLog { log: self.log() });
        }
        self.existing(who, repository).await?;
        let mut applied = self.applied().await?;
        if after.is_none_or(|after| after > applied) {
            self.metadata.linearize(&self.group).await?;
            applied = self.applied().await?;
        }
        let after = after.unwrap_or(applied);
        let oldest = oldest(applied);
        if !(oldest..=applied).contains(&after) {
            return Err(ServiceError::WatchOutOfRange {
                after,
                oldest,
                newest: applied,
            });
        }
        let home = (who.account.clone(), repository.clone());
        let now = Instant::now();
        let (subscription, behind) =
            self.feed
                .subscribe(home.clone(), applied, &self.metadata, &self.group)?;
        Ok(Watch {
            registry: Arc::clone(self),
            who: who.clone(),
            home,
            subscription,
            told: after,
            behind,
            stage: Stage::New,
            ends: now + WATCH_TIME_MAX,
            progress_at: now + PROGRESS_INTERVAL,
            asked_at: now + STANDING_INTERVAL,
        })
    }

    /// Ends every watch, because the node stops; there are no more after this.
    pub fn end_watches(&self) {
        self.feed.close();
    }

    /// Up to where this node has applied the region's log.
    async fn applied(&self) -> Result<u64, ServiceError> {
        Ok(self.metadata.applied_after(&self.group, 0).await?)
    }
}

/// The first index after which everything is remembered.
fn oldest(applied: u64) -> u64 {
    applied.saturating_sub(ENVELOPES_KEPT)
}

// === impl Watch ===

impl Watch {
    /// What happened next; waits for it. The first one comes at once and says
    /// where the watch begins. None: the watch has lasted long enough. After an
    /// error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<WatchEvent, ServiceError>> {
        match self.stage {
            Stage::New => {
                self.stage = Stage::Open;
                return Some(Ok(self.progress()));
            }
            Stage::Open => {}
            Stage::Ended => return None,
        }
        let mut next = self.step().await.transpose();
        if let Some(Ok(_)) = next
            && let Err(error) = self.still_may()
        {
            next = Some(Err(error));
        }
        if !matches!(next, Some(Ok(_))) {
            self.stage = Stage::Ended;
        }
        self.progress_at = Instant::now() + PROGRESS_INTERVAL;
        next
    }

    /// That the caller is still who they were when the watch began, and may what
    /// they might then.
    fn still_may(&self) -> Result<(), ServiceError> {
        self.registry.still_stands(&self.who)?;
        let target = Target::Repository(&self.home.1);
        self.registry.authorize(&self.who, ACTION, target)
    }

    async fn step(&mut self) -> Result<Option<WatchEvent>, ServiceError> {
        loop {
            let now = Instant::now();
            if now >= self.ends {
                return Ok(None);
            }
            if self.told < self.behind {
                if let Some(event) = self.catch_up().await? {
                    return Ok(Some(event));
                }
                continue;
            }
            if now >= self.asked_at {
                self.still_may()?;
                self.asked_at = now + STANDING_INTERVAL;
            }
            let wait = self.ends.min(self.progress_at).min(self.asked_at);
            match timeout_at(wait, self.subscription.next()).await {
                // Read from the state already.
                Ok(Ok(entry)) if entry.index <= self.told => {}
                Ok(Ok(Entry { index, changes })) => {
                    self.told = index;
                    return Ok(Some(WatchEvent::new(index, &changes)));
                }
                Ok(Err(end)) => return Err(self.ended(end)),
                Err(_) if Instant::now() < self.progress_at => {}
                Err(_) => {
                    self.progress_at = Instant::now() + PROGRESS_INTERVAL;
                    let position = self.subscription.position();
                    if let Some(position) = position.filter(|position| *position >= self.told) {
                        self.told = position;
                        return Ok(Some(self.progress()));
                    }
                }
            }
        }
    }

    /// The next change in what the state remembers; none: not in the next few
    /// entries.
    async fn catch_up(&mut self) -> Result<Option<WatchEvent>, ServiceError> {
        let view = self.registry.local()?;
        let end = self.behind.min(self.told + ENTRIES_AT_ONCE);
        while self.told < end {
            let index = self.told + 1;
            let Some(entry) = query::changes(view.as_ref(), index)? else {
                let newest = self.registry.applied().await?;
                return Err(ServiceError::WatchOutOfRange {
                    after: self.told,
                    oldest: oldest(newest),
                    newest,
                });
            };
            self.told = index;
            let mut changed = entry.repositories.into_iter();
            let own = changed.find(|it| it.account == self.home.0 && it.repository == self.home.1);
            if let Some(own) = own {
                return Ok(Some(WatchEvent::new(index, &own)));
            }
        }
        tokio::task::yield_now().await;
        Ok(None)
    }

    fn progress(&self) -> WatchEvent {
        WatchEvent {
            index: self.told,
            changes: Vec::new(),
            truncated: false,
        }
    }

    fn ended(&self, end: End) -> ServiceError {
        match end {
            End::TooSlow => ServiceError::WatchTooSlow {
                resume_after: self.told,
            },
            End::Stopping => stopping(),
            End::Broken => ServiceError::unavailable(
                "this node cannot follow the region's log at the moment; go on at another one",
            ),
        }
    }
}

// === impl WatchEvent ===

impl WatchEvent {
    fn new(index: u64, changed: &RepositoryChanges) -> Self {
        Self {
            index,
            changes: changed.changes.clone(),
            truncated: changed.truncated,
        }
    }
}
