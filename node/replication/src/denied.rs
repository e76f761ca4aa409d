//! Tasks that their destination's account did not allow.
//!
//! They have failed, and are not tried again and again. Instead the destination is
//! asked, rarely and for whole repositories, whether it allows them by now; once it
//! does, they are open again. One node of the region asks, whichever ranks first
//! among those that are alive; two that disagree ask twice, which is harmless.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::command::{DeniedTask, RetryTasks};
use entrepot_metadata::limits::RETRIED_MAX;
use entrepot_metadata::query::{self, Destination, TaskKey, TaskKind};
use entrepot_oci::{AccountId, RepositoryName};
use entrepot_proto::peer::AdmitRequest;
use tonic::Request;
use tracing::{info, warn};

use crate::error::{ReplicationError, chain};
use crate::outbox::Outbox;
use crate::placement;

/// Between two rounds: the first after something was allowed or this node began,
/// and the longest, when nothing was.
const PAUSE_FIRST: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Denied tasks looked at in one round; the next goes on behind them.
const LOOKED_AT_MAX: usize = 2_000;
/// Parts in which the denied tasks of a repository are opened again; what is left then
/// is for the next round.
const PARTS_MAX: usize = 1_000;
/// Repositories asked about in one call.
pub(crate) const ASKED_MAX: usize = 100;
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Names the node that asks.
const ROLE: &[u8] = b"denied tasks";

/// What one account wants to do at one destination.
type Way = (AccountId, Destination, TaskKind);

/// By their names at the destination: the repositories whose tasks were denied there.
type Named = BTreeMap<RepositoryName, BTreeSet<RepositoryName>>;

impl Outbox {
    /// Asks on until it is dropped.
    pub async fn ask_for_the_denied(self: Arc<Self>) {
        let mut pause = PAUSE_FIRST;
        let mut after = None;
        let mut reopened_before = false;
        loop {
            tokio::time::sleep(pause).await;
            let round = self.ask_once(&mut after).await;
            let reopened = round.unwrap_or_else(|error| {
                warn!(error = chain(&error), "denied tasks cannot be looked at");
                false
            });
            // What is allowed and denied in turns is not asked about all the time.
            pause = if reopened && !reopened_before {
                PAUSE_FIRST
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
            reopened_before = reopened;
        }
    }

    /// Whether some are open again.
    async fn ask_once(&self, after: &mut Option<TaskKey>) -> Result<bool, ReplicationError> {
        let alive = self.blobs.health().alive_in(self.blobs.region());
        if placement::first(ROLE, alive) != Some(self.blobs.own()) {
            return Ok(false);
        }
        let view = self.metadata.view(&self.group)?;
        let found = query::denied_tasks(view.as_ref(), after.as_ref(), LOOKED_AT_MAX)?;
        *after = (found.len() == LOOKED_AT_MAX)
            .then(|| found.last().cloned())
            .flatten();
        let mut ways: BTreeMap<Way, Named> = BTreeMap::new();
        for key in found {
            let Some(task) = query::task(view.as_ref(), &key)?.filter(|task| task.denied) else {
                continue;
            };
            let way = ways.entry((key.account, key.destination, task.kind));
            let way = way.or_default();
            // What has no name there was refused for that.
            for name in task.names_there().unwrap_or_default() {
                let repositories = way.entry(name).or_default();
                repositories.insert(key.repository.clone());
            }
        }
        drop(view);
        let mut reopened = false;
        for (way, named) in ways {
            let names: Vec<RepositoryName> = named.keys().cloned().collect();
            let mut allowed = BTreeSet::new();
            for some in names.chunks(ASKED_MAX) {
                // One that cannot be asked does not keep the others waiting.
                match self.ask(&way, some).await {
                    Ok(admitted) => allowed.extend(admitted),
                    Err(error) => {
                        let destination = &way.1;
                        warn!(%destination, error = chain(&error), "cannot ask what is allowed");
                        break;
                    }
                }
            }
            let allowed = allowed.iter().filter_map(|name| named.get(name));
            let allowed: BTreeSet<&RepositoryName> = allowed.flatten().collect();
            for repository in allowed {
                self.reopen(&way, repository).await?;
                reopened = true;
            }
        }
        Ok(reopened)
    }

    /// Which of these names the destination allows.
    async fn ask(
        &self,
        (account, destination, kind): &Way,
        names: &[RepositoryName],
    ) -> Result<Vec<RepositoryName>, ReplicationError> {
        let region = &destination.region;
        let down = || ReplicationError::RegionDown(region.to_string());
        let node = placement::first(ROLE, self.blobs.health().alive_in(region)).ok_or_else(down)?;
        let channel = self.blobs.peers().channel(node).ok_or_else(down)?;
        let mut client = entrepot_proto::peer::replication_client::ReplicationClient::new(channel);
        let mut request = Request::new(AdmitRequest {
            source_account: account.to_string(),
            account: destination.account.to_string(),
            repositories: names.iter().map(ToString::to_string).collect(),
            deletions: *kind == TaskKind::Delete,
        });
        request.set_timeout(CALL_TIMEOUT);
        let reply = client
            .admit(request)
            .await
            .map_err(|status| ReplicationError::peer(node, status))?;
        let admitted: BTreeSet<String> = reply.into_inner().admitted.into_iter().collect();
        let names = names.iter().filter(|it| admitted.contains(it.as_str()));
        Ok(names.cloned().collect())
    }

    async fn reopen(
        &self,
        (account, destination, kind): &Way,
        repository: &RepositoryName,
    ) -> Result<(), ReplicationError> {
        let mut after: Option<TaskKey> = None;
        for _ in 0..PARTS_MAX {
            let view = self.metadata.view(&self.group)?;
            let (from, limit) = (after.as_ref(), RETRIED_MAX);
            let part = query::denied_tasks_of(view.as_ref(), account, repository, from, limit)?;
            drop(view);
            if part.iter().any(|key| key.destination == *destination) {
                let command = RetryTasks {
                    after: after.as_ref().map(DeniedTask::from),
                    ..RetryTasks::new(account, repository, destination, *kind)
                };
                let response = self.metadata.propose(&self.group, command.into()).await?;
                response
                    .into_result()
                    .map_err(|refused| ReplicationError::Refused(refused.to_string()))?;
            }
            after = part.into_iter().nth(RETRIED_MAX - 1);
            if after.is_none() {
                break;
            }
        }
        info!(%repository, %destination, "denied tasks are allowed now and tried again");
        Ok(())
    }
}
