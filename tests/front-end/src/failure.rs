//! A refused call as a refused request: `entrepot-code` is the code that the
//! protocol of `/v2/` knows, the gRPC status decides the HTTP status.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tonic::{Code, Status};

use crate::respond_with;

/// Why a request was refused.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: String,
    message: String,
    /// Of an upload: the bytes that have arrived.
    received: Option<u64>,
}

// === impl Failure ===

impl Failure {
    pub(crate) const NO_SUCH_PATH: Self = Self::plain(StatusCode::NOT_FOUND);
    pub(crate) const NO_SUCH_METHOD: Self = Self::plain(StatusCode::METHOD_NOT_ALLOWED);
    pub(crate) const BAD_REQUEST: Self = Self::plain(StatusCode::BAD_REQUEST);
    pub(crate) const CONTENT_ENCODED: Self = Self::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    pub(crate) const MANIFEST_TOO_LARGE: Self = Self::plain(StatusCode::PAYLOAD_TOO_LARGE);
    pub(crate) const INTERNAL: Self = Self::plain(StatusCode::INTERNAL_SERVER_ERROR);

    const fn plain(status: StatusCode) -> Self {
        Self {
            status,
            code: String::new(),
            message: String::new(),
            received: None,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let trailer = |name: &str| status.metadata().get(name)?.to_str().ok();
        let code = trailer("entrepot-code").unwrap_or("UNKNOWN").to_owned();
        let http = match status.code() {
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::InvalidArgument if trailer("entrepot-size-max").is_some() => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::OutOfRange => StatusCode::RANGE_NOT_SATISFIABLE,
            // The specification wants a 404 here.
            Code::FailedPrecondition if code == "MANIFEST_BLOB_UNKNOWN" => StatusCode::NOT_FOUND,
            Code::Aborted if code == "TAG_NOT_AS_EXPECTED" => StatusCode::PRECONDITION_FAILED,
            Code::FailedPrecondition | Code::Aborted => StatusCode::CONFLICT,
            Code::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
            Code::ResourceExhausted => StatusCode::INSUFFICIENT_STORAGE,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status: http,
            received: trailer("entrepot-received").and_then(|received| received.parse().ok()),
            code,
            message: status.message().to_owned(),
        }
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        let Failure {
            status,
            mut code,
            message,
            received,
        } = failure;
        if code.is_empty() {
            "UNSUPPORTED".clone_into(&mut code);
        }
        let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
        let json = (header::CONTENT_TYPE, "application/json".to_owned());
        let more = match (status, received) {
            (StatusCode::UNAUTHORIZED, _) => (
                header::WWW_AUTHENTICATE,
                "Basic realm=\"entrepot\"".to_owned(),
            ),
            (StatusCode::SERVICE_UNAVAILABLE, _) => (header::RETRY_AFTER, "1".to_owned()),
            (_, Some(received)) => (header::RANGE, range(received)),
            _ => (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        };
        respond_with(status, [json, more], Body::from(body))
            .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

/// How much of an upload is there, as `/v2/` says it.
pub(crate) fn range(received: u64) -> String {
    format!("0-{}", received.saturating_sub(1))
}
