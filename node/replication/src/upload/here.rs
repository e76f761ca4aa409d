//! What the node that takes an upload does with its bytes: stages them, or only
//! hashes them on their way to the others.

use std::sync::Arc;

use bytes::Bytes;
use entrepot_blobs::{BlobError, Committed, Expected, Passing, StagedBytes, Staging};
use entrepot_oci::Digest;

use crate::error::ReplicationError;

/// This node's part in an upload.
#[derive(Debug)]
pub(super) enum Here {
    /// It gets a copy.
    Staged(Box<dyn Staging>),
    /// Its disk is full, and others have room.
    Passing(Passing),
}

// === impl Here ===

impl Here {
    /// Whether there will be a copy on this node.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Self::Staged(_))
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Staged(staging) => staging.size(),
            Self::Passing(passing) => passing.size(),
        }
    }

    /// What is staged, for those who read it meanwhile; none: nothing is.
    pub(super) fn read_back(&self) -> Option<Arc<dyn StagedBytes>> {
        match self {
            Self::Staged(staging) => Some(staging.read_back()),
            Self::Passing(_) => None,
        }
    }

    pub(super) async fn append(&mut self, piece: Bytes) -> Result<(), BlobError> {
        match self {
            Self::Staged(staging) => staging.append(vec![piece]).await,
            Self::Passing(passing) => passing.append(vec![piece]).await,
        }
    }

    pub(super) fn root(&self) -> [u8; 32] {
        match self {
            Self::Staged(staging) => staging.root(),
            Self::Passing(passing) => passing.root(),
        }
    }

    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Staged(staging) => staging.digest(),
            Self::Passing(passing) => passing.digest(),
        }
    }

    /// Verifies the content, and makes it durable where it is kept.
    pub(super) async fn commit(self, expected: Digest) -> Result<Committed, ReplicationError> {
        let committed = match self {
            Self::Staged(staging) => staging.commit(Expected::Digest(expected)).await,
            Self::Passing(passing) => passing.verify(expected).await,
        };
        match committed {
            Err(BlobError::DigestMismatch { .. }) => Err(ReplicationError::Mismatch { expected }),
            other => Ok(other?),
        }
    }

    /// Leaves nothing behind.
    pub(super) async fn discard(self) {
        if let Self::Staged(staging) = self {
            staging.discard().await;
        }
    }
}
