//! What an error is in gRPC: the one place where a refused call gets its status
//! and its code.
//!
//! The matches are exhaustive, so a new error does not compile until its answer
//! is decided here. `entrepot-code` and the other trailers are part of the
//! protocol (registry.proto): they are only ever added to. A cause inside is
//! never told, only an id that the log knows.

use std::fmt::Display;

use entrepot_service::ServiceError;
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::{Code, Status};

use crate::request::RequestError;

const CODE: &str = "entrepot-code";
const RECEIVED: &str = "entrepot-received";
const SIZE: &str = "entrepot-size";
const SIZE_MAX: &str = "entrepot-size-max";
const TAG: &str = "entrepot-tag";
const DIGEST: &str = "entrepot-digest";
const RESUME_AFTER: &str = "entrepot-resume-after";
const OLDEST: &str = "entrepot-oldest";
const NEWEST: &str = "entrepot-newest";
const LOG: &str = "entrepot-log";
const RETRY_AFTER_S: &str = "entrepot-retry-after-s";
const LOG_ID: &str = "entrepot-log-id";

/// Digests that one refusal names. All trailers of a call have to stay below
/// 16 KiB, which is what clients take.
const DIGESTS_MAX: usize = 32;

/// The status that a front end answers instead of a result.
pub(crate) fn status(error: &ServiceError) -> Status {
    use Code as C;
    use ServiceError as E;
    let refusal = |code, name| Refusal::new(code, name, error);
    let refusal = match error {
        E::Unauthorized => refusal(C::Unauthenticated, "UNAUTHORIZED"),
        E::TokenInvalid | E::TokenExpired => refusal(C::Unauthenticated, "DENIED"),
        E::LoginsTooMany => refusal(C::ResourceExhausted, "TOOMANYREQUESTS"),
        E::RateExceeded { retry_after_s } => {
            refusal(C::ResourceExhausted, "TOOMANYREQUESTS").with(RETRY_AFTER_S, retry_after_s)
        }
        E::Denied(_) => refusal(C::PermissionDenied, "DENIED"),
        E::NameUnknown(_) | E::CreationOff(_) => refusal(C::NotFound, "NAME_UNKNOWN"),
        E::BlobUnknown(_) => refusal(C::NotFound, "BLOB_UNKNOWN"),
        E::UploadUnknown => refusal(C::NotFound, "BLOB_UPLOAD_UNKNOWN"),
        E::ManifestUnknown(_) | E::ImageArchived(_) => refusal(C::NotFound, "MANIFEST_UNKNOWN"),
        E::NotFound(_) => refusal(C::NotFound, "NOT_FOUND"),
        E::UploadInvalid(_) => refusal(C::InvalidArgument, "BLOB_UPLOAD_INVALID"),
        E::BlobTooLarge { max } => {
            refusal(C::InvalidArgument, "BLOB_UPLOAD_INVALID").with(SIZE_MAX, max)
        }
        E::SizeInvalid { .. } => refusal(C::InvalidArgument, "SIZE_INVALID"),
        E::DigestInvalid(_) => refusal(C::InvalidArgument, "DIGEST_INVALID"),
        E::ManifestInvalid(_) => refusal(C::InvalidArgument, "MANIFEST_INVALID"),
        E::ManifestTooLarge { max } => {
            refusal(C::InvalidArgument, "MANIFEST_INVALID").with(SIZE_MAX, max)
        }
        E::Invalid(_) => refusal(C::InvalidArgument, "UNSUPPORTED"),
        E::Unsupported(_) => refusal(C::Unimplemented, "UNSUPPORTED"),
        E::UploadStalled => refusal(C::DeadlineExceeded, "BLOB_UPLOAD_INVALID"),
        E::RangeInvalid { size } => {
            refusal(C::OutOfRange, "BLOB_UPLOAD_INVALID").with(RECEIVED, size)
        }
        E::BeyondEnd { size } => refusal(C::OutOfRange, "RANGE_INVALID").with(SIZE, size),
        E::ManifestBlobsUnknown(digests) => digests.iter().take(DIGESTS_MAX).fold(
            refusal(C::FailedPrecondition, "MANIFEST_BLOB_UNKNOWN"),
            |refusal, digest| refusal.with(DIGEST, digest),
        ),
        E::Referenced(_) | E::Held { .. } | E::RepositoryNotEmpty(_) => {
            refusal(C::FailedPrecondition, "DENIED")
        }
        // Whoever expected another tag has to read it again first.
        E::TagNotAsExpected(found) => {
            let refusal = refusal(C::Aborted, "TAG_NOT_AS_EXPECTED").with(TAG, &found.tag);
            match &found.digest {
                Some(digest) => refusal.with(DIGEST, digest),
                None => refusal,
            }
        }
        E::Conflict(_) | E::RepositoryDeleting(_) => refusal(C::Aborted, "DENIED"),
        E::TagImmutable(fixed) => refusal(C::FailedPrecondition, "TAG_INVALID")
            .with(TAG, &fixed.tag)
            .with(DIGEST, &fixed.digest),
        E::ImageExists(_) => refusal(C::AlreadyExists, "DENIED"),
        E::WatchOutOfRange { oldest, newest, .. } => refusal(C::OutOfRange, "WATCH_OUT_OF_RANGE")
            .with(OLDEST, oldest)
            .with(NEWEST, newest),
        E::WatchTooSlow { resume_after } => {
            refusal(C::Aborted, "WATCH_TOO_SLOW").with(RESUME_AFTER, resume_after)
        }
        E::WatchOtherLog { log } => {
            refusal(C::FailedPrecondition, "WATCH_OTHER_LOG").with(LOG, log)
        }
        E::NotReplicated(_) => refusal(C::DeadlineExceeded, "UNAVAILABLE"),
        E::Unavailable { .. } => refusal(C::Unavailable, "UNAVAILABLE"),
        E::Full | E::LimitExceeded(_) => refusal(C::ResourceExhausted, "DENIED"),
        E::Internal { id } => refusal(C::Internal, "UNKNOWN").with(LOG_ID, id),
    };
    refusal.into()
}

/// What one call is refused with.
struct Refusal {
    code: Code,
    message: String,
    trailers: MetadataMap,
}

// === impl Refusal ===

impl Refusal {
    fn new(code: Code, name: &'static str, error: impl Display) -> Self {
        let refusal = Self {
            code,
            message: error.to_string(),
            trailers: MetadataMap::new(),
        };
        refusal.with(CODE, name)
    }

    /// One more trailer of that name.
    fn with(mut self, name: &'static str, value: impl Display) -> Self {
        // Numbers, digests and names are ASCII, all of them.
        if let Ok(value) = value.to_string().parse() {
            self.trailers
                .append(AsciiMetadataKey::from_static(name), value);
        }
        self
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::with_metadata(refusal.code, refusal.message, refusal.trailers)
    }
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        use RequestError as E;
        let (code, name) = match error {
            E::Repository(_) => (Code::InvalidArgument, "NAME_INVALID"),
            E::Digest(_) => (Code::InvalidArgument, "DIGEST_INVALID"),
            E::Tag(_) => (Code::InvalidArgument, "TAG_INVALID"),
            E::MediaType(_) => (Code::InvalidArgument, "MANIFEST_INVALID"),
            E::PieceTooLarge { .. } => (Code::InvalidArgument, "BLOB_UPLOAD_INVALID"),
            E::Silent { .. } => (Code::DeadlineExceeded, "BLOB_UPLOAD_INVALID"),
            E::Algorithm(_) | E::HeaderMissing | E::DataMissing | E::ConditionEmpty => {
                (Code::InvalidArgument, "UNSUPPORTED")
            }
        };
        Refusal::new(code, name, error).into()
    }
}

#[cfg(test)]
mod tests;
