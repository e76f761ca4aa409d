//! Backfills: what was there before a rule goes to its destination too.
//!
//! What is asked for here is carried out by the region's state machine, a step at a
//! time, driven by one of its nodes (`backfills/driver.rs`).

mod count;
mod driver;

use std::fmt;
use std::str::FromStr;

use entrepot_metadata::command::{StartBackfill, StopBackfill};
use entrepot_metadata::query::{
    self, Backfill, BackfillCount, BackfillItem, Destination, ItemState, Place,
};
use entrepot_oci::AccountId;
use uuid::Uuid;

pub use self::driver::Backfills;
use crate::admin::page;
use crate::metadata::refused;
use crate::{Caller, Registry, ServiceError, Target};

/// Counts of what a backfill would copy, at a time: each reads a whole registry.
pub(crate) const COUNTS_MAX: usize = 2;

const START: &str = "ecr:StartReplicationBackfill";

/// Images of a backfill, and how each ended.
#[derive(Debug, Clone)]
pub struct BackfillItemPage {
    pub items: Vec<BackfillItem>,
    /// Where the next page starts; none: that was the last.
    pub next: Option<String>,
}

/// Where a page of images starts: behind one that stands so.
struct After {
    state: ItemState,
    place: Place,
}

impl Registry {
    /// Begins to copy what is there to `destination`: all that the registry's rules
    /// take to it, or one of them.
    ///
    /// # Errors
    /// `NotFound` when no such rule names it, `Conflict` while one to that region is
    /// under way.
    pub async fn start_backfill(
        &self,
        who: &Caller,
        destination: &Destination,
        rule: Option<&str>,
    ) -> Result<Backfill, ServiceError> {
        self.authorize(who, START, Target::Any)?;
        let account = who.account.account();
        let id = new_id()?;
        let command = StartBackfill {
            rule: rule.unwrap_or_default().to_owned(),
            ..StartBackfill::new(&account, &id, destination, self.clock.now_ms())
        };
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        // This node's copy has applied it.
        self.found(&account, &id)
    }

    /// What a backfill would copy, without copying anything.
    pub async fn count_backfill(
        &self,
        who: &Caller,
        destination: &Destination,
        rule: Option<&str>,
    ) -> Result<BackfillCount, ServiceError> {
        self.authorize(who, START, Target::Any)?;
        let account = who.account.account();
        let view = self.current().await?;
        if query::backfill_rules(view.as_ref(), &account, destination, rule)?.is_empty() {
            return Err(ServiceError::NotFound(format!(
                "no replication rule of the registry copies to {}",
                destination.name(&account)
            )));
        }
        self.backfill_count(&account, destination, rule).await
    }

    /// No more is begun. What is under way goes on to its end.
    ///
    /// # Errors
    /// `Conflict` when it is over.
    pub async fn stop_backfill(&self, who: &Caller, id: &str) -> Result<Backfill, ServiceError> {
        self.authorize(who, "ecr:StopReplicationBackfill", Target::Any)?;
        let account = who.account.account();
        let command = StopBackfill::new(&account, id, self.clock.now_ms());
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        self.found(&account, id)
    }

    /// All that are remembered, the newest first.
    pub async fn backfills(&self, who: &Caller) -> Result<Vec<Backfill>, ServiceError> {
        self.authorize(who, "ecr:ListReplicationBackfills", Target::Any)?;
        let view = self.current().await?;
        let mut found = query::backfills(view.as_ref(), &who.account.account())?;
        found.reverse();
        Ok(found)
    }

    /// # Errors
    /// `NotFound`.
    pub async fn backfill(&self, who: &Caller, id: &str) -> Result<Backfill, ServiceError> {
        self.authorize(who, "ecr:DescribeReplicationBackfillResults", Target::Any)?;
        self.current().await?;
        self.found(&who.account.account(), id)
    }

    /// A page of what has ended of a backfill: what failed, then what was copied, or
    /// one of both. `after`: what the page before gave as `next`.
    pub async fn backfill_items(
        &self,
        who: &Caller,
        id: &str,
        only: Option<ItemState>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<BackfillItemPage, ServiceError> {
        let found = self.backfill(who, id).await?;
        let limit = page(limit);
        let after: Option<After> = after
            .map(str::parse)
            .transpose()
            .map_err(|()| ServiceError::Invalid("that is not a page's `next`".to_owned()))?;
        let view = self.local()?;
        let mut items = Vec::new();
        for state in [ItemState::Failed, ItemState::Complete] {
            let behind = after.as_ref().is_some_and(|after| after.state > state);
            if behind || only.is_some_and(|only| only != state) {
                continue;
            }
            let from = after.as_ref().filter(|after| after.state == state);
            items.extend(query::backfill_items(
                view.as_ref(),
                &who.account.account(),
                found.sequence,
                state,
                from.map(|after| &after.place),
                limit + 1 - items.len(),
            )?);
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more);
        let next = next.map(|last| After::of(last).to_string());
        Ok(BackfillItemPage { items, next })
    }

    fn found(&self, account: &AccountId, id: &str) -> Result<Backfill, ServiceError> {
        let known = query::backfills(self.local()?.as_ref(), account)?;
        known
            .into_iter()
            .find(|found| found.id.eq_ignore_ascii_case(id))
            .ok_or_else(|| ServiceError::NotFound(format!("backfill {id} does not exist")))
    }
}

/// A UUID of version 4.
fn new_id() -> Result<String, ServiceError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| ServiceError::internal(&error))?;
    let id = uuid::Builder::from_random_bytes(random).into_uuid();
    Ok(Uuid::hyphenated(id).to_string())
}

// === impl After ===

impl After {
    fn of(item: &BackfillItem) -> Self {
        Self {
            state: item.state,
            place: item.place.clone(),
        }
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            ItemState::Waiting => "waiting",
            ItemState::Failed => "failed",
            ItemState::Complete => "complete",
        };
        let (repository, digest) = (&self.place.repository, &self.place.digest);
        // A tag never starts with '-'.
        let tag = self.place.tag.as_ref().map_or("-", |tag| tag.as_str());
        write!(f, "{state} {repository} {digest} {tag}")
    }
}

impl FromStr for After {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.splitn(5, ' ').collect();
        let [state, repository, digest, tag] = parts[..] else {
            return Err(());
        };
        Ok(Self {
            state: match state {
                "failed" => ItemState::Failed,
                "complete" => ItemState::Complete,
                _ => return Err(()),
            },
            place: Place {
                repository: repository.parse().map_err(drop)?,
                digest: digest.parse().map_err(drop)?,
                tag: match tag {
                    "-" => None,
                    tag => Some(tag.parse().map_err(drop)?),
                },
            },
        })
    }
}
