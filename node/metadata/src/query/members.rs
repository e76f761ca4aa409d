//! The nodes and the regions of the cluster.

use bytes::Bytes;
use entrepot_oci::RegionName;

use super::parsed;
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{FOLDER_ID_BYTES, MEMBERS_MAX, REGIONS_MAX};
use crate::read;
use crate::records::members::{ClusterRecord, MemberRecord, MemberState, RegionRecord};
use crate::store::{KeyValue, StorageError};

/// A node of the cluster, or one that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub node: u64,
    pub region: RegionName,
    /// `host:port` of its peer port.
    pub peer_address: String,
    pub client_address: Option<String>,
    pub state: MemberState,
    /// Bytes; 0: not known.
    pub capacity_bytes: u64,
    pub joined_at_ms: i64,
    /// Log index of the command that added it.
    pub index: u64,
    pub removed_at_ms: Option<i64>,
    /// Id of its data folder, where it is known.
    pub folder: Option<[u8; FOLDER_ID_BYTES]>,
    /// What its state machine understands; 0: not known.
    pub level: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub name: RegionName,
    pub created_at_ms: i64,
    /// The node that starts the region's group, once it has one.
    pub founder: Option<u64>,
}

/// Whether the cluster was formed.
pub fn is_formed(view: &dyn KeyValue) -> Result<bool, StorageError> {
    read::exists(view, &keys::cluster())
}

pub fn member(view: &dyn KeyValue, node: u64) -> Result<Option<Member>, StorageError> {
    let key = keys::member(node);
    view.get(key.as_bytes())?
        .map(|value| member_of(key.as_bytes(), value))
        .transpose()
}

/// The region that the public registries are in: that of the node with the lowest
/// id, there or removed, whose region is there. It is the same for as long as that
/// region is. None: the cluster is not formed.
pub fn public_region(view: &dyn KeyValue) -> Result<Option<RegionName>, StorageError> {
    let prefix = Key::new(Namespace::Member);
    let mut start = None;
    loop {
        let Some((key, value)) = read::page(view, &prefix, start.as_ref(), 1)?.pop() else {
            return Ok(None);
        };
        let member = member_of(&key, value)?;
        if read::exists(view, &keys::region(&member.region))? {
            return Ok(Some(member.region));
        }
        start = Some(keys::member(member.node).successor());
    }
}

/// All nodes by their ids, those that were removed too.
pub fn all_members(view: &dyn KeyValue) -> Result<Vec<Member>, StorageError> {
    read::page(view, &Key::new(Namespace::Member), None, MEMBERS_MAX)?
        .into_iter()
        .map(|(key, value)| member_of(&key, value))
        .collect()
}

/// The nodes of the cluster by their ids, without those that were removed.
pub fn members(view: &dyn KeyValue) -> Result<Vec<Member>, StorageError> {
    let mut members = all_members(view)?;
    members.retain(|member| !member.is_removed());
    Ok(members)
}

/// What the state machine of every node understands, as far as the nodes have
/// told; a command of a higher level is not proposed. 0 without a cluster.
///
/// A node that is about to join and has not told yet does not count: what the others
/// do already must not stop for it, for as long as it takes. One that does not
/// understand what they do stops by itself.
pub fn level(view: &dyn KeyValue) -> Result<u32, StorageError> {
    let members = members(view)?.into_iter();
    let levels = members
        .filter(|member| member.level > 0 || member.state != MemberState::Joining)
        .map(|member| member.level);
    Ok(levels.min().unwrap_or(0))
}

pub fn region(view: &dyn KeyValue, name: &RegionName) -> Result<Option<Region>, StorageError> {
    let record: Option<RegionRecord> = read::record(view, &keys::region(name))?;
    Ok(record.map(|record| Region::new(name.clone(), record)))
}

/// All regions by their names.
pub fn regions(view: &dyn KeyValue) -> Result<Vec<Region>, StorageError> {
    read::page(view, &Key::new(Namespace::Region), None, REGIONS_MAX)?
        .into_iter()
        .map(|(key, value)| {
            let name = Parts::of(&key).name("region")?;
            Ok(Region::new(name, read::decode(&key, value)?))
        })
        .collect()
}

pub(crate) fn cluster(view: &dyn KeyValue) -> Result<Option<ClusterRecord>, StorageError> {
    read::record(view, &keys::cluster())
}

pub(crate) fn member_of(key: &[u8], value: Bytes) -> Result<Member, StorageError> {
    let node = Parts::of(key).number()?;
    let record: MemberRecord = read::decode(key, value)?;
    let state = MemberState::try_from(record.state)
        .map_err(|_| StorageError::corrupt(key, format_args!("state {}", record.state)))?;
    let folder = match record.folder.len() {
        0 => None,
        _ => Some(
            <[u8; FOLDER_ID_BYTES]>::try_from(record.folder.as_ref())
                .map_err(|_| StorageError::corrupt(key, "a folder's id of another length"))?,
        ),
    };
    Ok(Member {
        node,
        region: parsed(key, "region", &record.region)?,
        peer_address: record.peer_address,
        client_address: record.client_address,
        state,
        capacity_bytes: record.capacity_bytes,
        joined_at_ms: record.joined_at_ms,
        index: record.index,
        removed_at_ms: record.removed_at_ms,
        folder,
        level: record.level,
    })
}

// === impl Member ===

impl Member {
    pub fn is_removed(&self) -> bool {
        self.state == MemberState::Removed
    }

    pub fn is_active(&self) -> bool {
        self.state == MemberState::Active
    }
}

// === impl MemberState ===

impl MemberState {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Removed => "removed",
        }
    }
}

// === impl Region ===

impl Region {
    fn new(name: RegionName, record: RegionRecord) -> Self {
        Self {
            name,
            created_at_ms: record.created_at_ms,
            founder: (record.founder != 0).then_some(record.founder),
        }
    }
}
