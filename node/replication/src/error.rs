//! What can go wrong while bytes move between nodes.

use entrepot_blobs::BlobError;
use entrepot_metadata::seam::MetadataError;
use entrepot_oci::Digest;
use tonic::{Code, Status};

/// A transfer or a task that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    #[error("no node of the region has blob {0}")]
    NotFound(Digest),
    #[error("a copy of blob {0} that might exist cannot be reached")]
    Unreachable(Digest),
    #[error("only {durable} of {needed} copies are durable")]
    TooFewCopies { durable: usize, needed: usize },
    #[error("the content does not match {expected}")]
    Mismatch { expected: Digest },
    #[error("the disk is full")]
    Full,
    #[error("store a blob")]
    Blob(#[source] BlobError),
    #[error("read or write the metadata")]
    Metadata(#[from] MetadataError),
    #[error("call node {node}")]
    Peer {
        node: u64,
        #[source]
        status: Box<Status>,
    },
    #[error("no node of region {0} answers")]
    RegionDown(String),
    /// The other side has decided; asking again will not help.
    #[error("refused: {0}")]
    Refused(String),
}

// === impl ReplicationError ===

impl ReplicationError {
    pub(crate) fn peer(node: u64, status: Status) -> Self {
        Self::Peer {
            node,
            status: Box::new(status),
        }
    }

    /// Whether the same attempt may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Mismatch { .. } => false,
            // What a peer does not implement it will, once it is upgraded.
            Self::Peer { status, .. } => !matches!(
                status.code(),
                Code::InvalidArgument | Code::PermissionDenied
            ),
            _ => true,
        }
    }
}

impl From<BlobError> for ReplicationError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Full => Self::Full,
            BlobError::NotFound(digest) => Self::NotFound(digest),
            other => Self::Blob(other),
        }
    }
}

impl From<entrepot_metadata::StorageError> for ReplicationError {
    fn from(error: entrepot_metadata::StorageError) -> Self {
        Self::Metadata(MetadataError::Storage(error))
    }
}
