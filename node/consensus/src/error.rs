//! Why consensus does not start, or stops.

use std::error::Error;

use entrepot_metadata::GroupId;

type Source = Box<dyn Error + Send + Sync>;

/// Why consensus does not start, or does not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    #[error("cannot open the raft log")]
    Log(#[source] Source),
    #[error("cannot use the index")]
    Index(#[source] Source),
    #[error("cannot use the snapshots of group {group}")]
    Snapshots {
        group: GroupId,
        #[source]
        source: Source,
    },
    #[error("cannot start group {group}: {reason}")]
    Raft { group: GroupId, reason: String },
    #[error("group {group} is configured wrongly: {reason}")]
    Config { group: GroupId, reason: String },
    #[error("group {group} has no leader, or this node does not reach it: {reason}")]
    NotReady { group: GroupId, reason: String },
    #[error("consensus failed on this node: {reason}")]
    Failed { reason: String },
}

// === impl ConsensusError ===

impl ConsensusError {
    pub(crate) fn log(source: impl Into<Source>) -> Self {
        Self::Log(source.into())
    }

    pub(crate) fn index(source: impl Into<Source>) -> Self {
        Self::Index(source.into())
    }

    pub(crate) fn snapshots(group: &GroupId, source: impl Into<Source>) -> Self {
        Self::Snapshots {
            group: group.clone(),
            source: source.into(),
        }
    }

    pub(crate) fn raft(group: &GroupId, reason: &impl ToString) -> Self {
        Self::Raft {
            group: group.clone(),
            reason: reason.to_string(),
        }
    }
}
