//! `entrepot.admin.v1.Cluster`: nodes and regions, for operators.

use std::sync::Arc;
use std::time::Duration;

use entrepot_oci::RegionName;
use entrepot_proto::admin;
use entrepot_proto::admin::cluster_server::Cluster;
use entrepot_service::{
    Counted, Departure, MemberInfo, MemberState, Progress, RegionInfo, Registry, Removal,
    ServiceError,
};
use tonic::{Request, Response, Status};

use crate::caller;
use crate::status::status;

/// The longest that a caller is kept waiting for a count, if it asks for less
/// than all of it.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct ClusterServer {
    registry: Arc<Registry>,
}

// === impl ClusterServer ===

impl ClusterServer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterServer {
    async fn list_nodes(
        &self,
        request: Request<admin::ListNodesRequest>,
    ) -> Result<Response<admin::ListNodesReply>, Status> {
        let who = caller::of(&request)?;
        let members = self.registry.members(&who).await.map_err(failed)?;
        Ok(Response::new(admin::ListNodesReply {
            nodes: members.into_iter().map(node).collect(),
        }))
    }

    async fn drain_node(
        &self,
        request: Request<admin::DrainNodeRequest>,
    ) -> Result<Response<admin::DrainNodeReply>, Status> {
        let who = caller::of(&request)?;
        let admin::DrainNodeRequest { node: id, cancel } = request.into_inner();
        let member = self.registry.drain(&who, id, cancel).await;
        Ok(Response::new(admin::DrainNodeReply {
            node: Some(node(member.map_err(failed)?)),
        }))
    }

    async fn node_departure(
        &self,
        request: Request<admin::NodeDepartureRequest>,
    ) -> Result<Response<admin::NodeDepartureReply>, Status> {
        let who = caller::of(&request)?;
        let admin::NodeDepartureRequest { node: id, wait_ms } = request.into_inner();
        let found = self.registry.departure(&who, id, patience(wait_ms)).await;
        let (member, counted) = found.map_err(failed)?;
        let (departure, counting) = split(counted);
        Ok(Response::new(admin::NodeDepartureReply {
            node: Some(node(member)),
            departure,
            counting,
        }))
    }

    async fn remove_node(
        &self,
        request: Request<admin::RemoveNodeRequest>,
    ) -> Result<Response<admin::RemoveNodeReply>, Status> {
        let who = caller::of(&request)?;
        let admin::RemoveNodeRequest {
            node,
            force,
            successor,
            wait_ms,
        } = request.into_inner();
        let removal = Removal {
            node,
            force,
            successor: (successor != 0).then_some(successor),
        };
        let patience = patience(wait_ms);
        let removed = self.registry.remove_member(&who, &removal, patience).await;
        let (departure, counting) = split(removed.map_err(failed)?);
        Ok(Response::new(admin::RemoveNodeReply {
            departure,
            counting,
        }))
    }

    async fn list_regions(
        &self,
        request: Request<admin::ListRegionsRequest>,
    ) -> Result<Response<admin::ListRegionsReply>, Status> {
        let who = caller::of(&request)?;
        let regions = self.registry.regions(&who).await.map_err(failed)?;
        Ok(Response::new(admin::ListRegionsReply {
            regions: regions.iter().map(region).collect(),
        }))
    }

    async fn add_region(
        &self,
        request: Request<admin::AddRegionRequest>,
    ) -> Result<Response<admin::AddRegionReply>, Status> {
        let who = caller::of(&request)?;
        let name = region_name(&request.get_ref().name)?;
        self.registry
            .add_region(&who, &name)
            .await
            .map_err(failed)?;
        Ok(Response::new(admin::AddRegionReply {}))
    }

    async fn remove_region(
        &self,
        request: Request<admin::RemoveRegionRequest>,
    ) -> Result<Response<admin::RemoveRegionReply>, Status> {
        let who = caller::of(&request)?;
        let name = region_name(&request.get_ref().name)?;
        let removed = self.registry.remove_region(&who, &name).await;
        removed.map_err(failed)?;
        Ok(Response::new(admin::RemoveRegionReply {}))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: ServiceError) -> Status {
    status(&error)
}

#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn region_name(text: &str) -> Result<RegionName, Status> {
    text.parse()
        .map_err(|_| Status::invalid_argument(format!("{text:?} is not the name of a region")))
}

fn node(info: MemberInfo) -> admin::Node {
    let state = match info.member.state {
        MemberState::Joining => admin::NodeState::Joining,
        MemberState::Active => admin::NodeState::Active,
        MemberState::Draining => admin::NodeState::Draining,
        MemberState::Removed => admin::NodeState::Unspecified,
    };
    admin::Node {
        id: info.member.node,
        region: info.member.region.to_string(),
        peer_address: info.member.peer_address,
        client_address: info.member.client_address.unwrap_or_default(),
        state: state.into(),
        alive: info.alive,
        capacity_bytes: info.member.capacity_bytes,
        free_bytes: info.free_bytes,
        is_full: info.is_full,
        joined_at_ms: info.member.joined_at_ms,
    }
}

fn patience(wait_ms: u64) -> Option<Duration> {
    (wait_ms > 0).then(|| Duration::from_millis(wait_ms).min(WAIT_MAX))
}

fn split(counted: Counted) -> (Option<admin::Departure>, Option<admin::Counting>) {
    match counted {
        Counted::All(found) => (Some(departure(found)), None),
        Counted::Some(Progress { blobs, per_mille }) => {
            (None, Some(admin::Counting { blobs, per_mille }))
        }
    }
}

fn departure(found: Departure) -> admin::Departure {
    admin::Departure {
        votes_in: found.votes_in,
        needed_in: found.needed_in,
        blobs: found.blobs,
        blobs_short: found.blobs_short,
        blobs_last: found.blobs_last,
        silent: found.silent.into_iter().collect(),
    }
}

fn region(info: &RegionInfo) -> admin::Region {
    admin::Region {
        name: info.region.name.to_string(),
        created_at_ms: info.region.created_at_ms,
        nodes: u32::try_from(info.nodes).unwrap_or(u32::MAX),
    }
}
