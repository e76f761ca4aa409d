//! What was collected, and what is to be.

use bytes::Bytes;

/// How far collection is in a region; there once it has begun.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectionRecord {
    /// Log index: looks at copies before it do not count any more, and collections
    /// after it are remembered.
    #[prost(uint64, tag = "1")]
    pub floor: u64,
    /// What was there before collection began is looked through once: the last key
    /// that was. Empty: none.
    #[prost(bytes = "bytes", tag = "2")]
    pub walked_to: Bytes,
    /// All of it was.
    #[prost(bool, tag = "3")]
    pub walked: bool,
}

/// No repository has a blob any more.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct UnlinkedRecord {
    #[prost(enumeration = "Why", tag = "1")]
    pub why: i32,
}

/// A blob that was collected while nothing referred to it. It may have come back
/// since.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectedRecord {
    /// Log index of the command that did it.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// Bytes; 0 where that was not known.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    #[prost(enumeration = "Why", tag = "3")]
    pub why: i32,
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
    /// Nodes that may still delete a file because of it; sorted, no duplicates.
    #[prost(uint64, repeated, tag = "5")]
    pub pending: Vec<u64>,
}

/// Of a node and a digest.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ToDeleteRecord {
    /// Log index of the collection.
    #[prost(uint64, tag = "1")]
    pub index: u64,
}

/// Why a blob was collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Why {
    /// Nobody knows any more.
    Unknown = 0,
    /// No image named it in time.
    Unreferenced = 1,
    /// The last image that named it was deleted.
    ImageDeleted = 2,
    /// A client took it out of its repository.
    Unlinked = 3,
    RepositoryDeleted = 4,
    /// A file that the region knew nothing of.
    Orphan = 5,
}

// === impl Why ===

impl Why {
    /// For logs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unreferenced => "unreferenced",
            Self::ImageDeleted => "image-deleted",
            Self::Unlinked => "blob-deleted",
            Self::RepositoryDeleted => "repository-deleted",
            Self::Orphan => "orphan",
        }
    }
}
