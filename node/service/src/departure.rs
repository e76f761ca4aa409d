//! What would be missing if a node left now: votes and copies of blobs.
//!
//! A node of the same region finds out: it has the region's metadata, and asks
//! the others which blobs they hold. What a node does not say is not counted as
//! a copy: unknown is not present.

mod count;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::GroupId;
use entrepot_metadata::query::Member;
use entrepot_proto::peer::members_client::MembersClient;
use entrepot_proto::peer::members_server::Members;
use entrepot_proto::peer::{Counting, DepartureReply, DepartureRequest};
use tonic::{Request, Response, Status};

pub(crate) use self::count::Counts;
use crate::cluster::GroupInfo;
use crate::{Registry, ServiceError};

/// A region of millions of blobs takes a while, for those who wait for all of it.
const DEPARTURE_TIMEOUT: Duration = Duration::from_mins(10);
/// For an answer, beyond the time that it may wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const VOTES_TIMEOUT: Duration = Duration::from_secs(5);

/// What would be missing without a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Departure {
    /// Groups in which it votes.
    pub votes_in: Vec<String>,
    /// Groups that could not decide anything without it.
    pub needed_in: Vec<String>,
    /// Blobs of its region that have files.
    pub blobs: u64,
    /// Of those, the ones with fewer copies on other nodes than there should be.
    pub blobs_short: u64,
    /// Of those, the ones that no other node has: all of which it has a copy, or
    /// may have one while it does not say.
    pub blobs_last: u64,
    /// Nodes that did not say what they hold.
    pub silent: BTreeSet<u64>,
}

/// How far the count of a region's blobs is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Counted so far.
    pub blobs: u64,
    /// About how much of all that is, in thousandths.
    pub per_mille: u32,
}

/// What is known so far of a departure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    All(Departure),
    /// The count goes on; ask again.
    Some(Progress),
}

/// Answers what would be missing without a node of this region.
#[derive(Debug, Clone)]
pub struct MembersServer {
    registry: Arc<Registry>,
}

impl Registry {
    /// Asks whoever can tell. The blobs are counted in the background: after
    /// `patience` the answer is how far that is. None: waits for its end.
    pub(crate) async fn departure_of(
        self: &Arc<Self>,
        member: &Member,
        patience: Option<Duration>,
    ) -> Result<Counted, ServiceError> {
        if member.region == *self.region() {
            return self.departure_here(member.node, patience).await;
        }
        let request = DepartureRequest {
            node: member.node,
            wait_ms: patience.map_or(0, wait_ms),
            votes_only: false,
        };
        let timeout = patience.map_or(DEPARTURE_TIMEOUT, |patience| patience + ANSWER_TIMEOUT);
        let reply = self.ask_region(member, request, timeout).await?;
        Ok(match Counted::from(reply) {
            Counted::All(mut departure) => {
                self.count_votes(member.node, &GroupId::global(), &mut departure);
                Counted::All(departure)
            }
            Counted::Some(progress) => Counted::Some(progress),
        })
    }

    /// Asks a node of the region of `member`.
    async fn ask_region(
        &self,
        member: &Member,
        message: DepartureRequest,
        timeout: Duration,
    ) -> Result<DepartureReply, ServiceError> {
        let mut reason = format!("no node of region {} answers", member.region);
        let health = self.blobs.health();
        // In the order of their ids: who is asked again is the one that counts.
        let mut nodes = health.alive_in(&member.region);
        // The node itself may be cut off from the others.
        nodes.sort_by_key(|node| *node == member.node);
        for node in nodes {
            let Some(channel) = self.peers.channel(node) else {
                continue;
            };
            let mut request = Request::new(message);
            request.set_timeout(timeout);
            match MembersClient::new(channel).departure(request).await {
                Ok(reply) => return Ok(reply.into_inner()),
                Err(status) => status.message().clone_into(&mut reason),
            }
        }
        Err(ServiceError::unavailable(format!(
            "what node {} holds cannot be found out: {reason}",
            member.node
        )))
    }

    /// The same of a node whose region is gone: nobody is left who could know.
    /// None, if somebody may be.
    pub(crate) fn departure_of_gone(&self, member: &Member) -> Option<Departure> {
        let health = self.blobs.health();
        if !health.alive_in(&member.region).is_empty() {
            return None;
        }
        let mut departure = Departure {
            silent: self.peers.in_region(&member.region).into_iter().collect(),
            ..Departure::default()
        };
        self.count_votes(member.node, &GroupId::global(), &mut departure);
        Some(departure)
    }

    /// Of a node of this node's region.
    async fn departure_here(
        self: &Arc<Self>,
        node: u64,
        patience: Option<Duration>,
    ) -> Result<Counted, ServiceError> {
        let counted = self.count(node, patience).await?;
        // The votes of now: they may have moved while the blobs were counted.
        Ok(match counted {
            Counted::All(mut departure) => {
                self.count_votes(node, &self.group, &mut departure);
                self.count_votes(node, &self.global, &mut departure);
                Counted::All(departure)
            }
            Counted::Some(progress) => Counted::Some(progress),
        })
    }

    /// The groups in which a node votes; its blobs are not counted.
    pub(crate) async fn votes_of(&self, member: &Member) -> Result<Vec<String>, ServiceError> {
        let mut found = Departure::default();
        self.count_votes(member.node, &self.global, &mut found);
        if member.region == *self.region() {
            self.count_votes(member.node, &self.group, &mut found);
            return Ok(found.votes_in);
        }
        let request = DepartureRequest {
            node: member.node,
            votes_only: true,
            ..DepartureRequest::default()
        };
        let reply = self.ask_region(member, request, VOTES_TIMEOUT).await?;
        found.votes_in.extend(reply.votes_in);
        Ok(found.votes_in)
    }

    fn count_votes(&self, node: u64, group: &GroupId, departure: &mut Departure) {
        let groups = self.view.groups();
        let Some(group) = groups.iter().find(|found| found.group == *group) else {
            return;
        };
        if !group.voters.contains(&node) {
            return;
        }
        departure.votes_in.push(group.group.to_string());
        if self.is_needed(node, group) {
            departure.needed_in.push(group.group.to_string());
        }
    }

    fn is_needed(&self, node: u64, group: &GroupInfo) -> bool {
        let health = self.blobs.health();
        is_needed(node, &group.voters, |voter| health.is_alive(voter))
    }
}

// === impl MembersServer ===

impl MembersServer {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Members for MembersServer {
    async fn departure(
        &self,
        request: Request<DepartureRequest>,
    ) -> Result<Response<DepartureReply>, Status> {
        let DepartureRequest {
            node,
            wait_ms,
            votes_only,
        } = request.into_inner();
        let counted = if votes_only {
            let mut found = Departure::default();
            let registry = &self.registry;
            registry.count_votes(node, &registry.group, &mut found);
            Ok(Counted::All(found))
        } else {
            let patience = (wait_ms > 0).then(|| Duration::from_millis(wait_ms));
            self.registry.departure_here(node, patience).await
        };
        let counted = counted.map_err(|error| Status::unavailable(error.to_string()))?;
        let departure = match counted {
            Counted::All(departure) => departure,
            Counted::Some(Progress { blobs, per_mille }) => {
                return Ok(Response::new(DepartureReply {
                    counting: Some(Counting { blobs, per_mille }),
                    ..DepartureReply::default()
                }));
            }
        };
        let global = GroupId::global().to_string();
        Ok(Response::new(DepartureReply {
            // Of that group, the node that was asked first knows itself.
            votes_in: without(departure.votes_in, &global),
            needed_in: without(departure.needed_in, &global),
            blobs: departure.blobs,
            blobs_short: departure.blobs_short,
            blobs_last: departure.blobs_last,
            silent: departure.silent.into_iter().collect(),
            counting: None,
        }))
    }
}

/// Whether the voters that answer could not decide that `node` goes, or the
/// others nothing after that.
fn is_needed(node: u64, voters: &[u64], is_alive: impl Fn(u64) -> bool) -> bool {
    let alive = voters.iter().filter(|voter| is_alive(**voter)).count();
    let others = alive - usize::from(voters.contains(&node) && is_alive(node));
    alive <= voters.len() / 2 || others <= voters.len().saturating_sub(1) / 2
}

fn without(mut groups: Vec<String>, group: &str) -> Vec<String> {
    groups.retain(|found| found != group);
    groups
}

// === impl Counted ===

impl From<DepartureReply> for Counted {
    fn from(reply: DepartureReply) -> Self {
        if let Some(Counting { blobs, per_mille }) = reply.counting {
            return Self::Some(Progress { blobs, per_mille });
        }
        Self::All(Departure {
            votes_in: reply.votes_in,
            needed_in: reply.needed_in,
            blobs: reply.blobs,
            blobs_short: reply.blobs_short,
            blobs_last: reply.blobs_last,
            silent: reply.silent.into_iter().collect(),
        })
    }
}

fn wait_ms(patience: Duration) -> u64 {
    u64::try_from(patience.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_is_needed_where_the_others_are_no_majority() {
        let cases: [(u64, &[u64], &[u64], bool); 9] = [
            // node, voters, those that answer
            (1, &[1], &[1], true),
            (2, &[1, 2], &[1, 2], false),
            (2, &[1, 2], &[1], true),
            (3, &[1, 2, 3], &[1, 2, 3], false),
            (3, &[1, 2, 3], &[1, 2], false),
            // The group would be of 1 and 2, and 2 does not answer.
            (3, &[1, 2, 3], &[1, 3], true),
            (3, &[1, 2, 3], &[1], true),
            (5, &[1, 2, 3, 4, 5], &[1, 2, 3], false),
            (3, &[1, 2, 3, 4, 5], &[1, 2, 3], true),
        ];
        for (node, voters, alive, needed) in cases {
            let found = is_needed(node, voters, |voter| alive.contains(&voter));
            assert_eq!(found, needed, "{node} of {voters:?}, {alive:?} answer");
        }
    }
}
