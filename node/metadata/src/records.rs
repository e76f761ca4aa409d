//! What is stored under the keys of [`keys`](crate::keys).
//!
//! Protobuf messages, so that a newer node reads what an older one wrote.
//! Fields are only ever added; a tag is never reused and never changes its
//! meaning. Names and digests are kept as the strings that users know;
//! [`query`](crate::query) gives them back as validated types.

pub mod backfills;
pub mod changes;
pub mod collection;
pub mod following;
pub mod held;
pub mod history;
pub mod identity;
pub mod members;
pub mod pulls;
pub mod rules;
pub mod settings;
pub mod trust;
pub mod undelete;

use std::fmt;

use bytes::Bytes;

use crate::response::Response;
use changes::ChangesRecord;
use settings::{EncryptionRecord, MutabilityRecord};

/// An envelope that was applied, with what it was answered.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EnvelopeRecord {
    /// Log index at which it was applied.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(message, optional, tag = "2")]
    pub response: Option<Response>,
}

/// Which entry of the log occupies a slot of the ring of remembered entries.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SlotRecord {
    /// The envelope's.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// Log index of the entry; 0 in slots that an older version wrote.
    #[prost(uint64, tag = "2")]
    pub index: u64,
    /// What the entry changed; unset: nothing that anybody watches.
    #[prost(message, optional, tag = "3")]
    pub changes: Option<ChangesRecord>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct AccountRecord {
    #[prost(string, tag = "1")]
    pub root_user: String,
    /// PHC string; empty: the root user has no password.
    #[prost(string, tag = "2")]
    pub password_hash: String,
    #[prost(int64, tag = "3")]
    pub created_at_ms: i64,
    /// Log index of the command that made it.
    #[prost(uint64, tag = "4")]
    pub index: u64,
    /// For people; the first account may have none.
    #[prost(string, tag = "5")]
    pub name: String,
    /// Nobody of it is let in.
    #[prost(bool, tag = "6")]
    pub disabled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SettingsRecord {
    /// A push makes a repository that does not exist.
    #[prost(bool, tag = "1")]
    pub create_on_push: bool,
    /// How much the registry may have. Set: what it has is counted.
    #[prost(message, optional, tag = "10")]
    pub quotas: Option<QuotasRecord>,
    /// What the operators of the cluster let it have; beyond, `quotas` gives nothing.
    #[prost(message, optional, tag = "11")]
    pub granted: Option<QuotasRecord>,
    /// How long deleted images can be restored; unset: the default.
    #[prost(uint64, optional, tag = "20")]
    pub undelete_window_ms: Option<u64>,
    /// What it holds is counted, in bytes and images.
    #[prost(bool, tag = "30")]
    pub counts_bytes: bool,
}

/// The most that there may be of each; 0: the default, and of `quotas`, as much as
/// is granted.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct QuotasRecord {
    #[prost(uint64, tag = "1")]
    pub repositories: u64,
    /// Of a repository.
    #[prost(uint64, tag = "2")]
    pub images: u64,
    /// Of an image.
    #[prost(uint64, tag = "3")]
    pub tags: u64,
    /// Of a layer, as ECR's API uploads it.
    #[prost(uint64, tag = "4")]
    pub layer_parts: u64,
    #[prost(uint64, tag = "5")]
    pub layer_bytes: u64,
    /// Of the registry, and of a repository.
    #[prost(uint64, tag = "30")]
    pub bytes: u64,
    #[prost(uint64, tag = "31")]
    pub repository_bytes: u64,
    /// Images of the registry.
    #[prost(uint64, tag = "32")]
    pub registry_images: u64,
}

/// How much there is of something that is bounded.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CountRecord {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The last key that is counted: what sorts behind it was there before anybody
    /// counted, and is counted in further steps. Unset: everything is.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub counted_to: Option<Bytes>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RepositoryRecord {
    #[prost(int64, tag = "1")]
    pub created_at_ms: i64,
    #[prost(uint64, tag = "2")]
    pub index: u64,
    /// Takes indexes that name manifests which it does not have.
    #[prost(bool, tag = "3")]
    pub sparse_indexes: bool,
    /// Its deletion has begun: it takes nothing any more.
    #[prost(bool, tag = "4")]
    pub deleting: bool,
    /// Which tags may move; unset: all.
    #[prost(message, optional, tag = "10")]
    pub mutability: Option<MutabilityRecord>,
    /// Unset: AES256.
    #[prost(message, optional, tag = "11")]
    pub encryption: Option<EncryptionRecord>,
    #[prost(bool, tag = "12")]
    pub scan_on_push: bool,
    /// The most bytes and images that it may have, in the place of what any
    /// repository of the registry may; 0: that.
    #[prost(uint64, tag = "30")]
    pub bytes_max: u64,
    #[prost(uint64, tag = "31")]
    pub images_max: u64,
}

/// A blob of this region, whichever repositories link it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlobRecord {
    /// Bytes.
    #[prost(uint64, tag = "1")]
    pub size: u64,
    /// BLAKE3 of the content, 32 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub root: Bytes,
    /// Nodes that had a durable copy when they said so; sorted, no duplicates.
    #[prost(uint64, repeated, tag = "3")]
    pub holders: Vec<u64>,
    /// All of it, where it is kept here.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub content: Option<Bytes>,
}

/// A repository may read and reference a blob.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct LinkRecord {
    #[prost(int64, tag = "1")]
    pub linked_at_ms: i64,
    #[prost(uint64, tag = "2")]
    pub index: u64,
    /// When the last manifest went that named it; another one may have come since.
    #[prost(int64, optional, tag = "3")]
    pub unused_at_ms: Option<i64>,
}

/// A manifest without its bytes, which are kept under a key of their own: a
/// check for existence must not read up to 4 MiB.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ManifestRecord {
    #[prost(string, tag = "1")]
    pub media_type: String,
    /// Bytes of the manifest itself.
    #[prost(uint64, tag = "2")]
    pub content_len: u64,
    #[prost(string, optional, tag = "3")]
    pub artifact_type: Option<String>,
    /// Digest.
    #[prost(string, optional, tag = "4")]
    pub subject: Option<String>,
    /// Digests of config and layers; sorted, no duplicates.
    #[prost(string, repeated, tag = "5")]
    pub blobs: Vec<String>,
    /// Digests of an index's manifests; sorted, no duplicates.
    #[prost(string, repeated, tag = "6")]
    pub children: Vec<String>,
    /// Bytes of config and layers.
    #[prost(uint64, tag = "7")]
    pub size: u64,
    #[prost(int64, tag = "8")]
    pub pushed_at_ms: i64,
    /// Log index of the first push.
    #[prost(uint64, tag = "9")]
    pub index: u64,
    /// Those of `children` that were not there at the first push, and that the
    /// index was taken without; sorted, no duplicates. They may have come since.
    #[prost(string, repeated, tag = "10")]
    pub absent: Vec<String>,
    /// Since when it is in the archive, if it is.
    #[prost(int64, optional, tag = "25")]
    pub archived_at_ms: Option<i64>,
    /// When it last came back from the archive.
    #[prost(int64, optional, tag = "26")]
    pub activated_at_ms: Option<i64>,
    /// Log index that says how old it is, where that is not `index`: of its last return
    /// from the archive, or of its first push where it was restored since.
    #[prost(uint64, optional, tag = "28")]
    pub age_index: Option<u64>,
    /// When it last went into the archive, if it is not there now.
    #[prost(int64, optional, tag = "27")]
    pub last_archived_at_ms: Option<i64>,
}

/// Of a [`ManifestRecord`], what every answer says of a manifest, and whether it is
/// one to be given: the rest is passed over.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MediaTypeRecord {
    #[prost(string, tag = "1")]
    pub media_type: String,
    #[prost(int64, optional, tag = "25")]
    pub archived_at_ms: Option<i64>,
}

/// The push in another registry that a replica comes from.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Origin {
    #[prost(string, tag = "1")]
    pub region: String,
    /// Log index of the push in its source region's group.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// Empty: the one whose registry has the replica.
    #[prost(string, tag = "3")]
    pub account: String,
    /// Empty: of the same name as the replica's.
    #[prost(string, tag = "4")]
    pub repository: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TagRecord {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(int64, tag = "2")]
    pub updated_at_ms: i64,
    /// Log index of the command that moved it here.
    #[prost(uint64, tag = "3")]
    pub index: u64,
    /// Unset: pushed in this registry.
    #[prost(message, optional, tag = "4")]
    pub origin: Option<Origin>,
}

/// The newest push or deletion of a source that was about a tag here. It outlives
/// the tag, so that a late older push cannot bring it back.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TagOriginRecord {
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TaskRecord {
    /// Log index of the push that asked for it.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    #[prost(int64, tag = "2")]
    pub created_at_ms: i64,
    #[prost(enumeration = "TaskState", tag = "3")]
    pub state: i32,
    #[prost(int64, optional, tag = "4")]
    pub ended_at_ms: Option<i64>,
    /// Why it failed.
    #[prost(string, optional, tag = "5")]
    pub reason: Option<String>,
    /// It failed because the destination's account does not allow it.
    #[prost(bool, tag = "6")]
    pub denied: bool,
    #[prost(enumeration = "TaskKind", tag = "7")]
    pub kind: i32,
    /// Under which names its repository is known at the destination: the first is
    /// the one that a copy goes under, a deletion goes to all. None: its own alone.
    #[prost(string, repeated, tag = "8")]
    pub names: Vec<String>,
    /// Log index of the image's deletion that a copy took the place of, and that is
    /// to be sent first; 0: there was none.
    #[prost(uint64, tag = "9")]
    pub deleted_before: u64,
}

/// What a source has pushed and deleted of an image that a replica here is of, or
/// was: log indexes of its group, 0 for never. While the push is the newer one, the
/// image is here for that source's sake; this registry itself counts as one, as far
/// as it shares the image with another.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ReplicaRecord {
    #[prost(uint64, tag = "1")]
    pub pushed: u64,
    #[prost(uint64, tag = "2")]
    pub deleted: u64,
}

/// Up to which log index of its group no task of a source account is open any more
/// for a registry here: nothing older is taken.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SettledRecord {
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
}

/// What a task does at its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum TaskKind {
    Copy = 0,
    /// Of a tag; of one without a tag, of the image and all its tags.
    Delete = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum TaskState {
    InProgress = 1,
    Complete = 2,
    Failed = 3,
}

// === impl LinkRecord ===

impl LinkRecord {
    /// Since when it is unused, if it is.
    pub(crate) fn since_ms(&self) -> i64 {
        let unused_at_ms = self.unused_at_ms.unwrap_or(self.linked_at_ms);
        self.linked_at_ms.max(unused_at_ms).max(0)
    }
}

// === impl AccountRecord ===

impl fmt::Debug for AccountRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The hash has no business in a log.
        f.debug_struct("AccountRecord")
            .field("root_user", &self.root_user)
            .field("created_at_ms", &self.created_at_ms)
            .field("index", &self.index)
            .field("name", &self.name)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}
