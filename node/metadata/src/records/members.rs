//! What the global group knows of the cluster: its nodes and its regions.

use bytes::Bytes;

/// The cluster as a whole; there is none before it was formed.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ClusterRecord {
    /// Id of the next node that joins: above all that ever were.
    #[prost(uint64, tag = "1")]
    pub next_node: u64,
    /// Records of members, those of removed nodes too.
    #[prost(uint64, tag = "2")]
    pub members: u64,
    #[prost(int64, tag = "3")]
    pub formed_at_ms: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberRecord {
    #[prost(string, tag = "1")]
    pub region: String,
    /// `host:port`.
    #[prost(string, tag = "2")]
    pub peer_address: String,
    #[prost(string, optional, tag = "3")]
    pub client_address: Option<String>,
    #[prost(enumeration = "MemberState", tag = "4")]
    pub state: i32,
    /// 0: not known.
    #[prost(uint64, tag = "5")]
    pub capacity_bytes: u64,
    #[prost(int64, tag = "6")]
    pub joined_at_ms: i64,
    /// Log index of the command that added it.
    #[prost(uint64, tag = "7")]
    pub index: u64,
    #[prost(int64, optional, tag = "8")]
    pub removed_at_ms: Option<i64>,
    /// Id of its data folder; empty: not known.
    #[prost(bytes = "bytes", tag = "9")]
    pub folder: Bytes,
    /// What its state machine understands; 0: not known.
    #[prost(uint32, tag = "10")]
    pub level: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum MemberState {
    /// It has an id, and its copies are on their way.
    Joining = 1,
    /// It votes where it is needed, and takes new placements.
    Active = 2,
    /// It serves, and takes no new placements; what it has moves away.
    Draining = 3,
    /// It is gone for ever; its id is not used again.
    Removed = 4,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RegionRecord {
    #[prost(int64, tag = "1")]
    pub created_at_ms: i64,
    /// The node that starts the region's group: its first one. 0: none yet.
    #[prost(uint64, tag = "2")]
    pub founder: u64,
}
