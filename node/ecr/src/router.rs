//! From HTTP to an operation and back.
//!
//! Owns what every answer has, and the forms that errors take. A request that no
//! service knows is refused before anything is looked up.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use entrepot_oci::RegionName;
use entrepot_service::{Domain, Registry, RequestId};
use serde_json::Value;
use tracing::{Instrument, debug, error, error_span, warn};

use crate::api::{Api, Protocol, Target};
use crate::error::ApiError;
use crate::model::{ModelError, Models, Operation, Service};
use crate::operations::Handler;
use crate::request::{self, Asked, Signed};
use crate::wire::{json, xml};

const REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);
/// The same, where clients of these protocols look for it.
const AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// What every request needs.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) registry: Arc<Registry>,
    pub(crate) models: Arc<Models>,
    pub(crate) domain: Option<Domain>,
}

/// The front end of `registry`, for requests that [`is_ours`]. Under `domain`,
/// registries have hosts of their own.
///
/// # Errors
/// A model that was damaged when it was changed.
pub fn router(registry: Arc<Registry>, domain: Option<Domain>) -> Result<Router, ModelError> {
    let models = Arc::new(Models::load()?);
    Ok(Router::new().fallback(answer).with_state(Front {
        registry,
        models,
        domain,
    }))
}

/// Whether a request is in one of these protocols, whatever it asks for.
pub fn is_ours<B>(request: &axum::http::Request<B>) -> bool {
    let uri = request.uri();
    Target::of(request.method(), uri.path(), uri.query(), request.headers()).is_some()
}

/// For the registry of which region a request of ECR's is signed. Identities are
/// the same in every region.
pub fn region<B>(request: &axum::http::Request<B>) -> Option<RegionName> {
    if !is_ours(request) {
        return None;
    }
    request::signed_region(request)
}

/// Whether a request is for ECR Public, whose registries are all in one region.
pub fn is_public<B>(request: &axum::http::Request<B>) -> bool {
    let uri = request.uri();
    let target = Target::of(request.method(), uri.path(), uri.query(), request.headers());
    matches!(
        target,
        Some(Target::Json {
            api: Api::EcrPublic,
            ..
        })
    )
}

async fn answer(State(front): State<Front>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let sent = parts.headers.get(REQUEST_ID);
    let id = RequestId::of(sent.and_then(|value| value.to_str().ok()));
    let span = error_span!("request", %id);
    async move {
        let mut response = respond(&front, &parts, body, &id).await;
        debug!(status = response.status().as_u16(), "answered");
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            let headers = response.headers_mut();
            headers.insert(AMZN_REQUEST_ID, id.clone());
            headers.insert(REQUEST_ID, id);
        }
        response
    }
    .instrument(span)
    .await
}

async fn respond(front: &Front, parts: &Parts, body: Body, id: &RequestId) -> Response {
    let (api, answered) = match Signed::of(parts) {
        Ok(signed) => {
            let api = signed.api;
            let asked = signed.asked(front, body, id).await;
            (api, performed(front, asked).await)
        }
        Err(_) if request::may_be_unsigned(parts) => {
            let asked = request::unsigned(front, parts, body, id).await;
            (Api::Sts, performed(front, asked).await)
        }
        Err((api, error)) => (api, Err(error)),
    };
    let service = front.models.service(api);
    match answered {
        Ok((operation, output)) => rendered(api, service, operation, &output, id),
        Err(error) => refused(api, service, &error, id),
    }
}

/// An operation's output.
async fn performed<'a>(
    front: &'a Front,
    asked: Result<Asked<'a>, ApiError>,
) -> Result<(&'a Operation, Value), ApiError> {
    let Asked {
        call,
        operation,
        handler,
        input,
        memory,
    } = asked?;
    let api = call.api;
    debug!(operation = operation.name, caller = %call.caller.principal, "asked");
    let answered = match handler {
        Handler::Works(perform) => perform(call, input).await,
        Handler::Refused(reason) => Err(ApiError::not_here(api, reason)),
    };
    drop(memory);
    let service = front.models.service(api);
    match answered {
        Ok(output) => match unlike_model(service, operation, &output) {
            None => Ok((operation, output)),
            Some(violations) => {
                error!(
                    operation = operation.name,
                    violations, "an answer is not as the model has it"
                );
                Err(ApiError::internal(api))
            }
        },
        Err(refusal) if is_unlisted(operation, &refusal) => {
            error!(operation = operation.name, code = %refusal.code, "an error that the model does not list");
            Err(ApiError::internal(api))
        }
        Err(refusal) => Err(refusal),
    }
}

/// Where assertions are on, an answer that clients would not understand is a
/// failure; elsewhere it is the better answer.
fn unlike_model(service: &Service, operation: &Operation, output: &Value) -> Option<String> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let shape = operation.output?;
    let violations = service.violations_of_answer(shape, output);
    (!violations.is_empty()).then(|| format!("{violations:?}"))
}

fn is_unlisted(operation: &Operation, refusal: &ApiError) -> bool {
    cfg!(debug_assertions)
        && !refusal.is_common()
        && !operation.errors.iter().any(|it| *it == refusal.code)
}

fn rendered(
    api: Api,
    service: &Service,
    operation: &Operation,
    output: &Value,
    id: &RequestId,
) -> Response {
    match api.protocol() {
        Protocol::Json => response(StatusCode::OK, json::MEDIA_TYPE, output.to_string()),
        Protocol::Query => {
            let text = xml::answer(service, operation, output, id.as_str());
            response(StatusCode::OK, xml::MEDIA_TYPE, text)
        }
    }
}

fn refused(api: Api, service: &Service, error: &ApiError, id: &RequestId) -> Response {
    if error.status.is_server_error() {
        warn!(code = %error.code, "a request failed");
    } else {
        debug!(code = %error.code, message = error.message, "refused");
    }
    match api.protocol() {
        Protocol::Json => {
            let text = json::error(error).to_string();
            let mut response = response(error.status, json::MEDIA_TYPE, text);
            if let Ok(code) = HeaderValue::from_str(&error.code) {
                response.headers_mut().insert(ERROR_TYPE, code);
            }
            response
        }
        Protocol::Query => {
            let text = xml::error(service, error, id.as_str());
            response(error.status, xml::MEDIA_TYPE, text)
        }
    }
}

fn response(status: StatusCode, media_type: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}
