//! How far copies to other registries are, by rule and destination: what waits, what
//! failed and why, and how long it took.
//!
//! Told from the tasks in the metadata, so that every node tells the same; only what
//! is being worked on at this moment is asked of the nodes. The invariant: bounded,
//! however many tasks there are; where that was not enough, it says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use entrepot_metadata::query::{self, Destination, Objective, Rule, Task, TaskKey, TaskState};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{AccountId, Digest, RegionName, RepositoryName, Tag};

use crate::{Caller, Registry, ServiceError, Target};

/// Tasks looked at, and of them at a time.
const TASKS_MAX: usize = 100_000;
const PAGE: usize = 1_000;
/// Reasons told of one destination, and those told apart.
const REASONS_TOLD: usize = 5;
const REASONS_MAX: usize = 1_000;
/// How far back a lag counts.
const LAG_WITHIN_MS: i64 = 60 * 60 * 1_000;
const MINUTE_MS: i64 = 60 * 1_000;

/// Which copies are meant. By default all.
#[derive(Debug, Clone, Default)]
pub struct SummaryFilter {
    pub repository: Option<RepositoryName>,
    /// Of the repository.
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
    pub region: Option<RegionName>,
    pub rule: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ReplicationSummary {
    pub summaries: Vec<SummaryOf>,
    /// There are more tasks than were looked at.
    pub is_partial: bool,
    pub at_ms: i64,
    /// What the tag that was asked for names.
    pub digest: Option<Digest>,
}

/// What goes to one destination because of one rule.
#[derive(Debug, Clone)]
pub struct SummaryOf {
    /// None: no rule asks for it any more.
    pub rule: Option<String>,
    pub destination: Destination,
    pub complete: u64,
    /// In progress: those that a node works on, and all.
    pub in_flight: u64,
    pub pending: u64,
    pub pending_bytes: u64,
    pub oldest_pending_at_ms: Option<i64>,
    pub failed: u64,
    /// Why, the most frequent first.
    pub failures: Vec<(String, u64)>,
    /// Of what was completed in the last hour.
    pub lag_p50_ms: Option<u64>,
    pub lag_p99_ms: Option<u64>,
    pub completed_last_minute: u64,
    /// What the rule promises.
    pub objective: Option<Objective>,
    /// Of what ended in the last hour, or is late already: all, and those in time.
    pub objective_counted: u64,
    pub objective_in_time: u64,
}

/// By rule and destination.
type Ways = BTreeMap<(Option<String>, Destination), Way>;

#[derive(Debug, Default)]
struct Way {
    complete: u64,
    pending: u64,
    pending_bytes: u64,
    oldest_pending_at_ms: Option<i64>,
    failed: u64,
    reasons: BTreeMap<String, u64>,
    lags_ms: Vec<u64>,
    completed_last_minute: u64,
    objective: Option<Objective>,
    objective_counted: u64,
    objective_in_time: u64,
}

/// A look through the tasks under way.
struct Looking {
    account: AccountId,
    filter: SummaryFilter,
    rules: Vec<Rule>,
    at_ms: i64,
    after: Option<TaskKey>,
    looked_at: usize,
    ways: Ways,
}

impl Registry {
    /// # Errors
    /// `ManifestUnknown` when a tag is asked for that is not there.
    pub async fn replication_summary(
        &self,
        who: &Caller,
        filter: &SummaryFilter,
    ) -> Result<ReplicationSummary, ServiceError> {
        let target = filter
            .repository
            .as_ref()
            .map_or(Target::Any, Target::Repository);
        self.authorize(who, "ecr:DescribeImageReplicationStatus", target)?;
        let mut filter = filter.clone();
        if let Some(repository) = &filter.repository {
            self.existing(who, repository).await?;
        } else if filter.tag.is_some() || filter.digest.is_some() {
            return Err(ServiceError::Invalid(
                "an image is of a repository, which has to be named".to_owned(),
            ));
        }
        let view = self.current().await?;
        let account = who.account.account();
        if let (Some(repository), Some(tag)) = (&filter.repository, &filter.tag) {
            let found = query::tag(view.as_ref(), &account, repository, tag)?;
            let found = found.ok_or_else(|| ServiceError::ManifestUnknown(tag.to_string()))?;
            filter.digest = Some(found.digest);
        }
        let digest = filter.digest;
        // An image has few tasks, a registry may have very many.
        let turn = Arc::clone(&self.backfill_counts);
        let _turn = match digest {
            Some(_) => None,
            None => turn.acquire_owned().await.ok(),
        };
        let looking = Looking {
            rules: query::rules(view.as_ref(), &account)?,
            account: account.clone(),
            filter,
            at_ms: self.clock.now_ms(),
            after: None,
            looked_at: 0,
            ways: Ways::new(),
        };
        let (looked, is_partial) = self.look(view, looking).await?;
        let mut summaries = looked.summaries();
        for flight in self.blobs.flights_of_all().await {
            if flight.account != account.as_str() {
                continue;
            }
            let is_of = |it: &&mut SummaryOf| {
                it.destination.region.as_str() == flight.destination_region
                    && it.destination.account.as_str() == flight.destination_account
            };
            // They are known by their destination alone: no more than wait there.
            let mut left = flight.tasks;
            for of in summaries.iter_mut().filter(is_of) {
                let here = left.min(of.pending - of.in_flight);
                of.in_flight += here;
                left -= here;
            }
        }
        Ok(ReplicationSummary {
            summaries,
            is_partial,
            at_ms: self.clock.now_ms(),
            digest,
        })
    }

    /// Whether there were more than are looked at.
    async fn look(
        &self,
        view: Arc<dyn KeyValue>,
        mut looking: Looking,
    ) -> Result<(Looking, bool), ServiceError> {
        loop {
            let view = Arc::clone(&view);
            let page = self.blocking.run(move || {
                let more = looking.page(view.as_ref());
                (looking, more)
            });
            let (looked, more) = page.await.map_err(|error| ServiceError::internal(&error))?;
            looking = looked;
            if !more? {
                return Ok((looking, false));
            }
            if looking.looked_at >= TASKS_MAX {
                return Ok((looking, true));
            }
        }
    }
}

// === impl Looking ===

impl Looking {
    /// Whether there are more.
    fn page(&mut self, view: &dyn KeyValue) -> Result<bool, StorageError> {
        let repository = self.filter.repository.as_ref();
        let account = &self.account;
        let (page, more) =
            if let (Some(repository), Some(digest)) = (repository, &self.filter.digest) {
                let page = query::tasks_of(view, account, repository, digest, TASKS_MAX)?;
                (page, false)
            } else {
                let page = query::tasks(view, account, repository, self.after.as_ref(), PAGE)?;
                let more = page.len() == PAGE;
                (page, more)
            };
        self.looked_at += page.len();
        self.after = page.last().map(|task| task.key.clone());
        for task in page {
            self.add(view, task)?;
        }
        Ok(more)
    }

    fn add(&mut self, view: &dyn KeyValue, task: Task) -> Result<(), StorageError> {
        let key = &task.key;
        let filter = &self.filter;
        let region = filter.region.as_ref();
        if region.is_some_and(|region| key.destination.region != *region)
            || filter.tag.is_some() && key.tag != filter.tag
        {
            return Ok(());
        }
        let mut asking = self.rules.iter();
        let asking = asking.find(|rule| rule.asks_for(&key.destination, &key.repository));
        let objective = asking.and_then(|rule| rule.options.objective);
        let rule = asking.map(|rule| rule.id.clone());
        if filter.rule.is_some() && rule != filter.rule {
            return Ok(());
        }
        let way = self
            .ways
            .entry((rule, key.destination.clone()))
            .or_default();
        way.objective = objective;
        way.hold_against_objective(&task, self.at_ms);
        match task.state {
            TaskState::InProgress => {
                let size = query::manifest_entry(view, &key.account, &key.repository, &key.digest)?;
                let oldest = way.oldest_pending_at_ms.unwrap_or(i64::MAX);
                way.oldest_pending_at_ms = Some(oldest.min(task.created_at_ms));
                way.pending += 1;
                way.pending_bytes += size.map_or(0, |image| image.size);
            }
            TaskState::Complete => {
                way.complete += 1;
                let ended_at_ms = task.ended_at_ms.unwrap_or(task.created_at_ms);
                let age_ms = self.at_ms.saturating_sub(ended_at_ms);
                if age_ms <= LAG_WITHIN_MS {
                    let lag_ms = ended_at_ms.saturating_sub(task.created_at_ms);
                    way.lags_ms.push(u64::try_from(lag_ms).unwrap_or(0));
                }
                way.completed_last_minute += u64::from(age_ms <= MINUTE_MS);
            }
            TaskState::Failed => {
                way.failed += 1;
                let reason = task.reason.unwrap_or_default();
                if way.reasons.len() < REASONS_MAX || way.reasons.contains_key(&reason) {
                    *way.reasons.entry(reason).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// Also of what rules ask for and has had no task yet.
    fn summaries(mut self) -> Vec<SummaryOf> {
        let filter = &self.filter;
        if filter.repository.is_none() {
            for rule in &self.rules {
                for destination in &rule.destinations {
                    let region = filter.region.as_ref();
                    let is_meant = filter.rule.as_ref().is_none_or(|id| *id == rule.id)
                        && region.is_none_or(|region| destination.region == *region);
                    if is_meant {
                        let key = (Some(rule.id.clone()), destination.clone());
                        let way = self.ways.entry(key).or_default();
                        way.objective = rule.options.objective;
                    }
                }
            }
        }
        let ways = self.ways.into_iter();
        ways.map(|((rule, destination), way)| way.summary(rule, destination))
            .collect()
    }
}

// === impl Way ===

impl Way {
    /// What has not ended counts once it is late, and what was refused is never there.
    fn hold_against_objective(&mut self, task: &Task, at_ms: i64) {
        let Some(objective) = &self.objective else {
            return;
        };
        let within_ms = i64::try_from(objective.within_ms).unwrap_or(i64::MAX);
        let ended_at_ms = task.ended_at_ms.unwrap_or(task.created_at_ms);
        let is_recent = at_ms.saturating_sub(ended_at_ms) <= LAG_WITHIN_MS;
        let took_ms = |until_ms: i64| until_ms.saturating_sub(task.created_at_ms);
        let (counts, in_time) = match task.state {
            TaskState::InProgress => (took_ms(at_ms) > within_ms, false),
            TaskState::Complete => (is_recent, took_ms(ended_at_ms) <= within_ms),
            TaskState::Failed => (is_recent, false),
        };
        self.objective_counted += u64::from(counts);
        self.objective_in_time += u64::from(counts && in_time);
    }

    fn summary(mut self, rule: Option<String>, destination: Destination) -> SummaryOf {
        self.lags_ms.sort_unstable();
        let mut failures: Vec<(String, u64)> = self.reasons.into_iter().collect();
        failures.sort_by_key(|(_, tasks)| std::cmp::Reverse(*tasks));
        failures.truncate(REASONS_TOLD);
        SummaryOf {
            rule,
            destination,
            complete: self.complete,
            in_flight: 0,
            pending: self.pending,
            pending_bytes: self.pending_bytes,
            oldest_pending_at_ms: self.oldest_pending_at_ms,
            failed: self.failed,
            failures,
            lag_p50_ms: percentile(&self.lags_ms, 50),
            lag_p99_ms: percentile(&self.lags_ms, 99),
            completed_last_minute: self.completed_last_minute,
            objective: self.objective,
            objective_counted: self.objective_counted,
            objective_in_time: self.objective_in_time,
        }
    }
}

/// Of what is sorted; none of nothing. At least so many of a hundred are no larger.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use entrepot_metadata::query::TaskKind;
    use entrepot_oci::Algorithm;

    use super::*;

    fn task(state: TaskState, created_at_ms: i64, ended_at_ms: Option<i64>) -> Task {
        let account: AccountId = "123456789012".parse().unwrap();
        Task {
            key: TaskKey {
                destination: Destination::named("eu-west-1", &account).unwrap(),
                account,
                repository: "app".parse().unwrap(),
                digest: Digest::of(Algorithm::Sha256, b"image"),
                tag: None,
            },
            sequence: 1,
            created_at_ms,
            state,
            ended_at_ms,
            reason: None,
            denied: false,
            kind: TaskKind::Copy,
            names: Vec::new(),
            deleted_before: None,
        }
    }

    #[test]
    fn what_is_late_or_refused_counts_against_the_objective() {
        let mut way = Way {
            objective: Some(Objective {
                per_million: 990_000,
                within_ms: 30_000,
            }),
            ..Way::default()
        };
        let now = 10_000_000;
        for (task, counted, in_time) in [
            (task(TaskState::InProgress, now - 30_000, None), 0, 0),
            (task(TaskState::InProgress, now - 30_001, None), 1, 0),
            (task(TaskState::Complete, now - 30_000, Some(now)), 2, 1),
            (task(TaskState::Complete, now - 30_001, Some(now)), 3, 1),
            (task(TaskState::Failed, now - 10, Some(now)), 4, 1),
            // Longer ago than an hour.
            (task(TaskState::Complete, 0, Some(1_000_000)), 4, 1),
        ] {
            way.hold_against_objective(&task, now);
            let found = (way.objective_counted, way.objective_in_time);
            assert_eq!(found, (counted, in_time));
        }
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 99), Some(7));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Some(50));
        assert_eq!(percentile(&hundred, 99), Some(99));
        assert_eq!(percentile(&hundred[..10], 99), Some(10));
    }
}
