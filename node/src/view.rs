//! What the service is told of the consensus.

use std::sync::Arc;

use entrepot_consensus::Consensus;
use entrepot_service::cluster::{ClusterView, GroupInfo};

/// The groups of this node.
#[derive(Debug)]
pub(crate) struct ConsensusView(pub(crate) Arc<Consensus>);

impl ClusterView for ConsensusView {
    fn groups(&self) -> Vec<GroupInfo> {
        self.0
            .status()
            .into_iter()
            .map(|group| GroupInfo {
                group: group.group,
                leader: group.leader,
                term: group.term,
                applied: group.applied,
                voters: group.voters,
                learners: group.learners,
            })
            .collect()
    }
}
