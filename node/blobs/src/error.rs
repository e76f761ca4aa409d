//! What can go wrong with a blob.
//!
//! Owns the crate's one error type and the mapping from the operating system's
//! errors. Must never hold source text in its `Display`. The invariant: a disk
//! without room is always [`BlobError::Full`], wherever it was noticed.

use std::{io, path::PathBuf};

use entrepot_oci::Digest;

/// Why a call of a store or of a staging failed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("blob {0} is not stored here")]
    NotFound(Digest),

    #[error("content hashes to {actual}, not to {expected}")]
    DigestMismatch {
        /// Boxed, both: two digests make every `Result` of this crate large.
        expected: Box<Digest>,
        actual: Box<Digest>,
    },

    /// A copy is not the content that its source described.
    #[error(
        "copy of blob {digest} has {actual_size} bytes of another content than the {expected_size} announced"
    )]
    RootMismatch {
        digest: Digest,
        expected_size: u64,
        actual_size: u64,
    },

    /// The copy here was found to be of other bytes, and is not served any more.
    #[error("the copy of blob {0} here is damaged")]
    Damaged(Digest),

    /// What a reader got of it may not be the blob's.
    #[error("the copy of blob {0} here was written to while it was read")]
    Changed(Digest),

    #[error("bytes {start}..{end} do not lie within blob {digest} of {size} bytes")]
    Range {
        digest: Digest,
        start: u64,
        end: u64,
        size: u64,
    },

    /// No room, or no quota, left for what was to be written.
    #[error("the blob store's disk is full")]
    Full,

    #[error("staging failed before and takes no more bytes")]
    Poisoned,

    #[error("blob store {} is in use by another process", path.display())]
    Locked { path: PathBuf },

    #[error("blob store {} has format {found:?}, this release reads up to {supported}", path.display())]
    Format {
        path: PathBuf,
        found: String,
        supported: u32,
    },

    #[error("could not {action} {}", path.display())]
    Io {
        /// A verb phrase, such as "write staging file".
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl BlobError {
    /// Whether the same call may succeed later, with nothing changed by the
    /// caller.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Full | Self::Locked { .. } | Self::Io { .. } => true,
            Self::NotFound(_)
            | Self::DigestMismatch { .. }
            | Self::RootMismatch { .. }
            | Self::Range { .. }
            | Self::Damaged(_)
            | Self::Changed(_)
            | Self::Poisoned
            | Self::Format { .. } => false,
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io {
                action,
                path: path.into(),
                source,
            },
        }
    }
}
