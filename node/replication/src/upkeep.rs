//! How the care for copies stands, on this node and on the others of its region.
//!
//! Nothing here is kept: every number belongs to who does the work. The
//! invariant: a node that does not answer in time is shown as one of which
//! nothing is known, and keeps nobody waiting.

use std::sync::Arc;
use std::time::Duration;

use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::{Flight, RepairState, UpkeepReply, UpkeepRequest};
use futures::future::join_all;
use tonic::Request;
use tracing::debug;

use crate::ClusterBlobs;

/// For a node to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// One node of the region.
#[derive(Debug, Clone)]
pub struct NodeUpkeep {
    pub node: u64,
    /// None: it did not answer.
    pub upkeep: Option<UpkeepReply>,
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// This node's, after beginning a scrub if that is asked for.
    pub(crate) fn upkeep(&self, start_scrub: bool) -> UpkeepReply {
        let scrub_started = start_scrub && self.scrub.start();
        let repair = RepairState {
            cached_bytes: self.cache.bytes(),
            cache_limit_bytes: self.cache.limit_bytes(),
            lost_nodes: self.lost.all(),
            ..self.repair.state()
        };
        UpkeepReply {
            scrub: Some(self.scrub.state()),
            repair: Some(repair),
            scrub_started,
            flights: self.tally.flights(),
            collection: Some(self.standing.state()),
        }
    }

    /// That of every node of the region, in order of id.
    pub async fn upkeep_of_all(self: &Arc<Self>) -> Vec<NodeUpkeep> {
        let nodes = self.peers.in_region(self.region()).into_iter();
        join_all(nodes.map(|node| self.upkeep_of(node, false))).await
    }

    /// What the nodes of this region that are alive copy to other registries now.
    pub async fn flights_of_all(self: &Arc<Self>) -> Vec<Flight> {
        let nodes = self.health.alive_in(self.region()).into_iter();
        let nodes = join_all(nodes.map(|node| self.upkeep_of(node, false))).await;
        let upkeep = nodes.into_iter().filter_map(|node| node.upkeep);
        upkeep.flat_map(|upkeep| upkeep.flights).collect()
    }

    /// Begins a scrub on `node`, or on all of the region; empty if it has no such
    /// node.
    pub async fn start_scrub(self: &Arc<Self>, node: Option<u64>) -> Vec<NodeUpkeep> {
        let nodes = self.peers.in_region(self.region()).into_iter();
        let nodes = nodes.filter(|other| node.is_none_or(|node| node == *other));
        join_all(nodes.map(|node| self.upkeep_of(node, true))).await
    }

    async fn upkeep_of(&self, node: u64, start_scrub: bool) -> NodeUpkeep {
        if node == self.own() {
            let upkeep = Some(self.upkeep(start_scrub));
            return NodeUpkeep { node, upkeep };
        }
        let Some(channel) = self.peers.channel(node) else {
            return NodeUpkeep { node, upkeep: None };
        };
        let mut request = Request::new(UpkeepRequest { start_scrub });
        request.set_timeout(ANSWER_TIMEOUT);
        let mut client = BlobsClient::new(channel);
        let reply = tokio::time::timeout(ANSWER_TIMEOUT, client.upkeep(request)).await;
        let upkeep = match reply {
            Ok(Ok(reply)) => Some(reply.into_inner()),
            Ok(Err(status)) => {
                debug!(node, %status, "a node does not tell how its copies are");
                None
            }
            Err(_) => None,
        };
        NodeUpkeep { node, upkeep }
    }
}
