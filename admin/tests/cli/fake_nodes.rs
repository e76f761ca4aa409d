//! The fake node's service `Cluster`: three nodes, of which one has more to
//! give away each time somebody looks.

use std::collections::VecDeque;

use entrepot_proto::admin::cluster_server::Cluster;
use entrepot_proto::admin::{
    AddRegionReply, AddRegionRequest, Counting, Departure, DrainNodeReply, DrainNodeRequest,
    ListNodesReply, ListNodesRequest, ListRegionsReply, ListRegionsRequest, Node,
    NodeDepartureReply, NodeDepartureRequest, NodeState, Region, RemoveNodeReply,
    RemoveNodeRequest, RemoveRegionReply, RemoveRegionRequest,
};
use tonic::{Request, Response, Status};

use crate::fake::{Answer, Service};

/// What the fake knows of its cluster.
#[allow(clippy::struct_field_names, reason = "they are nodes")]
#[derive(Debug, Default)]
pub(crate) struct FakeCluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) regions: Vec<Region>,
    /// Blobs that still have to move from a node that drains; as many fewer each
    /// time as there are groups in which it votes, and one vote less.
    pub(crate) departure: Departure,
    /// What the next calls answer that need the departure: it is not known yet.
    pub(crate) counting: VecDeque<Counting>,
}

/// Three nodes, one of them dead.
pub(crate) fn sample_nodes() -> FakeCluster {
    let node = |id: u64, state: NodeState| Node {
        id,
        region: "us-east-1".to_owned(),
        peer_address: format!("10.0.0.{id}:6000"),
        client_address: String::new(),
        state: state.into(),
        alive: id != 3,
        capacity_bytes: 2_000_000_000_000,
        free_bytes: 1_500_000_000_000 / id,
        is_full: false,
        joined_at_ms: 1_767_225_600_000,
    };
    let mut nodes = vec![
        node(1, NodeState::Active),
        node(2, NodeState::Active),
        node(3, NodeState::Active),
    ];
    nodes[1].is_full = true;
    FakeCluster {
        nodes,
        regions: vec![Region {
            name: "us-east-1".to_owned(),
            created_at_ms: 1_767_225_600_000,
            nodes: 3,
        }],
        departure: Departure {
            votes_in: vec!["region/us-east-1/0".to_owned()],
            blobs: 1_042,
            blobs_short: 40,
            blobs_last: 3,
            ..Departure::default()
        },
        counting: VecDeque::new(),
    }
}

impl Service {
    fn counting(&self) -> Option<Counting> {
        self.0.lock().unwrap().nodes.counting.pop_front()
    }

    fn node<T>(&self, id: u64, look: impl FnOnce(&mut Node) -> T) -> Result<T, Status> {
        let nodes = &mut self.0.lock().unwrap().nodes.nodes;
        let found = nodes.iter_mut().find(|node| node.id == id);
        found
            .map(look)
            .ok_or_else(|| Status::not_found(format!("there is no node {id}")))
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn list_nodes(&self, r: Request<ListNodesRequest>) -> Answer<ListNodesReply> {
        self.enter(r).await?;
        let nodes = self.0.lock().unwrap().nodes.nodes.clone();
        Ok(Response::new(ListNodesReply { nodes }))
    }

    async fn drain_node(&self, r: Request<DrainNodeRequest>) -> Answer<DrainNodeReply> {
        let DrainNodeRequest { node, cancel } = self.enter(r).await?;
        let state = if cancel {
            NodeState::Active
        } else {
            NodeState::Draining
        };
        let node = self.node(node, |node| {
            node.set_state(state);
            node.clone()
        })?;
        Ok(Response::new(DrainNodeReply { node: Some(node) }))
    }

    async fn node_departure(&self, r: Request<NodeDepartureRequest>) -> Answer<NodeDepartureReply> {
        let id = self.enter(r).await?.node;
        let node = self.node(id, |node| node.clone())?;
        if let Some(counting) = self.counting() {
            return Ok(Response::new(NodeDepartureReply {
                node: Some(node),
                departure: None,
                counting: Some(counting),
            }));
        }
        let departure = &mut self.0.lock().unwrap().nodes.departure;
        let found = departure.clone();
        if node.state() == NodeState::Draining {
            departure.votes_in.pop();
            departure.blobs_short = departure.blobs_short.saturating_sub(40);
            departure.blobs_last = 0;
        }
        Ok(Response::new(NodeDepartureReply {
            node: Some(node),
            departure: Some(found),
            counting: None,
        }))
    }

    async fn remove_node(&self, r: Request<RemoveNodeRequest>) -> Answer<RemoveNodeReply> {
        let request = self.enter(r).await?;
        let RemoveNodeRequest { node, force, .. } = request;
        let alive = self.node(node, |node| node.alive)?;
        if request.successor != 0 && alive {
            return Err(Status::failed_precondition("it is not lost"));
        }
        if let Some(counting) = self.counting() {
            return Ok(Response::new(RemoveNodeReply {
                departure: None,
                counting: Some(counting),
            }));
        }
        let nodes = &mut self.0.lock().unwrap().nodes;
        let departure = nodes.departure.clone();
        if departure.blobs_last > 0 && !force {
            return Err(Status::failed_precondition(
                "node 3 has the last copy of 3 of 1042 blobs",
            ));
        }
        nodes.nodes.retain(|known| known.id != node);
        Ok(Response::new(RemoveNodeReply {
            departure: Some(departure),
            counting: None,
        }))
    }

    async fn list_regions(&self, r: Request<ListRegionsRequest>) -> Answer<ListRegionsReply> {
        self.enter(r).await?;
        let regions = self.0.lock().unwrap().nodes.regions.clone();
        Ok(Response::new(ListRegionsReply { regions }))
    }

    async fn add_region(&self, r: Request<AddRegionRequest>) -> Answer<AddRegionReply> {
        self.enter(r).await?;
        Ok(Response::new(AddRegionReply {}))
    }

    async fn remove_region(&self, r: Request<RemoveRegionRequest>) -> Answer<RemoveRegionReply> {
        let name = self.enter(r).await?.name;
        let regions = &self.0.lock().unwrap().nodes.regions;
        if regions
            .iter()
            .any(|region| region.name == name && region.nodes > 0)
        {
            return Err(Status::failed_precondition(format!(
                "region {name} has nodes"
            )));
        }
        Ok(Response::new(RemoveRegionReply {}))
    }
}
