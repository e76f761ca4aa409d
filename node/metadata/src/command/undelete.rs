//! The way back for deleted images: who deletes, what is restored and what goes for
//! good. All of it is of level 9.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use crate::limits::AUTHOR_BYTES_MAX;
use crate::records::undelete::Cause;

/// From which on deleted images are kept for a while.
pub const UNDELETE_LEVEL: u32 = 9;

/// Who asks for a change, and why. Of a command that says so it is remembered which tags
/// it moved, and the images that it deletes are kept for the registry's window; else they
/// go at once.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Author {
    /// An ARN, or the region that a change comes from; at most
    /// `limits::AUTHOR_BYTES_MAX`.
    #[prost(string, tag = "1")]
    pub by: String,
    #[prost(enumeration = "Cause", tag = "2")]
    pub cause: i32,
    /// For how long what is deleted is kept; 0: not at all. Unset: as the registry's
    /// settings say.
    #[prost(uint64, optional, tag = "3")]
    pub window_ms: Option<u64>,
}

/// Puts a deleted image back, with those of an index's manifests that were deleted
/// too, and with those of its tags that are free.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RestoreImage {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
    /// Its tags stay gone.
    #[prost(bool, tag = "5")]
    pub without_tags: bool,
    #[prost(message, optional, tag = "6")]
    pub author: Option<Author>,
}

/// Lets deleted images go for good whose time was over at `cutoff_ms`: each of them is
/// looked at again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExpireDeleted {
    /// At most `limits::EXPIRED_AT_ONCE_MAX`.
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<ExpiredImage>,
    #[prost(int64, tag = "2")]
    pub cutoff_ms: i64,
    /// Whether or not their time is over.
    #[prost(bool, tag = "3")]
    pub now: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExpiredImage {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    /// Log index of its deletion: one that was deleted again since is another one.
    #[prost(uint64, tag = "4")]
    pub index: u64,
}

// === impl Author ===

impl Author {
    /// What is too long of a name is left out.
    pub fn new(by: &str, cause: Cause) -> Self {
        let mut by = by.to_owned();
        while by.len() > AUTHOR_BYTES_MAX {
            by.pop();
        }
        Self {
            by,
            cause: cause.into(),
            window_ms: None,
        }
    }
}

// === impl RestoreImage, ExpiredImage ===

impl RestoreImage {
    /// With its tags.
    pub fn new(
        account: &RegistryId,
        repository: &RepositoryName,
        digest: &Digest,
        at_ms: i64,
    ) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
            at_ms,
            without_tags: false,
            author: None,
        }
    }
}

impl ExpiredImage {
    pub fn new(
        account: &RegistryId,
        repository: &RepositoryName,
        digest: &Digest,
        index: u64,
    ) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
            index,
        }
    }
}
