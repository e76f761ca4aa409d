//! Commands that collect what nothing refers to.
//!
//! All of them are of level 9, name a bounded number of things and check each of
//! these again when they are applied: what they name may be in use by then, and is
//! passed over.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

/// Begins collection in a region, and looks through what was there before, a part of
/// it at a time: to be proposed until there is no more.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BeginCollection {}

/// Takes blobs out of repositories in which no manifest has named them since
/// `cutoff_ms`, and collects those that no other repository has.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectLinks {
    /// At most 1,000.
    #[prost(message, repeated, tag = "1")]
    pub links: Vec<UnusedLink>,
    #[prost(int64, tag = "2")]
    pub cutoff_ms: i64,
    /// As of [`CollectBlobs`]. Empty: what no repository has any more is a candidate
    /// of the next of these.
    #[prost(uint64, repeated, tag = "3")]
    pub nodes: Vec<u64>,
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UnusedLink {
    /// Since when it is known to be unused: the part of its key.
    #[prost(int64, tag = "1")]
    pub since_ms: i64,
    #[prost(string, tag = "2")]
    pub account: String,
    #[prost(string, tag = "3")]
    pub repository: String,
    #[prost(string, tag = "4")]
    pub digest: String,
}

/// Collects the blobs that no repository has, each of them: the nodes delete their
/// files when they have applied it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectBlobs {
    /// At most 1,000.
    #[prost(string, repeated, tag = "1")]
    pub digests: Vec<String>,
    /// Who may have a file of them, beside those who said so.
    #[prost(uint64, repeated, tag = "2")]
    pub nodes: Vec<u64>,
    #[prost(int64, tag = "3")]
    pub at_ms: i64,
}

/// Lets a node delete files that the region knows nothing of, if it still does not.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectFiles {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// At most 1,000.
    #[prost(message, repeated, tag = "2")]
    pub files: Vec<OrphanFile>,
    #[prost(int64, tag = "3")]
    pub at_ms: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OrphanFile {
    #[prost(string, tag = "1")]
    pub digest: String,
    /// Bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
}

/// A node deletes no file any more because of these collections.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfirmCollected {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// At most 1,000.
    #[prost(message, repeated, tag = "2")]
    pub collected: Vec<CollectedBlob>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectedBlob {
    #[prost(string, tag = "1")]
    pub digest: String,
    /// Log index of the collection.
    #[prost(uint64, tag = "2")]
    pub index: u64,
}

/// Drops the records of collections up to `floor` that every node has confirmed.
/// From then on no copy counts that was looked at before `floor`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ForgetCollected {
    /// Log index.
    #[prost(uint64, tag = "1")]
    pub floor: u64,
    /// At most 1,000.
    #[prost(string, repeated, tag = "2")]
    pub digests: Vec<String>,
}

// === impl UnusedLink ===

impl UnusedLink {
    pub fn new(
        since_ms: i64,
        account: &RegistryId,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Self {
        Self {
            since_ms,
            account: account.to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
        }
    }
}
