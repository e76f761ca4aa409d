//! From errors to answers: the one place where a failed request gets its status
//! and its code (OCI distribution, "Error Codes").
//!
//! The match over the service's errors is exhaustive, so a new one does not
//! compile until its answer is decided here. A 5xx never says what went wrong
//! inside, only the request's id, which the log knows. The codes of a 4xx are
//! the specification's, as it demands, but for a tag that may not move: of those
//! it knows nothing, and ECR's clients expect Docker's `TAG_INVALID`. For a 5xx it
//! has none, so those are Docker's (`UNAVAILABLE`, `UNKNOWN`), which clients know
//! as well.

use axum::http::StatusCode;
use axum::http::header::{self, HeaderName};
use entrepot_oci::{Digest, DigestError, NameError, RangeError};
use entrepot_service::{RequestId, ServiceError};
use serde_json::{Value, json};

use crate::render::received;

/// Why a request was refused before the service saw it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("this path names nothing that this registry has")]
    PathUnknown,
    #[error("this path takes {allow} only")]
    MethodNotAllowed { allow: &'static str },
    #[error(transparent)]
    NameInvalid(#[from] NameError),
    #[error(transparent)]
    DigestInvalid(#[from] DigestError),
    #[error("the query parameter digest is missing")]
    DigestMissing,
    #[error(transparent)]
    AlgorithmUnknown(DigestError),
    #[error(transparent)]
    TagInvalid(NameError),
    /// A tag that no manifest can have was asked for.
    #[error(transparent)]
    TagUnknown(NameError),
    #[error("there is no such upload")]
    SessionUnknown,
    #[error(transparent)]
    ContentRangeInvalid(RangeError),
    #[error("Content-Range says {range} bytes, Content-Length {length}")]
    LengthMismatch { range: u64, length: u64 },
    #[error("at most {max} tags can be set at once")]
    TagsTooMany { max: usize },
    #[error("the query parameter tag takes a digest in the path")]
    TagsWithoutDigest,
    #[error(
        "a precondition is one of If-Match: \"<digest>\", If-Match: * and If-None-Match: *, once"
    )]
    PreconditionInvalid,
    #[error("content is taken as it is: no Content-Encoding but identity")]
    ContentEncoded,
    #[error("a body comes as it is or in chunks: no Transfer-Encoding but chunked, once")]
    TransferEncoded,
    #[error(transparent)]
    ContentTypeInvalid(NameError),
    #[error("the query parameter n must be a number, not negative")]
    PageSizeInvalid,
    #[error("at most {max} artifact types can be asked for at once")]
    ArtifactTypesTooMany { max: usize },
    #[error("no byte of the range lies within the {size} bytes of the content")]
    RangeNotSatisfiable { size: u64 },
    #[error("the content is not what If-Match names")]
    NotThatContent,
    #[error("the manifest did not come in time")]
    ManifestStalled,
    #[error("the manifest ended before its end")]
    ManifestTorn(#[source] std::io::Error),
    #[error("a manifest has at most {max} bytes")]
    ManifestTooLarge { max: usize },
}

/// Why a request failed, in this front end or behind it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Of an upload, which is at `location`.
    #[error("{error}")]
    Upload {
        error: ServiceError,
        location: String,
    },
}

/// What a failed request is answered with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// One entry in the body for each; an entry without detail if there is none.
    pub(crate) details: Vec<Value>,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

// === impl Failure ===

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Request(error) => error.into(),
            Failure::Service(error) => error.into(),
            Failure::Upload { error, location } => {
                let goes_on = matches!(error, ServiceError::RangeInvalid { .. });
                let refusal = Self::from(error);
                if goes_on {
                    refusal.with_header(header::LOCATION, location)
                } else {
                    refusal
                }
            }
        }
    }
}

// === impl Refusal ===

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Self {
            status,
            code,
            message,
            details: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Lets an error of this node's name the request, for whoever reads the log.
    pub(crate) fn of_request(self, id: &RequestId) -> Self {
        if self.status.is_server_error() && self.details.is_empty() {
            return self.with_detail(json!({"id": id.as_str()}));
        }
        self
    }

    fn with_detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        use RequestError as E;
        use StatusCode as S;
        let message = error.to_string();
        match error {
            E::PathUnknown => Self::new(S::NOT_FOUND, "UNSUPPORTED", message),
            E::MethodNotAllowed { allow } => {
                Self::new(S::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
                    .with_header(header::ALLOW, allow)
            }
            E::NameInvalid(_) => Self::new(S::BAD_REQUEST, "NAME_INVALID", message),
            E::DigestInvalid(_) | E::DigestMissing => {
                Self::new(S::BAD_REQUEST, "DIGEST_INVALID", message)
            }
            E::TagInvalid(_) | E::ContentTypeInvalid(_) | E::ManifestTorn(_) => {
                Self::new(S::BAD_REQUEST, "MANIFEST_INVALID", message)
            }
            E::TagsTooMany { max } => {
                Self::new(S::URI_TOO_LONG, "UNSUPPORTED", message).with_detail(json!({"max": max}))
            }
            E::AlgorithmUnknown(_)
            | E::TagsWithoutDigest
            | E::PreconditionInvalid
            | E::TransferEncoded
            | E::PageSizeInvalid
            | E::ArtifactTypesTooMany { .. } => Self::new(S::BAD_REQUEST, "UNSUPPORTED", message),
            E::ContentEncoded => Self::new(S::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED", message)
                .with_header(header::ACCEPT_ENCODING, "identity"),
            E::TagUnknown(_) => Self::new(S::NOT_FOUND, "MANIFEST_UNKNOWN", message),
            E::SessionUnknown => Self::new(S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", message),
            E::ContentRangeInvalid(_) => Self::new(S::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message),
            E::LengthMismatch { range, length } => {
                Self::new(S::BAD_REQUEST, "SIZE_INVALID", message)
                    .with_detail(json!({"contentRange": range, "contentLength": length}))
            }
            E::RangeNotSatisfiable { size } => {
                Self::new(S::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", message)
                    .with_header(header::CONTENT_RANGE, format!("bytes */{size}"))
            }
            E::NotThatContent => Self::new(S::PRECONDITION_FAILED, "DENIED", message),
            E::ManifestStalled => Self::new(S::REQUEST_TIMEOUT, "MANIFEST_INVALID", message),
            E::ManifestTooLarge { max } => too_large("MANIFEST_INVALID", message, max),
        }
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        use ServiceError as E;
        use StatusCode as S;
        let message = error.to_string();
        match error {
            // Its challenge names the host that the client has asked.
            E::Unauthorized => Self::new(S::UNAUTHORIZED, "UNAUTHORIZED", message),
            // No challenge: the client would ask its user for a password.
            E::TokenInvalid => Self::new(S::BAD_REQUEST, "DENIED", message),
            E::LoginsTooMany => Self::new(S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message)
                .with_header(header::RETRY_AFTER, "1"),
            E::RateExceeded { retry_after_s } => {
                Self::new(S::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message)
                    .with_header(header::RETRY_AFTER, retry_after_s.to_string())
            }
            // Of a quota. Not 429, after which clients would try again and again.
            E::Denied(_) | E::TokenExpired | E::LimitExceeded(_) => {
                Self::new(S::FORBIDDEN, "DENIED", message)
            }
            E::NameUnknown(name) | E::CreationOff(name) => {
                Self::new(S::NOT_FOUND, "NAME_UNKNOWN", message)
                    .with_detail(json!({"name": name.as_str()}))
            }
            E::BlobUnknown(digest) => {
                Self::new(S::NOT_FOUND, "BLOB_UNKNOWN", message).with_detail(named(&digest))
            }
            E::UploadUnknown => Self::new(S::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", message),
            E::UploadInvalid(_) => Self::new(S::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message),
            E::UploadStalled => Self::new(S::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", message),
            E::RangeInvalid { size } => {
                Self::new(S::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message)
                    .with_detail(json!({"received": size}))
                    .with_header(header::RANGE, received(size))
            }
            E::BeyondEnd { size } => Self::new(S::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", message)
                .with_header(header::CONTENT_RANGE, format!("bytes */{size}")),
            E::SizeInvalid { declared, received } => {
                Self::new(S::BAD_REQUEST, "SIZE_INVALID", message)
                    .with_detail(json!({"declared": declared, "received": received}))
            }
            E::DigestInvalid(_) => Self::new(S::BAD_REQUEST, "DIGEST_INVALID", message),
            E::ManifestInvalid(_) => Self::new(S::BAD_REQUEST, "MANIFEST_INVALID", message),
            E::ManifestTooLarge { max } => too_large("MANIFEST_INVALID", message, max),
            E::BlobTooLarge { max } => too_large("BLOB_UPLOAD_INVALID", message, max),
            E::ManifestUnknown(reference) | E::ImageArchived(reference) => {
                Self::new(S::NOT_FOUND, "MANIFEST_UNKNOWN", message)
                    .with_detail(json!({"reference": reference}))
            }
            E::ManifestBlobsUnknown(digests) => Self {
                details: digests.iter().map(named).collect(),
                ..Self::new(S::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", message)
            },
            E::TagNotAsExpected(found) => Self::new(S::PRECONDITION_FAILED, "DENIED", message)
                .with_detail(json!({"tag": found.tag, "digest": found.digest})),
            E::TagImmutable(fixed) => Self::new(S::BAD_REQUEST, "TAG_INVALID", message)
                .with_detail(json!({"tag": fixed.tag, "digest": fixed.digest})),
            E::WatchOutOfRange { .. }
            | E::WatchOtherLog { .. }
            | E::Invalid(_)
            | E::Unsupported(_) => Self::new(S::BAD_REQUEST, "UNSUPPORTED", message),
            E::WatchTooSlow { .. } => Self::new(S::CONFLICT, "UNSUPPORTED", message),
            // As OCI has it where nothing can be deleted: it cannot yet.
            E::Held { .. } => Self::new(S::METHOD_NOT_ALLOWED, "UNSUPPORTED", message),
            E::Referenced(_)
            | E::Conflict(_)
            | E::ImageExists(_)
            | E::RepositoryNotEmpty(_)
            | E::RepositoryDeleting(_) => Self::new(S::CONFLICT, "DENIED", message),
            E::NotFound(_) => Self::new(S::NOT_FOUND, "UNSUPPORTED", message),
            // The reason is written for clients; the service logged the cause.
            E::Unavailable { reason } => Self::new(S::SERVICE_UNAVAILABLE, "UNAVAILABLE", reason)
                .with_header(header::RETRY_AFTER, "1"),
            E::NotReplicated(_) => Self::new(S::GATEWAY_TIMEOUT, "UNAVAILABLE", message),
            E::Full => Self::new(S::INSUFFICIENT_STORAGE, "DENIED", message),
            // Its own id ties the line that has the cause to the request's lines.
            E::Internal { .. } => Self::new(
                S::INTERNAL_SERVER_ERROR,
                "UNKNOWN",
                "internal error; the node's log has it under this id".to_owned(),
            ),
        }
    }
}

fn too_large(code: &'static str, message: String, max: impl Into<Value>) -> Refusal {
    let max: Value = max.into();
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, code, message).with_detail(json!({"max": max}))
}

fn named(digest: &Digest) -> Value {
    json!({"digest": digest.to_string()})
}

#[cfg(test)]
mod tests;
