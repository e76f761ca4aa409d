//! The client port: `/v2/`, AWS's protocols and the gRPC front ends, HTTP/1.1 and
//! HTTP/2, with TLS or without.
//!
//! It decides which front end a request is for, and passes on what is for another
//! region. How a connection is served, and
//! how long, is `connection`'s.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use entrepot_proto::peers::Io;
use entrepot_service::{Origin, Registry, RequestId};
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tower::ServiceExt;
use tower_http::timeout::RequestBodyTimeout;
use tracing::debug;

use crate::config::{ClientLimits, ListenConfig};
use crate::connection::Serving;
use crate::listen::{self, Listen};
use crate::open_files;
use crate::relay::{self, Relay, Way};
use crate::stop::Stop;
use crate::tls::Tls;

const HOST_INVALID: &str = r#"{"errors":[{"code":"UNSUPPORTED","message":"an HTTP/1.1 request has exactly one Host header, which names a host (RFC 9112, 3.2)"}]}"#;
/// What OCI clients ask for lies there, whatever they say that they send.
const OCI_PATH: &str = "/v2";
const GRPC: &[u8] = b"application/grpc";

/// What answers requests.
#[derive(Debug, Clone)]
pub(crate) struct FrontEnds {
    web: Router,
    rpc: RequestBodyTimeout<Router>,
    ecr: RequestBodyTimeout<Router>,
}

/// The front ends, and the way to those of other regions.
#[derive(Debug, Clone)]
struct Door {
    here: FrontEnds,
    relay: Relay,
}

/// Serves clients until `stop`; requests in progress are finished.
pub(crate) async fn serve(
    listener: Box<dyn Listen>,
    tls: Option<Arc<Tls>>,
    limits: ClientLimits,
    here: FrontEnds,
    relay: Relay,
    stop: Stop,
) {
    let door = Door { here, relay };
    let serving = Serving::new(&limits, stop.clone());
    let connections_max = limits
        .connections_max
        .unwrap_or_else(open_files::connections_max);
    listen::serve(
        listener,
        connections_max,
        stop.clone(),
        move |connection, from| {
            let (tls, serving) = (tls.clone(), serving.clone());
            let (door, stop) = (door.clone(), stop.clone());
            let origin = Origin {
                address: from,
                is_secure: tls.is_some(),
                ..Origin::default()
            };
            async move {
                let connection = match tls {
                    None => Some(connection),
                    Some(tls) => tokio::select! {
                        connection = secured(&tls, connection) => connection,
                        () = stop.wait() => None,
                    },
                };
                if let Some(connection) = connection {
                    let answer = move |request| door.clone().answer(request, origin.clone());
                    serving.serve(connection, answer).await;
                }
            }
        },
    )
    .await;
}

async fn secured(tls: &Tls, connection: Box<dyn Io>) -> Option<Box<dyn Io>> {
    let secured = tls.accept(connection).await;
    secured
        .inspect_err(|error| debug!(%error, "a client's TLS handshake failed"))
        .ok()
}

// === impl FrontEnds ===

impl FrontEnds {
    pub(crate) fn new(registry: &Arc<Registry>, listen: &ListenConfig) -> anyhow::Result<Self> {
        let timeout = listen.limits.body_timeout();
        let rpc = entrepot_rpc::router(Arc::clone(registry), timeout);
        let ecr = entrepot_ecr::router(Arc::clone(registry), listen.domain.clone())?;
        Ok(Self {
            web: entrepot_distribution::router(
                Arc::clone(registry),
                timeout,
                listen.domain.clone(),
            ),
            rpc: RequestBodyTimeout::new(rpc, timeout),
            ecr: RequestBodyTimeout::new(ecr, timeout),
        })
    }

    /// What this node answers.
    pub(crate) async fn answer(self, mut request: Request<Body>, origin: Origin) -> Response<Body> {
        request.extensions_mut().insert(origin);
        let answered: Result<_, Infallible> = if is_grpc(&request) {
            self.rpc.oneshot(request).await
        } else if entrepot_ecr::is_ours(&request) {
            self.ecr.oneshot(request).await
        } else {
            self.web.oneshot(request).await
        };
        answered.unwrap_or_else(|never| match never {})
    }
}

// === impl Door ===

impl Door {
    async fn answer(self, request: Request<Incoming>, origin: Origin) -> Response<Body> {
        if !names_its_host(&request) {
            return host_invalid(&request);
        }
        let request = request.map(Body::new);
        if is_grpc(&request) {
            return self.here.answer(request, origin).await;
        }
        match self.relay.way(&request) {
            Way::Here => self.here.answer(request, origin).await,
            Way::There(region) => self.relay.pass(&region, request, &origin).await,
            Way::Unknown => relay::unreachable(),
        }
    }
}

/// Without that, a proxy in front and this node may take a request for one of
/// different hosts.
fn names_its_host(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host),
        (None, None) => request.version() != Version::HTTP_11,
        _ => false,
    }
}

/// A host and perhaps a port, and no user before them.
fn is_host(value: &HeaderValue) -> bool {
    let authority = Authority::try_from(value.as_bytes());
    authority.is_ok_and(|it| !it.host().is_empty() && !it.as_str().contains('@'))
}

fn host_invalid(request: &Request<Incoming>) -> Response<Body> {
    let mut response = Response::new(Body::from(HOST_INVALID));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let sent = request.headers().get(RequestId::HEADER);
    let id = RequestId::of(sent.and_then(|value| value.to_str().ok()));
    debug!(%id, "refused: no host, or not one");
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(RequestId::HEADER, id);
    }
    response
}

/// A call of gRPC: a POST with a media type of gRPC's, to a path that is not
/// another front end's.
fn is_grpc<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let is_oci = path
        .strip_prefix(OCI_PATH)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let content_type = request.headers().get(CONTENT_TYPE);
    let is_grpc = |value: &HeaderValue| {
        let rest = value.as_bytes().strip_prefix(GRPC);
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    };
    request.method() == Method::POST && !is_oci && content_type.is_some_and(is_grpc)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::{is_grpc, is_host};

    #[test]
    fn a_call_of_grpc_is_a_post_of_its_media_type_beside_v2() {
        let call = "/entrepot.v1.Registry/ListTags";
        for (method, path, content_type, expected) in [
            ("POST", call, "application/grpc", true),
            ("POST", call, "application/grpc+proto", true),
            ("POST", call, "application/grpc;v=1", true),
            ("POST", call, "application/grpcfoo", false),
            ("POST", call, "application/json", false),
            ("GET", call, "application/grpc", false),
            ("GET", "/v2/", "application/grpc", false),
            ("POST", "/v2", "application/grpc", false),
            ("POST", "/v2/app/blobs/uploads/", "application/grpc", false),
            ("POST", "/v2x/Call", "application/grpc", true),
        ] {
            let request = Request::builder().method(method).uri(path);
            let request = request.header("content-type", content_type).body(());
            let found = is_grpc(&request.unwrap());
            assert_eq!(found, expected, "{method} {path} {content_type}");
        }
    }

    #[test]
    fn a_host_is_a_name_and_perhaps_a_port() {
        for host in ["x", "node-1:5000", "[::1]:5000", "127.0.0.1"] {
            assert!(is_host(&HeaderValue::from_static(host)), "{host}");
        }
        for other in ["", "a b/c", "a/b", "user@x", "x:5000/", "a,b c"] {
            assert!(!is_host(&HeaderValue::from_static(other)), "{other}");
        }
    }
}
