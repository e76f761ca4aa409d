//! What would be missing if a node left now: votes and copies of blobs.
//!
//! A node of the same region finds out: it has the region's metadata, and asks
//! the others which blobs they hold. What a node does not say is not counted as
//! a copy: unknown is not present.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::query::{self, Blob, Member};
use entrepot_metadata::{GroupId, KeyValue};
use entrepot_oci::Digest;
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::members_client::MembersClient;
use entrepot_proto::peer::members_server::Members;
use entrepot_proto::peer::{DepartureReply, DepartureRequest, HeldRequest};
use entrepot_proto::peers::MESSAGE_BYTES_MAX;
use tonic::{Request, Response, Status};

use crate::cluster::GroupInfo;
use crate::{Registry, ServiceError};

/// Blobs that one question to a node is about.
const PAGE: usize = 500;
const HELD_TIMEOUT: Duration = Duration::from_secs(10);
/// A region of millions of blobs takes a while.
const DEPARTURE_TIMEOUT: Duration = Duration::from_mins(10);

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

/// Answers what would be missing without a node of this region.
#[derive(Debug, Clone)]
pub struct MembersServer {
    registry: Arc<Registry>,
}

impl Registry {
    /// Asks whoever can tell.
    pub(crate) async fn departure_of(&self, member: &Member) -> Result<Departure, ServiceError> {
        if member.region == *self.region() {
            return self.departure_here(member.node).await;
        }
        let mut reason = format!("no node of region {} answers", member.region);
        let health = self.blobs.health();
        let mut nodes = health.alive_in(&member.region);
        // The node itself may be cut off from the others.
        nodes.sort_by_key(|node| *node == member.node);
        for node in nodes {
            let Some(channel) = self.peers.channel(node) else {
                continue;
            };
            let mut request = Request::new(DepartureRequest { node: member.node });
            request.set_timeout(DEPARTURE_TIMEOUT);
            match MembersClient::new(channel).departure(request).await {
                Ok(reply) => {
                    let mut departure = Departure::from(reply.into_inner());
                    self.count_votes(member.node, &GroupId::global(), &mut departure);
                    return Ok(departure);
                }
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
    async fn departure_here(&self, node: u64) -> Result<Departure, ServiceError> {
        let mut departure = Departure::default();
        self.count_votes(node, &self.group, &mut departure);
        self.count_votes(node, &self.global, &mut departure);
        let view = self.current().await?;
        let mut after: Option<Digest> = None;
        loop {
            let page = query::blobs(view.as_ref(), after.as_ref(), PAGE)?;
            let Some(last) = page.last() else {
                return Ok(departure);
            };
            after = Some(last.digest);
            self.count_copies(node, view.as_ref(), page, &mut departure)
                .await?;
        }
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

    async fn count_copies(
        &self,
        node: u64,
        view: &dyn KeyValue,
        page: Vec<Blob>,
        departure: &mut Departure,
    ) -> Result<(), ServiceError> {
        let blobs: Vec<Blob> = page.into_iter().filter(|it| it.content.is_none()).collect();
        if blobs.is_empty() {
            return Ok(());
        }
        let nodes = self.peers.in_region(self.region());
        let digests: Vec<String> = blobs.iter().map(|it| it.digest.to_string()).collect();
        let asked = nodes.iter().map(|it| self.held(*it, &digests));
        let answers = futures::future::join_all(asked).await;
        let staying = |it: u64| {
            let list = self.peers.all();
            it != node && list.find(it).is_some_and(|peer| peer.standing.takes_copies)
        };
        let stay = nodes.iter().filter(|it| staying(**it)).count();
        let wanted = self.blobs.copies().min(stay).max(1);
        for (place, blob) in blobs.iter().enumerate() {
            let mut elsewhere = 0;
            let mut staying_copies = 0;
            let mut here = false;
            for (holder, held) in nodes.iter().zip(&answers) {
                let has = held.as_ref().map(|held| held[place]);
                if has.is_none() {
                    departure.silent.insert(*holder);
                }
                let has = has.unwrap_or(false);
                if *holder == node {
                    // The record does not tell: it names who had it first.
                    here = held.is_none() || has;
                } else if has {
                    elsewhere += 1;
                    staying_copies += usize::from(staying(*holder));
                }
            }
            // What was deleted meanwhile is no loss.
            if elsewhere == 0 && query::blob(view, &blob.digest)?.is_none() {
                continue;
            }
            departure.blobs += 1;
            departure.blobs_short += u64::from(staying_copies < wanted && (here || elsewhere > 0));
            departure.blobs_last += u64::from(elsewhere == 0 && here);
        }
        Ok(())
    }

    /// Which of these `node` has; none, when it does not say.
    async fn held(&self, node: u64, digests: &[String]) -> Option<Vec<bool>> {
        let own = node == self.peers.own().id;
        if own {
            let mut held = Vec::with_capacity(digests.len());
            for digest in digests {
                let digest: Digest = digest.parse().ok()?;
                held.push(self.blobs.store().stat(&digest).await.ok()?.is_some());
            }
            return Some(held);
        }
        let mut client = BlobsClient::new(self.peers.channel(node)?)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let request = HeldRequest {
            digests: digests.to_vec(),
        };
        let asked = tokio::time::timeout(HELD_TIMEOUT, client.held(request)).await;
        let held = asked.ok()?.ok()?.into_inner().held;
        (held.len() == digests.len()).then_some(held)
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
        let node = request.into_inner().node;
        let departure = self.registry.departure_here(node).await;
        let departure = departure.map_err(|error| Status::unavailable(error.to_string()))?;
        let global = GroupId::global().to_string();
        Ok(Response::new(DepartureReply {
            // Of that group, the node that was asked first knows itself.
            votes_in: without(departure.votes_in, &global),
            needed_in: without(departure.needed_in, &global),
            blobs: departure.blobs,
            blobs_short: departure.blobs_short,
            blobs_last: departure.blobs_last,
            silent: departure.silent.into_iter().collect(),
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

// === impl Departure ===

impl From<DepartureReply> for Departure {
    fn from(reply: DepartureReply) -> Self {
        Self {
            votes_in: reply.votes_in,
            needed_in: reply.needed_in,
            blobs: reply.blobs,
            blobs_short: reply.blobs_short,
            blobs_last: reply.blobs_last,
            silent: reply.silent.into_iter().collect(),
        }
    }
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
