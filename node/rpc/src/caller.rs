//! Who calls: found out in one place, for every call of every service, before a
//! byte of its messages is read. What they may is decided by what they call.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use entrepot_service::{Caller, Operation, Origin, Registry, RequestId, ServiceError};
use tonic::Status;
use tracing::{Instrument, debug, error_span};

use crate::status::status;

const REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);

/// Lets a call through that has the right credentials, and notes whose they are.
/// What the log has of the call's making names its path and its id, which the
/// answer has too.
pub(crate) async fn required(
    State(registry): State<Arc<Registry>>,
    mut request: Request,
    next: Next,
) -> Response {
    let sent = request.headers().get(REQUEST_ID);
    let id = RequestId::of(sent.and_then(|value| value.to_str().ok()));
    // Of the highest level: whatever is logged has the id.
    let span = error_span!("call", %id, path = request.uri().path());
    let answer = async move {
        let connection: Origin = request.extensions().get().cloned().unwrap_or_default();
        let agent = request.headers().get(USER_AGENT);
        let origin = connection.of_request(&id, agent.and_then(|agent| agent.to_str().ok()));
        let header = credentials(request.headers());
        let known = registry.authenticate(header, origin.source()).await;
        let known = known.map(|who| who.from_origin(origin));
        let known = known.and_then(|who| {
            registry.admit(&who, counted_as(request.uri().path()))?;
            Ok(who)
        });
        let mut response = match known {
            Ok(who) => {
                request.extensions_mut().insert(who);
                next.run(request).await
            }
            Err(error) => {
                debug!(%error, "refused");
                status(&error).into_http()
            }
        };
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    };
    answer.instrument(span).await
}

/// As which of ECR's operations a call counts where somebody asks too often. One
/// of many messages counts once.
fn counted_as(path: &str) -> Operation {
    let call = path.strip_prefix("/entrepot.v1.Registry/");
    match call.unwrap_or_default() {
        "GetManifest" | "ListReferrers" => Operation::BatchGetImage,
        "PutManifest" => Operation::PutImage,
        "StatBlob" => Operation::BatchCheckLayerAvailability,
        "ReadBlob" => Operation::GetDownloadUrlForLayer,
        "OpenUpload" | "PushBlob" | "MountBlob" => Operation::InitiateLayerUpload,
        "AppendUpload" | "UploadStatus" | "CancelUpload" => Operation::UploadLayerPart,
        "FinishUpload" => Operation::CompleteLayerUpload,
        _ => Operation::Other,
    }
}

/// Those of two lines are none: a proxy in front may have looked at the other.
fn credentials(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok(),
        _ => None,
    }
}

/// Who calls, as [`required`] has noted it.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub(crate) fn of<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    let noted = request.extensions().get::<Caller>();
    noted
        .cloned()
        .ok_or_else(|| status(&ServiceError::Unauthorized))
}
