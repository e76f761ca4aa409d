//! Whether an account takes what another one sends it.
//!
//! Decided where it would be taken, for every image and as its bytes come in, so
//! that a policy which is withdrawn stops what is under way. What an account sends
//! itself needs nobody's leave.

use std::fmt;

use entrepot_metadata::StorageError;
use entrepot_metadata::seam::MetadataError;
use entrepot_oci::{AccountId, RepositoryName};

use crate::error::ReplicationError;

/// Answers from this node's own copy of the records: cheap enough to ask again for
/// each piece of a blob.
pub trait Admission: fmt::Debug + Send + Sync {
    /// # Errors
    /// See [`NotAdmitted`].
    fn check(&self, question: &Question<'_>) -> Result<(), NotAdmitted>;
}

/// May `source` do what it wishes in `repository` of `account`?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub source: &'a AccountId,
    pub account: &'a AccountId,
    /// It need not exist: whoever brings something must be allowed to make it then.
    pub repository: &'a RepositoryName,
    pub wish: Wish,
}

/// What a source does at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Bring an image, or a part of one.
    Bring,
    /// Delete what was deleted there.
    Delete,
}

#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// The policies of `account` do not allow it.
    #[error("denied: {0}")]
    Denied(String),
    /// It cannot be told now.
    #[error("read what the account allows")]
    Unknown(#[source] MetadataError),
}

// === impl NotAdmitted ===

impl From<MetadataError> for NotAdmitted {
    fn from(error: MetadataError) -> Self {
        Self::Unknown(error)
    }
}

impl From<StorageError> for NotAdmitted {
    fn from(error: StorageError) -> Self {
        Self::Unknown(error.into())
    }
}

impl From<NotAdmitted> for ReplicationError {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::Denied(reason) => Self::Denied(reason),
            NotAdmitted::Unknown(error) => Self::Metadata(error),
        }
    }
}
