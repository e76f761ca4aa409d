//! Who is in the cluster, as this node knows it.
//!
//! The records of the global group say it. This node follows its copy of them,
//! changes its list of peers accordingly, and keeps the list in a file, for the
//! next start: then the records can only be read with the help of the peers.
//! What this node alone knows of itself, it reports there.

mod file;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use entrepot_consensus::{Consensus, voters_of};
use entrepot_metadata::query::{self, Member};
use entrepot_metadata::{GroupId, Metadata};
use entrepot_proto::peer::Known;
use entrepot_proto::peers::{KnownPeer, PeerInfo, Peers, Standing};
use tracing::{info, warn};

use crate::config::Config;
use crate::entry::check;

pub(crate) use self::file::MembersFile;
pub(crate) use self::report::Report;

/// After the records could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps a node's list of peers as the records say.
#[derive(Debug)]
pub(crate) struct Members {
    consensus: Arc<Consensus>,
    peers: Arc<Peers>,
    /// Id of this node's data folder.
    folder: [u8; 16],
    /// Addresses that this node is told by its configuration, which win.
    configured: BTreeMap<u64, String>,
    file: MembersFile,
}

/// The peers that a node starts with: those that it knew last, at the addresses
/// that the configuration gives them, and else those of the configuration.
///
/// # Errors
/// The node was removed, or the file is damaged.
pub(crate) fn known_at_start(
    own: u64,
    configured: &[PeerInfo],
    file: &MembersFile,
) -> anyhow::Result<Vec<KnownPeer>> {
    let Some(mut known) = file.read()? else {
        return Ok(configured.iter().cloned().map(KnownPeer::from).collect());
    };
    if !known.iter().any(|peer| peer.info.id == own) {
        check(own, Known::Removed)?;
    }
    for peer in &mut known {
        if let Some(info) = configured.iter().find(|info| info.id == peer.info.id) {
            peer.info.address.clone_from(&info.address);
        }
    }
    Ok(known)
}

// === impl Members ===

impl Members {
    pub(crate) fn new(
        consensus: &Arc<Consensus>,
        peers: &Arc<Peers>,
        folder: [u8; 16],
        config: &Config,
    ) -> Self {
        let peers_told = config.told().into_iter();
        let addresses = peers_told.map(|info| (info.id, info.address));
        Self {
            consensus: Arc::clone(consensus),
            peers: Arc::clone(peers),
            folder,
            configured: addresses.collect(),
            file: MembersFile::new(&config.data),
        }
    }

    /// Follows the records until it is dropped.
    ///
    /// # Errors
    /// This node is not of the cluster any more.
    pub(crate) async fn follow(self) -> anyhow::Result<()> {
        let global = GroupId::global();
        let mut applied = 0;
        let mut last = None;
        loop {
            match self.read() {
                Ok(members) if !members.is_empty() && last.as_ref() != Some(&members) => {
                    self.take(&members)?;
                    self.found_region().await?;
                    last = Some(members);
                }
                Ok(_) => {}
                Err(error) => {
                    warn!(
                        error = format!("{error:#}"),
                        "the cluster's nodes cannot be read"
                    );
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            applied = match self.consensus.applied_after(&global, applied).await {
                Ok(applied) => applied,
                // The group stops, and with it the node.
                Err(_) => return std::future::pending().await,
            };
        }
    }

    /// All of them, those that were removed too; none before the cluster was
    /// formed.
    fn read(&self) -> anyhow::Result<Vec<Member>> {
        let view = self.consensus.view(&GroupId::global())?;
        Ok(query::all_members(view.as_ref())?)
    }

    /// The first node of a region makes its group. That it is the first one
    /// stands in the records, once and for ever.
    async fn found_region(&self) -> anyhow::Result<()> {
        let own = self.peers.own();
        let view = self.consensus.view(&GroupId::global())?;
        let region = query::region(view.as_ref(), &own.region)?;
        if region.and_then(|region| region.founder) == Some(own.id) {
            let group = GroupId::region(own.region.clone());
            // Read now: older records may not have this node yet.
            let voters = founders_with(own.id, &self.read()?);
            self.consensus.found(&group, voters).await?;
        }
        Ok(())
    }

    fn take(&self, members: &[Member]) -> anyhow::Result<()> {
        let own = self.peers.own().id;
        let known: Vec<KnownPeer> = members
            .iter()
            .filter(|member| !member.is_removed())
            .map(|member| self.known(member))
            .collect();
        let ids: Vec<u64> = known.iter().map(|peer| peer.info.id).collect();
        for refused in self.peers.update(known.clone()) {
            warn!(error = refused.to_string(), "a node cannot be reached");
        }
        info!(nodes = ?ids, "the cluster's nodes");
        let Some(member) = members.iter().find(|member| member.node == own) else {
            // Not yet: the records that this copy has are old. Kept for the next
            // start, they would say that this node was removed.
            return Ok(());
        };
        self.file.write(&known)?;
        if member.is_removed() {
            check(own, Known::Removed)?;
        }
        if member.folder.is_some_and(|folder| folder != self.folder) {
            check(own, Known::OtherFolder)?;
        }
        Ok(())
    }

    fn known(&self, member: &Member) -> KnownPeer {
        let configured = self.configured.get(&member.node);
        KnownPeer {
            info: PeerInfo {
                id: member.node,
                region: member.region.clone(),
                address: configured.unwrap_or(&member.peer_address).clone(),
            },
            standing: Standing {
                takes_copies: member.is_active(),
                capacity_bytes: member.capacity_bytes,
            },
        }
    }
}

/// The first voters of the group of a region that `founder` makes: the nodes of
/// the region that came by the same command. Those that form a cluster make its
/// groups together, and one that is late must not make another one by itself.
fn founders_with(founder: u64, members: &[Member]) -> BTreeSet<u64> {
    let Some(first) = members.iter().find(|member| member.node == founder) else {
        return BTreeSet::new();
    };
    let together = |member: &&Member| member.region == first.region && member.index == first.index;
    let ids: BTreeSet<u64> = members.iter().filter(together).map(|it| it.node).collect();
    let voters = voters_of(ids.len());
    ids.into_iter().take(voters).collect()
}

#[cfg(test)]
mod tests;
