//! The trait through which a node proposes to and reads from the metadata.
//!
//! Raft stands behind it in a node, [`LocalMetadata`] in tests. Owns nothing
//! but the contract: what has returned from `propose` was decided, and what
//! `linearize` has returned for can be read from `view`.

mod local;

pub use local::LocalMetadata;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::command::{Command, LONG_INLINE_LEVEL};
use crate::group::GroupId;
use crate::limits::{INLINE_BYTES_MAX, INLINE_BYTES_MAX_FIRST};
use crate::query;
use crate::response::Response;
use crate::store::{KeyValue, StorageError};

#[async_trait]
pub trait Metadata: Send + Sync + fmt::Debug + 'static {
    /// Commits `command` in `group`, from any node: it is forwarded to the
    /// leader and retried under one envelope id until the deadline. Returns
    /// once it is applied at the leader *and* on this node's own copy. A
    /// refusal is a response, not an error.
    async fn propose(&self, group: &GroupId, command: Command) -> Result<Response, MetadataError>;

    /// After this, `view` shows everything that was acknowledged before the
    /// call, by any node.
    async fn linearize(&self, group: &GroupId) -> Result<(), MetadataError>;

    /// This node's own copy, as it is at each moment: it moves on while it is
    /// read.
    fn view(&self, group: &GroupId) -> Result<Arc<dyn KeyValue>, MetadataError>;

    /// Whether every node of the cluster understands commands of `level`.
    fn understands(&self, level: u32) -> Result<bool, MetadataError>;

    /// The same, unless some node has not told yet, as the nodes of a cluster that has
    /// just been formed: that is not known then, and is in a moment.
    fn understands_or_unknown(&self, level: u32) -> Result<Option<bool>, MetadataError> {
        if self.understands(level)? {
            return Ok(Some(true));
        }
        let told = query::level(self.view(&GroupId::global())?.as_ref())?;
        Ok((told > 0).then_some(false))
    }

    /// Bytes of the largest blob that the metadata takes now.
    fn inline_bytes_max(&self) -> Result<usize, MetadataError> {
        Ok(if self.understands(LONG_INLINE_LEVEL)? {
            INLINE_BYTES_MAX
        } else {
            INLINE_BYTES_MAX_FIRST
        })
    }

    /// The index that this node's copy has applied: what is read from `view` after
    /// the call holds until there is another one.
    fn applied(&self, group: &GroupId) -> Result<u64, MetadataError>;

    /// Waits until this node's copy has applied more than `after`, and returns
    /// the index that it has applied.
    async fn applied_after(&self, group: &GroupId, after: u64) -> Result<u64, MetadataError>;
}

#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Nothing was done: no leader was found in time, or no quorum answers.
    #[error("group {group} is unavailable: {reason}")]
    Unavailable { group: GroupId, reason: String },
    /// Nothing was done, and nothing will be until the last node of the cluster
    /// runs a version that knows the command.
    #[error(
        "a node of the cluster runs a version that does not know this yet: upgrade all nodes first"
    )]
    NotYetKnown { group: GroupId },
    /// The deadline passed after the command had been sent: it may have been
    /// committed, may be later, or never.
    #[error("the outcome of a command to group {group} is unknown")]
    Unknown { group: GroupId },
    /// This node is not in that group.
    #[error("this node has no group {group}")]
    UnknownGroup { group: GroupId },
    #[error("cannot read the metadata")]
    Storage(#[from] StorageError),
}

// === impl MetadataError ===

impl MetadataError {
    /// Whether the same call may succeed later. Of a command whose outcome is
    /// unknown, a repeat is a new command: it has to be one that is harmless
    /// when applied twice.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::NotYetKnown { .. } | Self::Unknown { .. } => true,
            Self::UnknownGroup { .. } | Self::Storage(_) => false,
        }
    }
}
