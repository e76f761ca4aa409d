//! Commands about the nodes and the regions of the cluster. All of them belong
//! into the `global` group.

use bytes::Bytes;
use entrepot_oci::RegionName;

use crate::query::MemberState;

/// Where a node is and what it has.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberSpec {
    /// Id of the node. Where it joins, ids are assigned: 0, or what the next
    /// one has to be.
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(string, tag = "2")]
    pub region: String,
    /// `host:port` of its peer port.
    #[prost(string, tag = "3")]
    pub peer_address: String,
    /// `host:port` of its client port, where it is known.
    #[prost(string, optional, tag = "4")]
    pub client_address: Option<String>,
    /// Bytes that it has for blobs; 0: not known.
    #[prost(uint64, tag = "5")]
    pub capacity_bytes: u64,
    /// Id of its data folder, 16 bytes; empty: not known.
    #[prost(bytes = "bytes", tag = "6")]
    pub folder: Bytes,
}

/// Makes the cluster of these nodes, which are active at once. A cluster that
/// was formed before stays as it is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FormCluster {
    #[prost(message, repeated, tag = "1")]
    pub members: Vec<MemberSpec>,
    #[prost(int64, tag = "2")]
    pub at_ms: i64,
}

/// A node joins. It gets an id that no node had before; one whose data folder
/// has joined already gets its id again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AddMember {
    #[prost(message, optional, tag = "1")]
    pub member: Option<MemberSpec>,
    #[prost(int64, tag = "2")]
    pub at_ms: i64,
    /// Make the region if there is none of that name, else `RegionUnknown`.
    #[prost(bool, tag = "3")]
    pub create_region: bool,
}

/// Moves a node on: JOINING to ACTIVE, either to DRAINING, DRAINING back to
/// ACTIVE.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetMemberState {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(enumeration = "MemberState", tag = "2")]
    pub state: i32,
    /// What it has to be before; unset: anything that can become `state`.
    #[prost(enumeration = "MemberState", optional, tag = "3")]
    pub expected: Option<i32>,
}

/// Changes what is known of a node: what is given, and nothing else.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UpdateMember {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(string, optional, tag = "2")]
    pub peer_address: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub client_address: Option<String>,
    #[prost(uint64, optional, tag = "4")]
    pub capacity_bytes: Option<u64>,
    /// 16 bytes. It is set once and never changes: a folder without the node's
    /// votes is another node's.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub folder: Option<Bytes>,
    /// What its state machine understands.
    #[prost(uint32, optional, tag = "6")]
    pub level: Option<u32>,
}

/// A node leaves for ever. Its id is not used again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RemoveMember {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(int64, tag = "2")]
    pub at_ms: i64,
    /// Else it has to be draining, or never have been active.
    #[prost(bool, tag = "3")]
    pub force: bool,
}

/// Makes a region without nodes; one that exists is fine.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AddRegion {
    #[prost(string, tag = "1")]
    pub region: String,
    #[prost(int64, tag = "2")]
    pub at_ms: i64,
}

/// Removes a region that has no nodes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RemoveRegion {
    #[prost(string, tag = "1")]
    pub region: String,
}

// === how a proposer makes them ===

impl MemberSpec {
    /// Without a client address, capacity or folder: set what is known.
    pub fn new(node: u64, region: &RegionName, peer_address: &str) -> Self {
        Self {
            node,
            region: region.to_string(),
            peer_address: peer_address.to_owned(),
            client_address: None,
            capacity_bytes: 0,
            folder: Bytes::new(),
        }
    }
}

impl AddMember {
    pub fn new(member: MemberSpec, create_region: bool, at_ms: i64) -> Self {
        Self {
            member: Some(member),
            at_ms,
            create_region,
        }
    }
}

impl SetMemberState {
    pub fn new(node: u64, state: MemberState) -> Self {
        Self {
            node,
            state: state.into(),
            expected: None,
        }
    }

    /// Only if it is `before`.
    #[must_use]
    pub fn only_from(self, before: MemberState) -> Self {
        Self {
            expected: Some(before.into()),
            ..self
        }
    }
}

impl UpdateMember {
    /// Changes nothing: set the fields that are to change.
    pub fn new(node: u64) -> Self {
        Self {
            node,
            ..Self::default()
        }
    }
}

impl AddRegion {
    pub fn new(region: &RegionName, at_ms: i64) -> Self {
        Self {
            region: region.to_string(),
            at_ms,
        }
    }
}

impl RemoveRegion {
    pub fn new(region: &RegionName) -> Self {
        Self {
            region: region.to_string(),
        }
    }
}
