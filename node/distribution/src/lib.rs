//! The OCI distribution front end: `/v2/` for docker, podman, skopeo and every
//! other client of registries (OCI distribution specification 1.1).
//!
//! A request flows parse -> authenticate -> authorize -> operation -> render:
//! `operation` reads its head, the service says who calls, whether they may
//! and what comes of it, `render` and `error` answer. Nothing here knows how
//! anything is kept. The invariant: content passes through as a stream, in both
//! directions; the one thing gathered is a manifest, which has a limit.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Version};
use axum::response::Response;
use bytes::Bytes;
use entrepot_service::{Domain, Identity, Operation as Counted, Registry, RequestId, ServiceError};
use futures::stream;
use tracing::{Instrument, debug, error_span, warn};

use crate::body::RequestBody;
use crate::error::{Failure, Refusal};
use crate::operation::Operation;
use crate::perform::Performer;

mod body;
mod caller;
mod condition;
mod decode;
mod entity_tag;
mod error;
#[cfg(test)]
mod hostile;
mod layer_url;
mod operation;
mod page;
mod path;
mod perform;
mod precondition;
mod public;
mod render;
mod token;
mod traced;

pub use layer_url::region;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);

/// What every request needs.
#[derive(Clone, Debug)]
struct Front {
    registry: Arc<Registry>,
    body_timeout: Duration,
    /// Under which `<account>.dkr.ecr.<region>.<domain>` is a registry's host, and
    /// `public.<domain>` that of the public ones; none: any host is the caller's own.
    domain: Option<Domain>,
}

/// The front end of `registry`. It answers every path: what lies outside `/v2/`
/// is unknown to it. A request whose body brings nothing for `body_timeout` is
/// given up. Under `domain`, hosts name registries.
pub fn router(registry: Arc<Registry>, body_timeout: Duration, domain: Option<Domain>) -> Router {
    // Repository names contain slashes, which no route pattern can express: one
    // handler takes everything.
    Router::new().fallback(answer).with_state(Front {
        registry,
        body_timeout,
        domain,
    })
}

async fn answer(State(front): State<Front>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let sent = parts.headers.get(REQUEST_ID);
    let sent = sent.and_then(|value| value.to_str().ok());
    let id = front.registry.request_id(sent);
    // Of the highest level: whatever is logged has the id.
    let span = error_span!("request", %id, method = %parts.method, path = parts.uri.path());
    let is_head = parts.method == Method::HEAD;
    async move {
        let body = RequestBody::new(&parts, body, front.body_timeout);
        let left_unread = body.left_unread();
        let response = respond(&front, &parts, body, &id)
            .await
            .unwrap_or_else(|failure| refused(&front, failure, &parts, &id));
        let status = response.status();
        debug!(status = status.as_u16(), "answered");
        let mut response = finished(response, &id, is_head);
        let ends = status == StatusCode::REQUEST_TIMEOUT || left_unread.is_so();
        if ends && parts.version < Version::HTTP_2 {
            // The rest of the body would be taken for the next request (RFC 9110,
            // 15.5.9), and nobody reads it. HTTP/2 ends the stream alone.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }
    .instrument(span)
    .await
}

async fn respond(
    front: &Front,
    parts: &Parts,
    body: RequestBody,
    id: &RequestId,
) -> Result<Response, Failure> {
    if caller::is_public(front, parts) {
        return Box::pin(public::respond(front, parts, body, id)).await;
    }
    let registry = &front.registry;
    if parts.uri.path() == token::PATH {
        let who = caller::of(front, parts, id).await?;
        registry.admit(&who, Counted::GetAuthorizationToken)?;
        return token::answer(registry, &who, parts);
    }
    let operation = Operation::parse(parts, body.length())?;
    let who = &match layer_url::caller(registry, parts, &operation, id)? {
        Some(who) => who,
        None => caller::of(front, parts, id).await?,
    };
    if operation == Operation::Ping && who.principal.identity == Identity::Anonymous {
        // Clients ask for this to hear how to log in.
        return Err(ServiceError::Unauthorized.into());
    }
    registry.admit(who, operation.counted_as())?;
    Performer { registry, who }.perform(operation, body).await
}

fn refused(front: &Front, failure: Failure, parts: &Parts, id: &RequestId) -> Response {
    let shown = failure.to_string();
    let refusal = Refusal::from(failure).of_request(id);
    if refusal.status.is_server_error() {
        warn!(failure = shown, "a request failed");
    } else {
        debug!(failure = shown, "refused");
    }
    let mut response = render::refusal(&refusal);
    if refusal.status == StatusCode::UNAUTHORIZED
        && let Ok(challenge) = HeaderValue::from_str(&caller::challenge(front, parts))
    {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// What every response has. A HEAD's has no body, and the length of the one it
/// would have had.
fn finished(mut response: Response, id: &RequestId, is_head: bool) -> Response {
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    if is_head {
        if let Some(length) = content_length(&response) {
            let headers = response.headers_mut();
            headers.entry(CONTENT_LENGTH).or_insert(length.into());
        }
        // Of unknown length, so that nobody after us adds one.
        *response.body_mut() = Body::from_stream(stream::empty::<Result<Bytes, Infallible>>());
    }
    response
}

/// The length of the body, where there can be one: of 204 and 304 it is not told
/// (RFC 9110, 8.6).
fn content_length(response: &Response) -> Option<u64> {
    match response.status() {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => None,
        _ => response.body().size_hint().exact(),
    }
}
