//! What tags pointed to before.

use super::undelete::Cause;

/// Of which moves of a tag is told.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TagHistoryRecord {
    /// The number of the last one.
    #[prost(uint64, tag = "1")]
    pub last: u64,
    /// When the tag was deleted; unset: it is there. The history goes so long after that.
    #[prost(int64, optional, tag = "2")]
    pub gone_at_ms: Option<i64>,
}

/// How many deleted tags of a repository have a history; none: no tag.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GoneTagsRecord {
    #[prost(uint64, tag = "1")]
    pub tags: u64,
}

/// One move of a tag.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TagMoveRecord {
    /// Log index of the command.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(int64, tag = "2")]
    pub at_ms: i64,
    /// Digest; unset: there was no such tag.
    #[prost(string, optional, tag = "3")]
    pub from: Option<String>,
    /// Digest; unset: the tag was deleted.
    #[prost(string, optional, tag = "4")]
    pub to: Option<String>,
    #[prost(enumeration = "Cause", tag = "5")]
    pub cause: i32,
    /// Who did: an ARN, or the region that a copy came from. Empty: not known.
    #[prost(string, tag = "6")]
    pub by: String,
    /// Since when it had pointed to `from`, or for longer. Set where that is.
    #[prost(int64, optional, tag = "7")]
    pub since_ms: Option<i64>,
}
