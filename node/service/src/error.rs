//! What a use case can answer instead of its result. Front ends turn each into
//! a code of their protocol; an internal cause is logged here, once, under an
//! id, and never shown.

use entrepot_blobs::BlobError;
use entrepot_metadata::StorageError;
use entrepot_metadata::response::{TagFixed, TagFound};
use entrepot_metadata::seam::MetadataError;
use entrepot_oci::{Digest, RepositoryName};
use entrepot_replication::{ReplicationError, chain};
use tracing::{error, warn};

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    #[error("authentication required")]
    Unauthorized,
    /// Of an authorization token: not made here, for another region, or of
    /// somebody who has gone.
    #[error("Your Authorization Token is invalid.")]
    TokenInvalid,
    #[error("Your authorization token has expired. Reauthenticate and try again.")]
    TokenExpired,
    /// From where this request came, or as whom.
    #[error("too many wrong passwords, or too many logins at a time; try again in a moment")]
    LoginsTooMany,
    /// The account or the principal asks for this operation too often.
    #[error("Rate exceeded")]
    RateExceeded { retry_after_s: u64 },
    #[error("{0}")]
    Denied(String),
    #[error("repository {0} does not exist")]
    NameUnknown(RepositoryName),
    /// A push to a repository that does not exist, where only
    /// `create_repository` makes one.
    #[error(
        "repository {0} does not exist, and this registry lets no push create one: run \
         `entrepot repository create {0}` first, or `entrepot registry set --create-on-push on`"
    )]
    CreationOff(RepositoryName),
    #[error("repository {0} has images: delete them first, or delete it with force")]
    RepositoryNotEmpty(RepositoryName),
    /// It takes nothing any more, and can be made anew once it is gone.
    #[error(
        "repository {0} is being deleted; if that was interrupted, `entrepot repository delete \
         {0}` goes on with it"
    )]
    RepositoryDeleting(RepositoryName),
    #[error("blob {0} does not exist in this repository")]
    BlobUnknown(Digest),
    #[error("there is no such upload: it has ended, expired, or its node was restarted")]
    UploadUnknown,
    #[error("{0}")]
    UploadInvalid(String),
    /// What came before it stopped stays received.
    #[error("the request's body did not come in time")]
    UploadStalled,
    /// Bytes received so far.
    #[error("the chunk does not start where the last one ended; {size} bytes were received")]
    RangeInvalid { size: u64 },
    /// Of a read: the blob's bytes.
    #[error("the range begins behind the blob's end; it has {size} bytes")]
    BeyondEnd { size: u64 },
    #[error("{declared} bytes were declared and {received} received")]
    SizeInvalid { declared: u64, received: u64 },
    #[error("{0}")]
    DigestInvalid(String),
    #[error("{0}")]
    ManifestInvalid(String),
    #[error("a manifest has at most {max} bytes")]
    ManifestTooLarge { max: usize },
    #[error("a blob has at most {max} bytes")]
    BlobTooLarge { max: u64 },
    #[error("manifest {0} does not exist in this repository")]
    ManifestUnknown(String),
    /// It is known, and has to come back before it can be pulled.
    #[error(
        "manifest {0} is in the archive of this repository: it can be pulled once it is restored, \
         by `entrepot image activate` or by a push"
    )]
    ImageArchived(String),
    #[error("the manifest names content that is not in this repository")]
    ManifestBlobsUnknown(Vec<Digest>),
    /// With the tags that it was to have.
    #[error("the repository has the image {0} already")]
    ImageExists(Digest),
    #[error("{0}")]
    Referenced(String),
    /// The blob that was to go, and a deleted image that names it and can be restored.
    #[error(
        "blob {blob} is kept for the deleted image {image}, which can be restored: it goes with \
         that one"
    )]
    Held { blob: Digest, image: String },
    /// The first tag that a condition did not hold for.
    #[error("{0}, which is not what the request expects")]
    TagNotAsExpected(TagFound),
    /// The first tag that is elsewhere and may not move.
    #[error("{0}")]
    TagImmutable(TagFixed),
    #[error("{0}")]
    Invalid(String),
    /// There may be no more of it.
    #[error("{0}")]
    LimitExceeded(String),
    /// What this version cannot do, though others can.
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    /// The log indexes after which a watch could begin.
    #[error(
        "what changed after log index {after} is not known; it is for {oldest} to {newest}: \
         list the repository anew"
    )]
    WatchOutOfRange {
        after: u64,
        oldest: u64,
        newest: u64,
    },
    #[error("too many changes were left unread; watch again after log index {resume_after}")]
    WatchTooSlow { resume_after: u64 },
    #[error("that index is of another log; this node's is {log}")]
    WatchOtherLog { log: String },
    /// The same request may succeed in a moment.
    #[error("{reason}")]
    Unavailable { reason: String },
    /// A destination of a synchronous rule has not got it, though it is kept here.
    #[error("{0}")]
    NotReplicated(String),
    #[error("the node that takes the content has no room left on its disk")]
    Full,
    /// The cause is in the log under `id`.
    #[error("internal error {id}")]
    Internal { id: String },
}

// === impl ServiceError ===

impl ServiceError {
    /// Logs `cause` and hides it behind an id.
    pub(crate) fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut random = [0_u8; 8];
        // Without randomness the id is merely less useful.
        let _ = getrandom::fill(&mut random);
        let id = format!("{:016x}", u64::from_be_bytes(random));
        error!(id, cause = chain(cause), "a request failed");
        Self::Internal { id }
    }

    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable {
            reason: reason.into(),
        }
    }
}

impl From<MetadataError> for ServiceError {
    fn from(error: MetadataError) -> Self {
        if matches!(error, MetadataError::NotYetKnown { .. }) {
            return Self::unavailable(error.to_string());
        }
        if error.is_transient() {
            warn!(cause = chain(&error), "the metadata is unavailable");
            return Self::unavailable(
                "this region's metadata has no leader or no quorum at the moment; try again",
            );
        }
        Self::internal(&error)
    }
}

impl From<StorageError> for ServiceError {
    fn from(error: StorageError) -> Self {
        Self::internal(&error)
    }
}

impl From<BlobError> for ServiceError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Full => Self::Full,
            BlobError::NotFound(digest) => Self::BlobUnknown(digest),
            other => Self::internal(&other),
        }
    }
}

impl From<ReplicationError> for ServiceError {
    fn from(error: ReplicationError) -> Self {
        match error {
            ReplicationError::Mismatch { expected } => Self::DigestInvalid(format!(
                "the content does not match the digest {expected}; the upload was discarded"
            )),
            ReplicationError::Full => Self::Full,
            ReplicationError::Metadata(error) => error.into(),
            ReplicationError::TooFewCopies { durable, needed } => Self::unavailable(format!(
                "only {durable} of {needed} copies could be made durable; try again"
            )),
            ReplicationError::RegionDown(region) => Self::unavailable(format!(
                "region {region} may have it and cannot be asked; try again"
            )),
            ReplicationError::Away(why) => {
                warn!(why, "what another region may have cannot be read");
                Self::unavailable("a region that may have it cannot be read now; try again")
            }
            ReplicationError::Unreachable(digest) => Self::unavailable(format!(
                "no node that holds blob {digest} can be reached; try again"
            )),
            other => Self::internal(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use entrepot_metadata::GroupId;
    use entrepot_metadata::seam::MetadataError;

    use super::ServiceError;

    #[test]
    fn whoever_asks_for_what_an_older_node_does_not_know_is_told_so() {
        let group = GroupId::global();
        let error = ServiceError::from(MetadataError::NotYetKnown { group });
        assert!(matches!(&error, ServiceError::Unavailable { .. }));
        assert!(error.to_string().ends_with("upgrade all nodes first"));
    }
}
