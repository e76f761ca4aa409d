//! Images that were deleted and can be restored.

use super::ManifestRecord;
use crate::limits::KEPT_IMAGE_BYTES;

/// An image that was deleted, as it was. Its bytes and what it uses of its
/// repository's blobs stay where they were.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeletedRecord {
    #[prost(message, optional, tag = "1")]
    pub manifest: Option<ManifestRecord>,
    /// Tags that went with it; sorted, at most `limits::DELETED_TAGS_MAX` of them.
    #[prost(string, repeated, tag = "2")]
    pub tags: Vec<String>,
    #[prost(int64, tag = "3")]
    pub deleted_at_ms: i64,
    /// It goes for good then.
    #[prost(int64, tag = "4")]
    pub until_ms: i64,
    /// Log index of the command that deleted it.
    #[prost(uint64, tag = "5")]
    pub index: u64,
    #[prost(enumeration = "Cause", tag = "6")]
    pub cause: i32,
    /// Who did: an ARN, or the region that a deletion came from. Empty: not known.
    #[prost(string, tag = "7")]
    pub by: String,
    /// When it was last pulled, if that was recorded.
    #[prost(int64, optional, tag = "8")]
    pub pulled_at_ms: Option<i64>,
    /// How much of `limits::KEPT_BYTES_MAX` it takes, see [`DeletedRecord::takes`]. It
    /// gives back as much when it goes.
    #[prost(uint64, tag = "9")]
    pub cost: u64,
}

/// How much is kept of the deleted images of a repository, or of all repositories of a
/// registry; none: nothing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct KeptRecord {
    #[prost(uint64, tag = "1")]
    pub images: u64,
    /// Of their manifests.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// How much of `limits::KEPT_BYTES_MAX` they take.
    #[prost(uint64, tag = "3")]
    pub cost: u64,
}

/// Why something was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Cause {
    /// A client asked for it.
    Client = 0,
    /// The repository's lifecycle policy did.
    Lifecycle = 1,
    /// It was changed in another registry, which a rule copies.
    Replication = 2,
    /// What was deleted was restored, or a tag set back.
    Restore = 3,
    /// A client pushed an image, or set its tag.
    Push = 4,
}

// === impl DeletedRecord ===

impl DeletedRecord {
    /// What an image takes while it is kept: its manifest, its tags, and something for
    /// all the rest.
    pub(crate) fn takes<'a>(content_len: u64, tags: impl IntoIterator<Item = &'a str>) -> u64 {
        let tags = tags.into_iter().map(|tag| tag.len() as u64);
        tags.fold(
            content_len.saturating_add(KEPT_IMAGE_BYTES),
            u64::saturating_add,
        )
    }
}

// === impl Cause ===

impl Cause {
    /// For people and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lifecycle => "lifecycle",
            Self::Replication => "replication",
            Self::Restore => "restore",
            Self::Push => "push",
        }
    }
}
