//! Settings of repositories go to the account's registries in other regions.
//!
//! One node of the region does it, whichever ranks first among those that are alive;
//! two that disagree send the same twice, which is harmless. All settings of a
//! repository go together, as they are when they are sent, in the place of the last
//! change in the source's log. What cannot be sent is tried again, and one region
//! never waits for another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::command::EndSettingsTask;
use entrepot_metadata::query::{self, SettingsTask, TextKind};
use entrepot_oci::RegionName;
use entrepot_proto::peer::ReplicaSettings;
use entrepot_proto::peer::replica_reply::Result as Reply;
use entrepot_proto::peer::replication_client::ReplicationClient;
use futures::future::join_all;
use tokio::time::Instant;
use tonic::Request;
use tracing::{info, warn};

use crate::error::{ReplicationError, chain};
use crate::outbox::Outbox;
use crate::placement;

/// Names the node that sends.
const ROLE: &[u8] = b"settings";
/// Between two looks at what there is to send.
const PAUSE: Duration = Duration::from_millis(250);
/// Tasks looked at at a time, and those sent to one region in one turn.
const PAGE: usize = 1_000;
const TURN_MAX: usize = 100;
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// After a region could not be told something.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// When a region is asked again that did not take something.
#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    pause: Duration,
}

impl Outbox {
    /// Sends on until it is dropped.
    pub async fn send_settings(self: Arc<Self>) {
        let mut resting: BTreeMap<RegionName, Rest> = BTreeMap::new();
        loop {
            tokio::time::sleep(PAUSE).await;
            let alive = self.blobs.health().alive_in(self.blobs.region());
            if placement::first(ROLE, alive) != Some(self.blobs.own()) {
                continue;
            }
            match self.settings_by_region() {
                Ok(regions) => self.send_turn(regions, &mut resting).await,
                Err(error) => warn!(error = chain(&error), "settings cannot be looked at"),
            }
        }
    }

    /// The oldest first.
    fn settings_by_region(
        &self,
    ) -> Result<BTreeMap<RegionName, Vec<SettingsTask>>, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let mut regions: BTreeMap<RegionName, Vec<SettingsTask>> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = query::settings_tasks(view.as_ref(), after.as_ref(), PAGE)?;
            let is_last = page.len() < PAGE;
            after = page.last().cloned();
            for task in page {
                let tasks = regions.entry(task.destination.region.clone()).or_default();
                if tasks.len() < TURN_MAX {
                    tasks.push(task);
                }
            }
            if is_last || regions.values().all(|tasks| tasks.len() >= TURN_MAX) {
                return Ok(regions);
            }
        }
    }

    async fn send_turn(
        &self,
        regions: BTreeMap<RegionName, Vec<SettingsTask>>,
        resting: &mut BTreeMap<RegionName, Rest>,
    ) {
        let now = Instant::now();
        let due = regions
            .into_iter()
            .filter(|(region, _)| resting.get(region).is_none_or(|rest| rest.until <= now));
        let turns = due.map(async |(region, tasks)| {
            let sent = self.send_all(tasks).await;
            (region, sent)
        });
        for (region, sent) in join_all(turns).await {
            let Err(error) = sent else {
                resting.remove(&region);
                continue;
            };
            let before = resting.get(&region).map(|rest| rest.pause);
            let pause = before.map_or(BACKOFF_FIRST, |pause| (pause * 2).min(BACKOFF_MAX));
            if before.is_none() {
                warn!(%region, error = chain(&error), "settings cannot be sent; tried again");
            }
            let until = Instant::now() + pause;
            resting.insert(region, Rest { until, pause });
        }
    }

    async fn send_all(&self, tasks: Vec<SettingsTask>) -> Result<(), ReplicationError> {
        for task in tasks {
            let (repository, destination) = (&task.repository, &task.destination);
            match self.send_one(&task).await {
                Ok(()) => info!(%repository, %destination, "settings were replicated"),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    let error = chain(&error);
                    warn!(%repository, %destination, error, "settings are refused");
                }
            }
            let end = EndSettingsTask::new(&task);
            let response = self.metadata.propose(&self.group, end.into()).await?;
            response
                .into_result()
                .map_err(|refused| ReplicationError::Refused(refused.to_string()))?;
        }
        Ok(())
    }

    async fn send_one(&self, task: &SettingsTask) -> Result<(), ReplicationError> {
        let Some(settings) = self.settings_of(task)? else {
            return Ok(());
        };
        let region = &task.destination.region;
        let down = || ReplicationError::RegionDown(region.to_string());
        let node = placement::first(ROLE, self.blobs.health().alive_in(region)).ok_or_else(down)?;
        let channel = self.blobs.peers().channel(node).ok_or_else(down)?;
        let mut request = Request::new(settings);
        request.set_timeout(CALL_TIMEOUT);
        let reply = ReplicationClient::new(channel)
            .put_settings(request)
            .await
            .map_err(|status| ReplicationError::peer(node, status))?;
        match reply.into_inner().result {
            Some(Reply::Done(_)) => Ok(()),
            Some(Reply::Refusal(refusal)) => Err(ReplicationError::Refused(refusal.message)),
            None => Err(ReplicationError::peer(
                node,
                tonic::Status::unknown("an empty answer"),
            )),
        }
    }

    /// As they are now; none: no rule asks for them any more, or the repository has
    /// gone.
    fn settings_of(
        &self,
        task: &SettingsTask,
    ) -> Result<Option<ReplicaSettings>, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let view = view.as_ref();
        let (account, repository) = (&task.account, &task.repository);
        let mut rules = query::rules(view, account)?;
        rules.retain(|rule| rule.options.settings && rule.asks_for(&task.destination, repository));
        let rule = query::by_destination(rules).remove(&task.destination);
        let Some(found) = query::repository(view, account, repository)? else {
            return Ok(None);
        };
        let Some(rule) = rule.filter(|_| !found.deleting) else {
            return Ok(None);
        };
        let name = rule.name_at_destination(repository).map_err(|error| {
            ReplicationError::Refused(format!("its name there would be wrong: {error}"))
        })?;
        let text = |kind| {
            let found = query::repository_text(view, account, repository, kind)?;
            Ok::<_, ReplicationError>(found.map(|found| found.text).unwrap_or_default())
        };
        Ok(Some(ReplicaSettings {
            account: account.to_string(),
            repository: name.to_string(),
            source_region: self.blobs.region().to_string(),
            source_repository: repository.to_string(),
            source_sequence: task.sequence,
            mutability: found.mutability.mode.into(),
            mutability_filters: found.mutability.filters,
            policy: text(TextKind::Policy)?,
            lifecycle: text(TextKind::Lifecycle)?,
            tags: query::repository_tags(view, account, repository)?
                .into_iter()
                .collect(),
        }))
    }
}
