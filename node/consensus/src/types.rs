//! openraft, with the types that a group of Entrepot is made of.
//!
//! A log entry carries an encoded `entrepot_metadata` envelope and is answered
//! with an encoded response; consensus looks into neither. Nodes are known by
//! their id alone: where a node is to be found comes from each node's own
//! configuration, so that a changed address is never an entry in a log.

use std::fmt;

use bytes::Bytes;
use openraft::impls::EmptyNode;
use openraft::impls::leader_id_adv::LeaderId;

use crate::raftlog::{Ballot, EntryId};

/// What is proposed: an encoded envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Bytes);

/// What it is answered: an encoded response. Empty for what is not a proposal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) Bytes);

openraft::declare_raft_types!(
    pub(crate) TypeConfig:
        D = Proposal,
        R = Answer,
        NodeId = u64,
        Node = EmptyNode,
);

pub(crate) type Raft = openraft::Raft<TypeConfig, crate::machine::StateMachine>;
pub(crate) type LeaderOf = LeaderId<u64, u64>;
pub(crate) type LogId = openraft::LogId<LeaderOf>;
pub(crate) type Vote = openraft::impls::Vote<LeaderOf>;
pub(crate) type Payload = openraft::EntryPayload<Proposal, u64, EmptyNode>;
pub(crate) type Entry = openraft::Entry<LeaderOf, Payload>;
pub(crate) type Membership = openraft::Membership<u64, EmptyNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderOf, u64, EmptyNode>;
pub(crate) type SnapshotMeta = openraft::storage::SnapshotMeta<LeaderOf, u64, EmptyNode>;
pub(crate) type Snapshot =
    openraft::storage::Snapshot<LeaderOf, u64, EmptyNode, crate::snapshot::SnapshotFile>;

/// What a copy of a group's state, or a snapshot of it, stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// How far the log is in it.
    pub(crate) meta: SnapshotMeta,
    /// The highest level of the entries in it: what a state machine has to
    /// understand to go on from there.
    pub(crate) level: u32,
}

impl From<SnapshotMeta> for Position {
    /// One that every version understands.
    fn from(meta: SnapshotMeta) -> Self {
        Self { meta, level: 0 }
    }
}

pub(crate) fn log_id(id: EntryId) -> LogId {
    LogId::new(
        LeaderId {
            term: id.term,
            node_id: id.node,
        },
        id.index,
    )
}

pub(crate) fn entry_id(id: &LogId) -> EntryId {
    let leader = id.committed_leader_id();
    EntryId {
        term: leader.term,
        node: leader.node_id,
        index: id.index(),
    }
}

pub(crate) fn vote(ballot: Ballot) -> Vote {
    if ballot.committed {
        Vote::new_committed(ballot.term, ballot.node)
    } else {
        Vote::new(ballot.term, ballot.node)
    }
}

pub(crate) fn ballot(vote: &Vote) -> Ballot {
    let leader = vote.leader_id();
    Ballot {
        term: leader.term,
        node: leader.node_id,
        committed: vote.is_committed(),
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proposal of {} bytes", self.0.len())
    }
}
