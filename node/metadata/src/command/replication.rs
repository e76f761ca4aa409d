//! Commands of replication: what a task's end and a deletion elsewhere do.

use bytes::Bytes;
use entrepot_oci::{AccountId, Digest, RepositoryName, Tag};

use super::{Author, RetryTasks};
use crate::query::{Destination, TagOrigin, TaskKey, TaskKind};
use crate::records::Origin;

/// Another registry has deleted an image or one of its tags, and a rule there copies
/// that. Nothing of it is copied any further.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteReplica {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    /// Empty: the image and all its tags.
    #[prost(string, tag = "4")]
    pub tag: String,
    /// Orders it among the pushes of that source.
    #[prost(message, optional, tag = "5")]
    pub origin: Option<Origin>,
    #[prost(int64, tag = "6")]
    pub at_ms: i64,
    /// Set: an image that goes can be restored for a while.
    #[prost(message, optional, tag = "20")]
    pub author: Option<Author>,
}

/// A source account has no task open any more, up to a log index of its region, for
/// a registry here: nothing as old is taken from it any more, and what was kept of it
/// goes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SettleReplicas {
    #[prost(string, tag = "1")]
    pub account: String,
    /// The source's.
    #[prost(string, tag = "2")]
    pub region: String,
    #[prost(string, tag = "3")]
    pub source_account: String,
    #[prost(uint64, tag = "4")]
    pub sequence: u64,
    /// Where something is kept of what is gone; at most 1,000.
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub records: Vec<Bytes>,
}

/// One of a repository's denied tasks.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeniedTask {
    #[prost(string, tag = "1")]
    pub digest: String,
    /// Empty: of the image alone.
    #[prost(string, tag = "2")]
    pub tag: String,
    /// As in `EndTask`.
    #[prost(string, tag = "3")]
    pub destination: String,
}

// === impl DeniedTask ===

impl From<&TaskKey> for DeniedTask {
    fn from(key: &TaskKey) -> Self {
        Self {
            digest: key.digest.to_string(),
            tag: key.tag.as_ref().map(Tag::to_string).unwrap_or_default(),
            destination: key.destination.name(&key.account),
        }
    }
}

// === impl RetryTasks ===

impl RetryTasks {
    pub fn new(
        account: &AccountId,
        repository: &RepositoryName,
        destination: &Destination,
        kind: TaskKind,
    ) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            destination: destination.name(account),
            deletions: kind == TaskKind::Delete,
            after: None,
        }
    }
}

// === impl DeleteReplica ===

impl DeleteReplica {
    pub fn new(
        account: &AccountId,
        repository: &RepositoryName,
        digest: &Digest,
        tag: Option<&Tag>,
        origin: &TagOrigin,
    ) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
            tag: tag.map(ToString::to_string).unwrap_or_default(),
            origin: Some(origin.record(account, repository)),
            at_ms: 0,
            author: None,
        }
    }
}
