//! Images go into the archive and come back.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::ImageState;

/// Puts an image into the archive, or brings it back, with what goes along: see
/// `apply/storage_class.rs`. One that is there already stays as it is.
///
/// `ManifestReferenced` when it is to go into the archive and an index that is not
/// there names it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetStorageClass {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    /// Into the archive; else out of it.
    #[prost(bool, tag = "4")]
    pub archive: bool,
    /// When it went, or came back, and of the tasks that copy what came back.
    #[prost(int64, tag = "5")]
    pub at_ms: i64,
    /// Only if it is still this.
    #[prost(message, optional, tag = "6")]
    pub expected: Option<ImageState>,
}

// === impl SetStorageClass ===

impl SetStorageClass {
    pub fn new(
        account: &RegistryId,
        repository: &RepositoryName,
        digest: &Digest,
        archive: bool,
        at_ms: i64,
    ) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
            archive,
            at_ms,
            expected: None,
        }
    }
}
