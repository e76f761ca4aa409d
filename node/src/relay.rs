//! Requests for another region's registry: any node takes them and passes them on
//! to a node of that region, which answers as if the client had come to it.
//!
//! Nothing is decided here: the region's node checks who asks and what they may.
//! A request that was passed on once is not passed on again. The invariant: what
//! goes over is a head and a body with an end, never bytes of HTTP, so that no
//! client can make two requests of one.

mod wire;

use std::sync::Arc;

use axum::body::Body;
use entrepot_oci::RegionName;
use entrepot_proto::peer::relay_client::RelayClient;
use entrepot_proto::peer::relay_server::Relay as RelayService;
use entrepot_proto::peer::{RelayReply, RelayRequest, relay_reply, relay_request};
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, Peers};
use entrepot_replication::health::Health;
use entrepot_replication::wire::Outgoing;
use entrepot_service::{Domain, Origin, Registry};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use tonic::{Status, Streaming};
use tracing::warn;

use crate::client_port::FrontEnds;

/// Both in the form of OCI's errors and in that of AWS's JSON.
const UNREACHABLE: &str = r#"{"__type":"ServerException","message":"no node of the registry's region answers; try again","errors":[{"code":"UNAVAILABLE","message":"no node of the registry's region answers; try again"}]}"#;

/// Where a request is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Here,
    /// By that other region of this cluster.
    There(RegionName),
    /// By a region that this node does not know.
    Unknown,
}

/// Passes requests on.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    registry: Arc<Registry>,
    peers: Arc<Peers>,
    health: Arc<Health>,
    domain: Option<Domain>,
}

/// Takes what other nodes pass on.
#[derive(Debug, Clone)]
pub(crate) struct RelayServer {
    front_ends: FrontEnds,
}

// === impl Relay ===

impl Relay {
    pub(crate) fn new(
        registry: &Arc<Registry>,
        peers: &Arc<Peers>,
        health: &Arc<Health>,
        domain: Option<Domain>,
    ) -> Self {
        Self {
            registry: Arc::clone(registry),
            peers: Arc::clone(peers),
            health: Arc::clone(health),
            domain,
        }
    }

    /// Where a request is answered.
    pub(crate) fn way<B>(&self, request: &Request<B>) -> Way {
        if self.is_public(request) {
            return self.public_way();
        }
        let region = self
            .named(request)
            .or_else(|| entrepot_ecr::region(request))
            .or_else(|| entrepot_distribution::region(request));
        let other = region.filter(|region| *region != self.peers.own().region);
        match other.filter(|region| self.peers.regions().contains(region)) {
            Some(region) => Way::There(region),
            None => Way::Here,
        }
    }

    /// Never here because nobody knows better: there would be two of each registry.
    fn public_way(&self) -> Way {
        match self.registry.public_region() {
            Ok(region) if region == self.peers.own().region => Way::Here,
            Ok(region) if self.peers.regions().contains(&region) => Way::There(region),
            Ok(region) => {
                warn!(%region, "no node of the region of public registries is known");
                Way::Unknown
            }
            Err(error) => {
                warn!(%error, "the region of public registries is not known");
                Way::Unknown
            }
        }
    }

    /// As its host says.
    fn named<B>(&self, request: &Request<B>) -> Option<RegionName> {
        let registry = self.domain.as_ref()?.registry(host(request)?);
        registry.map(|registry| registry.region)
    }

    /// Whether it is for the public registries, which are all in one region.
    fn is_public<B>(&self, request: &Request<B>) -> bool {
        let domain = self.domain.as_ref().zip(host(request));
        domain.is_some_and(|(domain, host)| domain.is_public(host))
            || entrepot_ecr::is_public(request)
    }

    /// What the region answers.
    pub(crate) async fn pass(
        &self,
        region: &RegionName,
        request: Request<Body>,
        origin: &Origin,
    ) -> Response<Body> {
        match self.passed(region, request, origin).await {
            Ok(response) => response,
            Err(status) => {
                warn!(%region, %status, "a request could not be passed on to its region");
                unreachable()
            }
        }
    }

    async fn passed(
        &self,
        region: &RegionName,
        request: Request<Body>,
        origin: &Origin,
    ) -> Result<Response<Body>, Status> {
        let nobody = || Status::unavailable("no node of it is known to be there");
        let alive = self.health.alive_in(region);
        let random = getrandom::u32().unwrap_or_default() as usize;
        let node = alive.get(random % alive.len().max(1)).ok_or_else(nobody)?;
        let channel = self.peers.relay_channel(*node).ok_or_else(nobody)?;
        let mut client = RelayClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let (parts, body) = request.into_parts();
        let head = wire::request_head(&parts, origin);
        let parts = wire::outgoing(relay_request::Part::Head(head), body)
            .map(|part| RelayRequest { part: Some(part) });
        let mut replies = client.pass(Outgoing::new(parts)).await?.into_inner();
        let first = replies.message().await?.and_then(|it| it.part);
        let Some(relay_reply::Part::Head(head)) = first else {
            return Err(Status::internal("the answer has no head"));
        };
        wire::response(head, replies)
    }
}

// === impl RelayServer ===

impl RelayServer {
    pub(crate) fn new(front_ends: FrontEnds) -> Self {
        Self { front_ends }
    }
}

#[tonic::async_trait]
impl RelayService for RelayServer {
    type PassStream = BoxStream<'static, Result<RelayReply, Status>>;

    async fn pass(
        &self,
        request: tonic::Request<Streaming<RelayRequest>>,
    ) -> Result<tonic::Response<Self::PassStream>, Status> {
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|it| it.part);
        let Some(relay_request::Part::Head(head)) = first else {
            return Err(Status::invalid_argument("the first message is the head"));
        };
        let (request, origin) = wire::request(head, parts)?;
        let response = self.front_ends.clone().answer(request, origin).await;
        Ok(tonic::Response::new(wire::reply(response)))
    }
}

/// What the client has asked.
fn host<B>(request: &Request<B>) -> Option<&str> {
    match request.headers().get(HOST) {
        Some(host) => host.to_str().ok(),
        None => Some(request.uri().authority()?.as_str()),
    }
}

pub(crate) fn unreachable() -> Response<Body> {
    let mut response = Response::new(Body::from(UNREACHABLE));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
