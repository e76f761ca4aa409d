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
    /// just been formed: that is not known then, and is in a moment. It reads once:
    /// between two looks the last node may tell. Where no node tells anything, it is to
    /// be known.
    fn understands_or_unknown(&self, level: u32) -> Result<Option<bool>, MetadataError> {
        let told = query::level(self.view(&GroupId::global())?.as_ref())?;
        Ok((told > 0 || level == 0).then_some(level <= told))
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use bytes::Bytes;
    use prost::Message as _;

    use super::{Metadata, MetadataError};
    use crate::command::{Command, LEVEL};
    use crate::group::GroupId;
    use crate::keys;
    use crate::query;
    use crate::records::members::{MemberRecord, MemberState};
    use crate::response::Response;
    use crate::store::{KeyValue, MemoryState, Writes};

    /// Each look shows the next of these levels, which its one node has told.
    #[derive(Debug)]
    struct Telling(Mutex<Vec<u32>>);

    #[async_trait]
    impl Metadata for Telling {
        async fn propose(&self, group: &GroupId, _: Command) -> Result<Response, MetadataError> {
            let group = group.clone();
            Err(MetadataError::Unknown { group })
        }

        async fn linearize(&self, _: &GroupId) -> Result<(), MetadataError> {
            Ok(())
        }

        fn view(&self, _: &GroupId) -> Result<Arc<dyn KeyValue>, MetadataError> {
            let record = MemberRecord {
                region: "us-east-1".to_owned(),
                peer_address: "10.0.0.1:1".to_owned(),
                state: MemberState::Active.into(),
                level: self.0.lock().unwrap().remove(0),
                ..MemberRecord::default()
            };
            let mut state = MemoryState::new();
            let value = Bytes::from(record.encode_to_vec());
            state.apply_writes(&Writes {
                entries: vec![(keys::member(1).into_bytes(), Some(value))],
            });
            Ok(Arc::new(state))
        }

        fn understands(&self, level: u32) -> Result<bool, MetadataError> {
            let view = self.view(&GroupId::global())?;
            Ok(level == 0 || level <= query::level(view.as_ref())?)
        }

        fn applied(&self, _: &GroupId) -> Result<u64, MetadataError> {
            Ok(0)
        }

        async fn applied_after(&self, _: &GroupId, after: u64) -> Result<u64, MetadataError> {
            Ok(after + 1)
        }
    }

    /// A node that tells between two looks understands it: nobody may hear otherwise.
    #[test]
    fn what_is_told_meanwhile_is_not_taken_for_no() {
        let metadata = Telling(Mutex::new(vec![0, LEVEL, LEVEL, 0]));
        let ask = |level| metadata.understands_or_unknown(level).unwrap();
        assert_eq!(ask(LEVEL), None);
        assert_eq!(ask(LEVEL), Some(true));
        assert_eq!(ask(LEVEL + 1), Some(false));
        assert_eq!(ask(0), Some(true));
    }
}
