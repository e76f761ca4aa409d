//! What can go wrong while bytes move between nodes.

use std::error::Error;

use entrepot_blobs::BlobError;
use entrepot_metadata::seam::MetadataError;
use entrepot_oci::Digest;
use tonic::{Code, Status};

/// An error and its causes in one line: what a log line or a task's reason says.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = described(error);
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&described(cause));
        source = cause.source();
    }
    text
}

/// One link of the chain.
fn described(error: &(dyn Error + 'static)) -> String {
    let boxed = error.downcast_ref::<Box<Status>>().map(AsRef::as_ref);
    match boxed.or(error.downcast_ref::<Status>()) {
        // Its own text repeats its source.
        Some(status) if status.message().is_empty() => status.code().to_string(),
        Some(status) => format!("{} ({})", status.message(), status.code()),
        None => error.to_string(),
    }
}

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
    /// What another region has, or is to have, cannot be told or read now.
    #[error("read through from another region: {0}")]
    Away(String),
    /// The destination's account does not allow it. Asking again will not help
    /// until it does.
    #[error("denied: {0}")]
    Denied(String),
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

    /// Whether it failed for a disk without room, here or at a peer.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Peer { status, .. } => status.code() == Code::ResourceExhausted,
            _ => false,
        }
    }

    /// Whether the same attempt may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Denied(_) | Self::Refused(_) | Self::Mismatch { .. } => false,
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_chain_names_every_cause_once() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let mut status = Status::unavailable("tcp connect error");
        status.set_source(std::sync::Arc::new(refused));
        assert_eq!(
            chain(&ReplicationError::peer(5, status)),
            "call node 5: tcp connect error (The service is currently unavailable): \
             connection refused"
        );
        assert_eq!(
            chain(&ReplicationError::peer(5, Status::new(Code::Internal, ""))),
            "call node 5: Internal error"
        );
        assert_eq!(
            chain(&ReplicationError::Blob(BlobError::Poisoned)),
            "store a blob: staging failed before and takes no more bytes"
        );
    }
}
