//! The deletion of a repository, step by step.

use entrepot_oci::{RegistryId, RepositoryName};

/// Removes a part of a repository, of a bounded size, and what is left of it with
/// the last part: to be proposed until there is no more. From the first step on
/// the repository takes nothing new; `RepositoryNotEmpty` before that, if it has
/// manifests and `force` is not given.
///
/// What is known of the blobs stays: other repositories may have them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRepository {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    /// With all its manifests.
    #[prost(bool, tag = "3")]
    pub force: bool,
    /// Log index of the command that made the repository. One of the same name
    /// that was made since is another one, and left alone: then this one is gone.
    #[prost(uint64, tag = "4")]
    pub index: u64,
}

// === impl DeleteRepository ===

impl DeleteRepository {
    /// Of a repository that is empty. `index`: of the command that made it.
    pub fn new(account: &RegistryId, repository: &RepositoryName, index: u64) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            force: false,
            index,
        }
    }
}
