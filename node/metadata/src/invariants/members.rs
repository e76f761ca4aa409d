//! Ids are below the next one, addresses and folders are one node's each, and
//! every node's region is there.

use std::collections::BTreeSet;

use entrepot_oci::RegionName;

use super::{Check, Pair};
use crate::keys;
use crate::query::{self, Member};
use crate::records::members::{ClusterRecord, RegionRecord};
use crate::store::StorageError;

/// What must not be there twice.
#[derive(Default)]
pub(super) struct Used {
    peer_addresses: BTreeSet<String>,
    client_addresses: BTreeSet<String>,
    folders: BTreeSet<Vec<u8>>,
}

pub(super) fn cluster(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    pair.parts().end()?;
    let record: ClusterRecord = pair.decode()?;
    let members = query::all_members(check.view)?;
    let last = members.last().map_or(0, |member| member.node);
    check.require(
        last < record.next_node,
        "no node has an id that is still to be assigned",
        &pair.key,
    );
    check.require(
        record.members == members.len() as u64,
        "the cluster has as many members as it counts",
        &pair.key,
    );
    Ok(())
}

pub(super) fn member(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.members += 1;
    let mut parts = pair.parts();
    parts.number()?;
    parts.end()?;
    let member = query::member_of(&pair.key, pair.value.clone())?;
    check.require_key(&keys::cluster(), "members are of a formed cluster", pair)?;
    if !member.is_removed() {
        check.require_key(
            &keys::region(&member.region),
            "a node's region exists",
            pair,
        )?;
    }
    let alone = check.used.take(&member);
    check.require(
        alone,
        "no two nodes share an address or a folder",
        &pair.key,
    );
    check.require(
        member.is_removed() == member.removed_at_ms.is_some(),
        "a node that was removed has a time of that",
        &pair.key,
    );
    Ok(())
}

pub(super) fn region(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.regions += 1;
    let mut parts = pair.parts();
    parts.name::<RegionName>("region")?;
    parts.end()?;
    let record: RegionRecord = pair.decode()?;
    check.require_key(&keys::cluster(), "regions are of a formed cluster", pair)?;
    if record.founder != 0 {
        check.require_key(&keys::member(record.founder), "a founder is known", pair)?;
    }
    Ok(())
}

// === impl Used ===

impl Used {
    /// Whether nobody before had what this node has.
    fn take(&mut self, member: &Member) -> bool {
        let folder = member
            .folder
            .is_none_or(|folder| self.folders.insert(folder.to_vec()));
        if member.is_removed() {
            return folder;
        }
        let peer = self.peer_addresses.insert(member.peer_address.clone());
        let client = member
            .client_address
            .as_ref()
            .is_none_or(|address| self.client_addresses.insert(address.clone()));
        folder && peer && client
    }
}
