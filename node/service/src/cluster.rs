//! What a node can tell of its cluster.

use std::fmt;

use entrepot_metadata::GroupId;
use entrepot_oci::{AccountId, RegionName};

use crate::{Caller, Registry, ServiceError};

/// One Raft group as this node sees it.
#[derive(Debug, Clone)]
pub struct GroupInfo {
    pub group: GroupId,
    /// None while there is none, or none is known.
    pub leader: Option<u64>,
    pub term: u64,
    /// The last log index that this node has applied.
    pub applied: u64,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
}

/// Knows the groups of a node (its consensus does; a fake in tests).
pub trait ClusterView: Send + Sync + fmt::Debug {
    fn groups(&self) -> Vec<GroupInfo>;
}

/// One node as another sees it.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub id: u64,
    pub region: RegionName,
    pub peer_address: String,
    pub alive: bool,
}

/// The cluster as the node that was asked sees it.
#[derive(Debug, Clone)]
pub struct ClusterInfo {
    pub node: u64,
    pub region: RegionName,
    pub account: AccountId,
    pub nodes: Vec<NodeInfo>,
    pub groups: Vec<GroupInfo>,
}

impl Registry {
    /// What this node knows of its cluster.
    ///
    /// # Errors
    /// As [`Registry::observes`].
    pub fn cluster(&self, who: &Caller) -> Result<ClusterInfo, ServiceError> {
        self.observes(who)?;
        let own = self.peers.own();
        let health = self.blobs.health();
        let nodes = self
            .peers
            .all()
            .iter()
            .map(|peer| NodeInfo {
                id: peer.id,
                region: peer.region.clone(),
                peer_address: peer.address.clone(),
                alive: health.is_alive(peer.id),
            })
            .collect();
        Ok(ClusterInfo {
            node: own.id,
            region: own.region.clone(),
            account: who.account.account(),
            nodes,
            groups: self.view.groups(),
        })
    }
}
