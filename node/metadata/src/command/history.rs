//! What is remembered of tags goes. All of it is of level 9.

use entrepot_oci::{RegistryId, RepositoryName, Tag};

/// Forgets what deleted tags pointed to, of those that went at `cutoff_ms` or before:
/// each of them is looked at again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ForgetTags {
    /// At most `limits::FORGOTTEN_AT_ONCE_MAX`.
    #[prost(message, repeated, tag = "1")]
    pub tags: Vec<ForgottenTag>,
    #[prost(int64, tag = "2")]
    pub cutoff_ms: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ForgottenTag {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub tag: String,
}

// === impl ForgottenTag ===

impl ForgottenTag {
    pub fn new(account: &RegistryId, repository: &RepositoryName, tag: &Tag) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            tag: tag.to_string(),
        }
    }
}
