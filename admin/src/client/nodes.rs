//! The service `Cluster`: nodes and regions.

use std::time::Duration;

use entrepot_proto::admin::cluster_client::ClusterClient;
use entrepot_proto::admin::{
    AddRegionRequest, Counting, Departure, DrainNodeRequest, ListNodesRequest, ListRegionsRequest,
    Node, NodeDepartureRequest, Region, RemoveNodeRequest, RemoveRegionRequest,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::Client;
use crate::failure::{Effect, Failure};

/// Between two answers about a count that goes on.
const COUNT_WAIT_MAX: Duration = Duration::from_secs(2);

const NO_NODE: Failure = Failure::Nonsense("an answer about no node");

/// What is known so far of a departure: a count may take longer than a call.
#[derive(Debug)]
pub(crate) enum Counted {
    All(Departure),
    Some(Counting),
}

impl Counted {
    fn of(departure: Option<Departure>, counting: Option<Counting>) -> Result<Self, Failure> {
        match (departure, counting) {
            (Some(departure), _) => Ok(Self::All(departure)),
            (None, Some(counting)) => Ok(Self::Some(counting)),
            (None, None) => Err(NO_NODE),
        }
    }
}

impl Client {
    pub(crate) async fn nodes(&self) -> Result<Vec<Node>, Failure> {
        let reply = self.of_cluster(
            Effect::Reads,
            ListNodesRequest {},
            async |mut cluster, request| cluster.list_nodes(request).await,
        );
        Ok(reply.await?.nodes)
    }

    pub(crate) async fn drain_node(&self, node: u64, cancel: bool) -> Result<Node, Failure> {
        let reply = self.of_cluster(
            Effect::ChangesNodes,
            DrainNodeRequest { node, cancel },
            async |mut cluster, request| cluster.drain_node(request).await,
        );
        let reply = reply.await;
        let reply = reply.map_err(|failure| failure.or_missing(|| Failure::NodeUnknown(node)))?;
        reply.node.ok_or(NO_NODE)
    }

    /// What would be missing without a node, as far as that is known.
    pub(crate) async fn departure(&self, node: u64) -> Result<(Node, Counted), Failure> {
        let wait_ms = self.count_wait_ms();
        let reply = self.of_cluster(
            Effect::Reads,
            NodeDepartureRequest { node, wait_ms },
            async |mut cluster, request| cluster.node_departure(request).await,
        );
        let reply = reply.await;
        let reply = reply.map_err(|failure| failure.or_missing(|| Failure::NodeUnknown(node)))?;
        let counted = Counted::of(reply.departure, reply.counting)?;
        Ok((reply.node.ok_or(NO_NODE)?, counted))
    }

    /// What is missing since; or how far the count of that is, and the node is
    /// not removed yet. `successor`: the one that took its place, for it is lost.
    pub(crate) async fn remove_node(
        &self,
        node: u64,
        force: bool,
        successor: Option<u64>,
    ) -> Result<Counted, Failure> {
        let request = RemoveNodeRequest {
            node,
            force,
            successor: successor.unwrap_or_default(),
            wait_ms: self.count_wait_ms(),
        };
        let reply = self.of_cluster(
            Effect::ChangesNodes,
            request,
            async |mut cluster, request| cluster.remove_node(request).await,
        );
        let reply = reply.await;
        let reply = reply.map_err(|failure| failure.or_missing(|| Failure::NodeUnknown(node)))?;
        Counted::of(reply.departure, reply.counting)
    }

    /// A part of the timeout: what else a call does takes its time too.
    fn count_wait_ms(&self) -> u64 {
        let wait = COUNT_WAIT_MAX.min(self.timeout / 4);
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    pub(crate) async fn regions(&self) -> Result<Vec<Region>, Failure> {
        let reply = self.of_cluster(
            Effect::Reads,
            ListRegionsRequest {},
            async |mut cluster, request| cluster.list_regions(request).await,
        );
        Ok(reply.await?.regions)
    }

    pub(crate) async fn add_region(&self, name: &str) -> Result<(), Failure> {
        let name = name.to_owned();
        let reply = self.of_cluster(
            Effect::ChangesRegions,
            AddRegionRequest { name },
            async |mut cluster, request| cluster.add_region(request).await,
        );
        reply.await.map(drop)
    }

    pub(crate) async fn remove_region(&self, name: &str) -> Result<(), Failure> {
        let name = name.to_owned();
        let reply = self.of_cluster(
            Effect::ChangesRegions,
            RemoveRegionRequest { name },
            async |mut cluster, request| cluster.remove_region(request).await,
        );
        reply.await.map(drop)
    }

    async fn of_cluster<Q, R>(
        &self,
        effect: Effect,
        message: Q,
        ask: impl AsyncFnOnce(ClusterClient<Channel>, Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let cluster = self.cluster.clone();
        self.timed(effect, message, async |request| ask(cluster, request).await)
            .await
    }
}
