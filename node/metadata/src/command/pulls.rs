//! When images were pulled.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

/// Images were pulled. What is not there any more, or was pulled later by what is
/// recorded, stays as it is; the first of all says since when pulls are recorded.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RecordPulls {
    /// At most [`PULLS_PER_COMMAND_MAX`](crate::limits::PULLS_PER_COMMAND_MAX).
    #[prost(message, repeated, tag = "1")]
    pub pulls: Vec<Pull>,
    #[prost(int64, tag = "2")]
    pub at_ms: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pull {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
}

// === making them ===

impl Pull {
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
        }
    }
}
