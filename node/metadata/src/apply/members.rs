//! The nodes and the regions of the cluster.
//!
//! Owns who has which id and address. The invariants: an id is assigned once
//! and never again; no two nodes that are not removed share an address or a
//! data folder; every node's region exists. Whether a node may go without
//! harm to quorums and copies is for the proposer to know.

use std::collections::BTreeSet;

use bytes::Bytes;
use entrepot_oci::RegionName;

use super::{Stop, invalid, parse};
use crate::command::{
    AddMember, AddRegion, FormCluster, MemberSpec, RemoveMember, RemoveRegion, SetMemberState,
    UpdateMember,
};
use crate::keys;
use crate::limits::{
    ADDRESS_BYTES_MAX, FOLDER_ID_BYTES, MEMBERS_ACTIVE_MAX, MEMBERS_MAX, REGIONS_MAX,
};
use crate::overlay::Overlay;
use crate::query::{self, Member, MemberState};
use crate::read;
use crate::records::members::{ClusterRecord, MemberRecord, RegionRecord};
use crate::response::{
    AddressInUse, ClusterFormed, Done, MemberAdded, MemberInState, Outcome, Refused,
};

pub(super) fn form(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: FormCluster,
) -> Result<Outcome, Stop> {
    if query::is_formed(overlay)? {
        return Ok(Outcome::ClusterFormed(ClusterFormed { formed: false }));
    }
    if !(1..=MEMBERS_ACTIVE_MAX).contains(&command.members.len()) {
        return Err(invalid("members", "must be 1 to 256").into());
    }
    let mut cluster = ClusterRecord {
        next_node: 1,
        members: 0,
        formed_at_ms: command.at_ms,
    };
    let mut ids = BTreeSet::new();
    for spec in command.members {
        let node = spec.node;
        if node == 0 || node == u64::MAX || !ids.insert(node) {
            return Err(invalid("members", "ids start at 1, each is there once").into());
        }
        cluster.next_node = cluster.next_node.max(node + 1);
        let newcomer = Newcomer {
            node,
            index,
            at_ms: command.at_ms,
            state: MemberState::Active,
            create_region: true,
        };
        newcomer.add(overlay, &mut cluster, spec)?;
    }
    overlay.put(keys::cluster(), &cluster);
    Ok(Outcome::ClusterFormed(ClusterFormed { formed: true }))
}

pub(super) fn add(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: AddMember,
) -> Result<Outcome, Stop> {
    let Some(mut cluster) = query::cluster(overlay)? else {
        return Err(Refused::ClusterNotFormed(Done {}).into());
    };
    let Some(spec) = command.member else {
        return Err(invalid("member", "is missing").into());
    };
    check_folder(&spec.folder)?;
    if let Some(known) = with_folder(overlay, &spec.folder)? {
        return match known.state {
            MemberState::Removed => Err(in_state(&known)),
            _ => Ok(Outcome::MemberAdded(MemberAdded {
                node: known.node,
                region_created: false,
            })),
        };
    }
    let node = cluster.next_node;
    if spec.node != 0 && spec.node != node {
        return Err(invalid("node", format_args!("ids are assigned, the next is {node}")).into());
    }
    cluster.next_node = node
        .checked_add(1)
        .ok_or_else(|| invalid("node", "there are no more ids"))?;
    let newcomer = Newcomer {
        node,
        index,
        at_ms: command.at_ms,
        state: MemberState::Joining,
        create_region: command.create_region,
    };
    let region_created = newcomer.add(overlay, &mut cluster, spec)?;
    overlay.put(keys::cluster(), &cluster);
    Ok(Outcome::MemberAdded(MemberAdded {
        node,
        region_created,
    }))
}

pub(super) fn set_state(
    overlay: &mut Overlay<'_>,
    command: &SetMemberState,
) -> Result<Outcome, Stop> {
    use MemberState::{Active, Draining, Joining};

    let (member, record) = existing(overlay, command.node)?;
    let wanted = state("state", command.state)?;
    let expected = command.expected.map(|it| state("expected state", it));
    let expected = expected.transpose()?;
    if member.state == wanted && wanted != MemberState::Removed {
        return Ok(Outcome::Done(Done {}));
    }
    let may = matches!(
        (member.state, wanted),
        (Joining | Draining, Active) | (Joining | Active, Draining)
    );
    if !may || expected.is_some_and(|expected| expected != member.state) {
        return Err(in_state(&member));
    }
    let record = MemberRecord {
        state: wanted.into(),
        ..record
    };
    overlay.put(keys::member(command.node), &record);
    Ok(Outcome::Done(Done {}))
}

pub(super) fn update(overlay: &mut Overlay<'_>, command: UpdateMember) -> Result<Outcome, Stop> {
    let (member, before) = existing(overlay, command.node)?;
    if member.is_removed() {
        return Err(in_state(&member));
    }
    let mut after = before.clone();
    if let Some(address) = command.peer_address {
        after.peer_address = address;
    }
    if let Some(address) = command.client_address {
        after.client_address = (!address.is_empty()).then_some(address);
    }
    if let Some(capacity) = command.capacity_bytes {
        after.capacity_bytes = capacity;
    }
    if let Some(level) = command.level {
        after.level = level;
    }
    if let Some(folder) = command.folder.filter(|folder| *folder != before.folder) {
        if !before.folder.is_empty() {
            return Err(Refused::FolderDiffers(member.node).into());
        }
        check_folder(&folder)?;
        if let Some(other) = with_folder(overlay, &folder)? {
            return Err(Refused::FolderDiffers(other.node).into());
        }
        after.folder = folder;
    }
    check_addresses(overlay, member.node, &after)?;
    if after != before {
        overlay.put(keys::member(member.node), &after);
    }
    Ok(Outcome::Done(Done {}))
}

pub(super) fn remove(overlay: &mut Overlay<'_>, command: &RemoveMember) -> Result<Outcome, Stop> {
    let (member, record) = existing(overlay, command.node)?;
    if member.is_removed() {
        return Ok(Outcome::Done(Done {}));
    }
    if member.is_active() && !command.force {
        return Err(in_state(&member));
    }
    if query::members(overlay)?.len() == 1 {
        return Err(Refused::LastMember(member.node).into());
    }
    let record = MemberRecord {
        state: MemberState::Removed.into(),
        removed_at_ms: Some(command.at_ms),
        ..record
    };
    overlay.put(keys::member(member.node), &record);
    Ok(Outcome::Done(Done {}))
}

pub(super) fn add_region(overlay: &mut Overlay<'_>, command: &AddRegion) -> Result<Outcome, Stop> {
    if !query::is_formed(overlay)? {
        return Err(Refused::ClusterNotFormed(Done {}).into());
    }
    let region: RegionName = parse("region", &command.region)?;
    ensure_region(overlay, &region, command.at_ms)?;
    Ok(Outcome::Done(Done {}))
}

pub(super) fn remove_region(
    overlay: &mut Overlay<'_>,
    command: &RemoveRegion,
) -> Result<Outcome, Stop> {
    let region: RegionName = parse("region", &command.region)?;
    if query::region(overlay, &region)?.is_none() {
        return Err(Refused::RegionUnknown(region.to_string()).into());
    }
    let members = query::members(overlay)?;
    if members.iter().any(|member| member.region == region) {
        return Err(Refused::RegionInUse(region.to_string()).into());
    }
    overlay.delete(keys::region(&region));
    Ok(Outcome::Done(Done {}))
}

/// A node that is about to become a member.
struct Newcomer {
    node: u64,
    index: u64,
    at_ms: i64,
    state: MemberState,
    create_region: bool,
}

// === impl Newcomer ===

impl Newcomer {
    /// Whether its region was made.
    fn add(
        self,
        overlay: &mut Overlay<'_>,
        cluster: &mut ClusterRecord,
        spec: MemberSpec,
    ) -> Result<bool, Stop> {
        let region: RegionName = parse("region", &spec.region)?;
        check_folder(&spec.folder)?;
        let members = query::all_members(overlay)?;
        let active = members.iter().filter(|it| !it.is_removed()).count();
        if active >= MEMBERS_ACTIVE_MAX || members.len() >= MEMBERS_MAX {
            let max = u32::try_from(MEMBERS_ACTIVE_MAX).unwrap_or(u32::MAX);
            return Err(Refused::MemberLimit(max).into());
        }
        let created = match query::region(overlay, &region)? {
            Some(_) => false,
            None if self.create_region => ensure_region(overlay, &region, self.at_ms)?,
            None => return Err(Refused::RegionUnknown(region.to_string()).into()),
        };
        let record = MemberRecord {
            region: region.to_string(),
            peer_address: spec.peer_address,
            client_address: spec.client_address.filter(|address| !address.is_empty()),
            state: self.state.into(),
            capacity_bytes: spec.capacity_bytes,
            joined_at_ms: self.at_ms,
            index: self.index,
            removed_at_ms: None,
            folder: spec.folder,
            level: 0,
        };
        check_addresses(overlay, self.node, &record)?;
        let in_region = |it: &&Member| it.region == region && !it.is_removed();
        let first = members.iter().find(in_region).map(|it| it.node);
        if first.is_none_or(|first| self.state == MemberState::Active && self.node < first) {
            found_region(overlay, &region, self.node)?;
        }
        cluster.members += 1;
        overlay.put(keys::member(self.node), &record);
        Ok(created)
    }
}

/// Whether it was made; one that exists is fine.
fn ensure_region(overlay: &mut Overlay<'_>, region: &RegionName, at_ms: i64) -> Result<bool, Stop> {
    if read::exists(overlay, &keys::region(region))? {
        return Ok(false);
    }
    if query::regions(overlay)?.len() >= REGIONS_MAX {
        let max = u32::try_from(REGIONS_MAX).unwrap_or(u32::MAX);
        return Err(Refused::RegionLimit(max).into());
    }
    let record = RegionRecord {
        created_at_ms: at_ms,
        founder: 0,
    };
    overlay.put(keys::region(region), &record);
    Ok(true)
}

fn found_region(overlay: &mut Overlay<'_>, region: &RegionName, founder: u64) -> Result<(), Stop> {
    let key = keys::region(region);
    let record: RegionRecord = read::record(overlay, &key)?.unwrap_or_default();
    overlay.put(key, &RegionRecord { founder, ..record });
    Ok(())
}

fn existing(overlay: &Overlay<'_>, node: u64) -> Result<(Member, MemberRecord), Stop> {
    let found = query::member(overlay, node)?;
    let record: Option<MemberRecord> = read::record(overlay, &keys::member(node))?;
    found
        .zip(record)
        .ok_or_else(|| Refused::MemberUnknown(node).into())
}

/// The node that has this folder, or had it. Nobody has one that is not known.
fn with_folder(overlay: &Overlay<'_>, folder: &Bytes) -> Result<Option<Member>, Stop> {
    let mut members = query::all_members(overlay)?.into_iter();
    Ok(members.find(|member| member.folder.is_some_and(|it| it == folder.as_ref())))
}

fn check_folder(folder: &Bytes) -> Result<(), Refused> {
    if folder.is_empty() || folder.len() == FOLDER_ID_BYTES {
        Ok(())
    } else {
        Err(invalid("folder", "must be of 16 bytes"))
    }
}

/// They are addresses, and no other node's.
fn check_addresses(overlay: &Overlay<'_>, node: u64, record: &MemberRecord) -> Result<(), Stop> {
    check_address("peer address", &record.peer_address)?;
    if let Some(address) = &record.client_address {
        check_address("client address", address)?;
    }
    let members = query::members(overlay)?;
    for other in members.iter().filter(|other| other.node != node) {
        let client = record.client_address.as_ref();
        let shared = if other.peer_address == record.peer_address {
            Some(&record.peer_address)
        } else {
            client.filter(|address| other.client_address.as_ref() == Some(*address))
        };
        if let Some(address) = shared {
            let used = AddressInUse {
                address: address.clone(),
                node: other.node,
            };
            return Err(Refused::AddressInUse(used).into());
        }
    }
    Ok(())
}

/// `host:port`. Whether the host is one is for who dials it.
fn check_address(what: &str, address: &str) -> Result<(), Refused> {
    let is_address = address.len() <= ADDRESS_BYTES_MAX
        && address.bytes().all(|byte| byte.is_ascii_graphic())
        && !address.contains(['/', '@', '?', '#'])
        && address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
    if is_address {
        Ok(())
    } else {
        Err(invalid(what, "must be host:port"))
    }
}

fn state(what: &str, number: i32) -> Result<MemberState, Refused> {
    MemberState::try_from(number).map_err(|_| invalid(what, "there is no such state"))
}

fn in_state(member: &Member) -> Stop {
    Refused::MemberInState(MemberInState {
        node: member.node,
        state: member.state.into(),
    })
    .into()
}
