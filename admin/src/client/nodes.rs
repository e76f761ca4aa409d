//! The service `Cluster`: nodes and regions.

use entrepot_proto::admin::cluster_client::ClusterClient;
use entrepot_proto::admin::{
    AddRegionRequest, Departure, DrainNodeRequest, ListNodesRequest, ListRegionsRequest, Node,
    NodeDepartureRequest, Region, RemoveNodeRequest, RemoveRegionRequest,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::Client;
use crate::failure::{Effect, Failure};

const NO_NODE: Failure = Failure::Nonsense("an answer about no node");

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

    /// What would be missing without a node.
    pub(crate) async fn departure(&self, node: u64) -> Result<(Node, Departure), Failure> {
        let reply = self.of_cluster(
            Effect::Reads,
            NodeDepartureRequest { node },
            async |mut cluster, request| cluster.node_departure(request).await,
        );
        let reply = reply.await;
        let reply = reply.map_err(|failure| failure.or_missing(|| Failure::NodeUnknown(node)))?;
        reply.node.zip(reply.departure).ok_or(NO_NODE)
    }

    /// What is missing since.
    pub(crate) async fn remove_node(&self, node: u64, force: bool) -> Result<Departure, Failure> {
        let reply = self.of_cluster(
            Effect::ChangesNodes,
            RemoveNodeRequest { node, force },
            async |mut cluster, request| cluster.remove_node(request).await,
        );
        let reply = reply.await;
        let reply = reply.map_err(|failure| failure.or_missing(|| Failure::NodeUnknown(node)))?;
        reply.departure.ok_or(NO_NODE)
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
