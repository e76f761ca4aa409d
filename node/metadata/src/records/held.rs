//! How much a registry and its repositories hold.

use bytes::Bytes;

/// What a registry holds: the sum of what its repositories do.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HeldRecord {
    /// Of the blobs that its repositories link, once for each repository, and of
    /// their manifests.
    #[prost(uint64, tag = "1")]
    pub bytes: u64,
    /// Manifests.
    #[prost(uint64, tag = "2")]
    pub images: u64,
    /// The last key of a link or a manifest that is counted, as in
    /// [`CountRecord`](super::CountRecord); empty: none is. The links sort before the
    /// manifests. It holds for the records of the repositories too.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub counted_to: Option<Bytes>,
}

/// What a repository holds, as far as the registry's record says that it is
/// counted; none: nothing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RepositoryHeldRecord {
    /// Of the blobs that it links and of its manifests.
    #[prost(uint64, tag = "1")]
    pub bytes: u64,
    /// Manifests.
    #[prost(uint64, tag = "2")]
    pub images: u64,
}

// === impl HeldRecord ===

impl HeldRecord {
    /// Before anything is counted.
    pub(crate) fn begun() -> Self {
        Self {
            counted_to: Some(Bytes::new()),
            ..Self::default()
        }
    }

    /// Whether the count has got as far as that key.
    pub(crate) fn has_counted(&self, key: &[u8]) -> bool {
        let counted_to = self.counted_to.as_ref();
        counted_to.is_none_or(|last| key <= &last[..])
    }
}
