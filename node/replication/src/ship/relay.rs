//! Blobs that go to a region by way of another one near it, which the same rule
//! sends them to anyway: so that they cross the long line once.
//!
//! The source stays in charge: it sends one of the regions that are near each other
//! the bytes, and asks that one to bring each blob on. Orders, manifests and what
//! becomes of a task are between the source and each destination. The invariant: a
//! region that passes on only ever saves the source from sending; whatever it fails
//! at, the source does by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, Blob, Destination, Rule, Task, TaskKey, TaskState};
use entrepot_oci::{Digest, RegionName, RegistryId, RepositoryName};
use entrepot_proto::peer::replica_reply::Result as Reply;
use entrepot_proto::peer::replication_client::ReplicationClient;
use entrepot_proto::peer::{DepositHeader, PassOnRequest};
use entrepot_proto::peers::PeerChannel;
use tonic::{Code, Status};
use tracing::{debug, info};

use super::{Sent, blob};
use crate::error::ReplicationError;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::{ClusterBlobs, placement};

/// For another region to bring a blob on, whatever its size.
const PASS_ON_MAX: Duration = Duration::from_mins(10);
/// Between two looks at whether the node that does it is still there.
const LOOK: Duration = Duration::from_secs(1);
/// A task that is older waits for no other region to have got the image.
const PATIENCE_MS: i64 = 30_000;
/// How a region says that it does not have a blob by now.
const NOT_YET: Code = Code::NotFound;

/// A region that may bring a task's blobs on.
#[derive(Debug, Clone)]
pub(super) struct Relay {
    blobs: Arc<ClusterBlobs>,
    node: u64,
    region: RegionName,
    client: ReplicationClient<PeerChannel>,
    /// All but the digest.
    request: PassOnRequest,
    /// Whether it has failed at a blob of the task: the others are sent from here.
    failed: Arc<AtomicBool>,
    /// Whether the region is about to get the image itself, and the task may wait.
    pub(super) waits: bool,
}

/// What has come of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// The destination has the blob.
    On,
    /// The region does not have it yet.
    NotYet,
    Failed,
}

/// The one of a rule's destinations by way of which another one gets its blobs, if
/// not from the source: of those near each other the first that answers. `wanted` is
/// what rules say of a repository.
pub(crate) fn relay_of<'a>(
    wanted: &'a BTreeMap<Destination, Rule>,
    destination: &Destination,
    own: &RegionName,
    answers: impl Fn(&RegionName) -> bool,
) -> Option<&'a Destination> {
    let rule = wanted.get(destination)?;
    if destination.region == *own {
        return None;
    }
    let has = |regions: &[String], region: &RegionName| {
        regions.iter().any(|near| near == region.as_str())
    };
    let near = rule.options.near.iter();
    let group = near
        .map(|near| near.regions.as_slice())
        .find(|group| has(group, &destination.region))?;
    let relay = rule.destinations.iter().find(|other| {
        other.region != *own
            && has(group, &other.region)
            && wanted.get(other).is_some_and(|of| of.id == rule.id)
            && answers(&other.region)
    })?;
    // What goes there goes into the region that the task is for anyway.
    let found = wanted.get_key_value(relay).map(|(found, _)| found);
    found.filter(|relay| relay.region != destination.region)
}

// === impl Outbox ===

impl Outbox {
    /// By way of whom a task's blobs may go; none: the source sends them.
    pub(super) fn relay(
        &self,
        view: &dyn KeyValue,
        sent: &Sent<'_>,
        failures: u32,
    ) -> Result<Option<Relay>, ReplicationError> {
        let key = &sent.task.key;
        if failures > 0 {
            return Ok(None);
        }
        let health = self.blobs.health();
        let wanted = query::destinations(view, &key.account, &key.repository)?;
        let answers = |region: &RegionName| !health.alive_in(region).is_empty();
        let relay = relay_of(&wanted, &key.destination, self.blobs.region(), answers);
        let (Some(through), Some(rule)) = (relay, wanted.get(&key.destination)) else {
            return Ok(None);
        };
        // The node that takes what goes into the repository there.
        let rank = placement::repository_key(&through.account, sent.name);
        let Some(node) = placement::first(&rank, health.alive_in(&through.region)) else {
            return Ok(None);
        };
        let Some(channel) = self.blobs.peers().channel(node) else {
            return Ok(None);
        };
        let own = TaskKey {
            destination: through.clone(),
            ..key.clone()
        };
        let own = query::task(view, &own)?;
        // By another clock, which may be ahead.
        let age_ms = self.now_ms() - sent.task.created_at_ms;
        let is_young = (-PATIENCE_MS..PATIENCE_MS).contains(&age_ms);
        Ok(Some(Relay {
            blobs: Arc::clone(&self.blobs),
            node,
            region: through.region.clone(),
            client: ReplicationClient::new(channel),
            request: PassOnRequest {
                source_region: self.blobs.region().to_string(),
                source_account: key.account.to_string(),
                source_repository: key.repository.to_string(),
                account: through.account.to_string(),
                repository: sent.name.to_string(),
                digest: String::new(),
                to_region: key.destination.region.to_string(),
                to_account: key.destination.account.to_string(),
                to_repository: sent.name.to_string(),
                rule: rule.id.clone(),
                bytes_per_second: rule.options.bandwidth().unwrap_or_default(),
            },
            failed: Arc::default(),
            waits: is_young && own.is_some_and(|own: Task| own.state == TaskState::InProgress),
        }))
    }
}

// === impl Relay ===

impl Relay {
    /// Has a blob brought on.
    pub(super) async fn pass_on(&self, digest: &Digest) -> Passed {
        if self.failed.load(Ordering::Relaxed) {
            return Passed::Failed;
        }
        let request = PassOnRequest {
            digest: digest.to_string(),
            ..self.request.clone()
        };
        let mut client = self.client.clone();
        let reply = tokio::select! {
            reply = tokio::time::timeout(PASS_ON_MAX, client.pass_on(request)) => reply,
            () = self.gone() => Ok(Err(Status::unavailable("it does not answer any more"))),
        };
        let reply = reply.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
        match reply.map(|reply| reply.into_inner().result) {
            Ok(Some(Reply::Done(_))) => Passed::On,
            Err(status) if status.code() == NOT_YET => Passed::NotYet,
            failed => {
                info!(%digest, region = %self.region, ?failed,
                    "a blob is not passed on; it is sent from here");
                self.failed.store(true, Ordering::Relaxed);
                Passed::Failed
            }
        }
    }

    /// Returns once the node does not answer.
    async fn gone(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if !self
                .blobs
                .health()
                .alive_in(&self.region)
                .contains(&self.node)
            {
                return;
            }
        }
    }
}

/// Brings a blob of this region to another one, for the source that brought it here.
/// `pace`: what the source's rule allows this node.
pub(crate) async fn pass_on(
    blobs: &Arc<ClusterBlobs>,
    source: &RegistryId,
    (to, name): (&Destination, &RepositoryName),
    blob: Blob,
    pace: Option<Arc<Pace>>,
) -> Result<(), ReplicationError> {
    let (digest, size) = (blob.digest, blob.size);
    let destination = super::Destination {
        pace,
        ..super::Destination::of(blobs, to, name, 0)?
    };
    let into = DepositHeader {
        account: to.account.to_string(),
        source_account: source.to_string(),
        repository: name.to_string(),
        ..DepositHeader::default()
    };
    blob::put(destination, Arc::clone(blobs), into, blob).await?;
    blobs.metrics().passed_on_bytes.inc_by(size);
    debug!(%digest, destination = %to, "a blob was passed on");
    Ok(())
}

#[cfg(test)]
mod tests {
    use entrepot_metadata::query::{NearRegions, RuleOptions};

    use entrepot_oci::AccountId;

    use super::*;

    fn at(region: &str) -> Destination {
        let account: AccountId = "123456789012".parse().unwrap();
        Destination::new(&region.parse().unwrap(), &account)
    }

    fn rule(id: &str, regions: &[&str], near: &[&[&str]]) -> Rule {
        let near = near.iter().map(|regions| NearRegions {
            regions: regions.iter().map(ToString::to_string).collect(),
        });
        Rule {
            id: id.to_owned(),
            prefixes: Vec::new(),
            destinations: regions.iter().map(|region| at(region)).collect(),
            options: RuleOptions {
                near: near.collect(),
                ..RuleOptions::default()
            },
            updated_at_ms: 0,
        }
    }

    /// For each destination of these rules, by way of which region it is reached.
    fn ways(rules: Vec<Rule>, down: &[&str]) -> Vec<(String, Option<String>)> {
        let wanted = query::by_destination(rules);
        let own = "us-east-1".parse().unwrap();
        let answers = |region: &RegionName| !down.contains(&region.as_str());
        let ways = wanted.keys().map(|to| {
            let way = relay_of(&wanted, to, &own, answers);
            (to.region.to_string(), way.map(|way| way.region.to_string()))
        });
        ways.collect()
    }

    fn way(to: &str, by: Option<&str>) -> (String, Option<String>) {
        (to.to_owned(), by.map(str::to_owned))
    }

    #[test]
    fn of_regions_near_each_other_one_is_sent_the_bytes() {
        let all = ["eu-west-1", "eu-west-2", "sa-east-1"];
        let near: &[&[&str]] = &[&["eu-west-2", "eu-west-1"]];
        let found = ways(vec![rule("all", &all, near)], &[]);
        let expected = [
            way("eu-west-1", None),
            way("eu-west-2", Some("eu-west-1")),
            way("sa-east-1", None),
        ];
        assert_eq!(found, expected);
        // While that one is away, the next one is.
        let found = ways(vec![rule("all", &all, near)], &["eu-west-1"]);
        assert_eq!(found[0], way("eu-west-1", Some("eu-west-2")));
        assert_eq!(found[1], way("eu-west-2", None));
    }

    #[test]
    fn what_stays_in_the_region_goes_by_way_of_no_other() {
        let near: &[&[&str]] = &[&["us-east-1", "us-east-2"]];
        let found = ways(vec![rule("own", &["us-east-1", "us-east-2"], near)], &[]);
        assert_eq!(found, [way("us-east-1", None), way("us-east-2", None)]);
    }

    #[test]
    fn nothing_goes_by_way_of_a_region_that_another_rule_names() {
        let near: &[&[&str]] = &[&["eu-west-1", "eu-west-2"]];
        let rules = vec![
            rule("one", &["eu-west-1"], &[]),
            rule("two", &["eu-west-1", "eu-west-2"], near),
        ];
        // The first rule has the say about the first region.
        let expected = [way("eu-west-1", None), way("eu-west-2", None)];
        assert_eq!(ways(rules, &[]), expected);
    }
}
