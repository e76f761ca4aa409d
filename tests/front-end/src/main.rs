//! An example of a front end: a container registry that keeps nothing.
//!
//! It speaks `/v2/` to docker, skopeo and the like, and `entrepot.v1.Registry` to
//! the nodes of one region, and stores everything there: blobs, manifests, tags,
//! and how far an upload has got. Any number of these can run side by side, be
//! killed and be started again; a client does not notice which one it talks to.
//!
//! `/v2/` is what Entrepot's nodes speak themselves, so nobody needs this
//! program. It is here because that protocol is known well: read it beside
//! docs/grpc.md to see how a front end for another one is made.
//!
//! - [`route`]: what a request is about
//! - [`node`]: the calls to the nodes, with the client's own credentials
//! - [`blobs`], [`uploads`], [`manifests`], [`lists`]: one file for each kind of
//!   request
//! - [`failure`]: a refused call as a refused request

mod blobs;
mod failure;
mod lists;
mod manifests;
mod node;
mod route;
mod uploads;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use clap::Parser;
use futures::StreamExt as _;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

use crate::failure::Failure;
use crate::node::Node;
use crate::route::Route;

/// For a node to answer an attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing comes back for this long is given up.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Read of a body that is not wanted, before its connection is closed.
const DRAINED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A registry that keeps everything in Entrepot.
#[derive(Debug, Parser)]
#[command(name = "entrepot-front-end")]
struct Arguments {
    /// Where clients connect to; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:5080")]
    listen: SocketAddr,
    /// The client ports of nodes of one region, such as `http://127.0.0.1:5000`.
    #[arg(required = true)]
    nodes: Vec<Endpoint>,
}

/// A request without its body.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let endpoints = arguments.nodes.into_iter().map(|node| {
        node.connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
    });
    // Every call may go to another node: none of them has to be the same one.
    let nodes = Channel::balance_list(endpoints);
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("listen on {}", arguments.listen))?;
    println!("listening on http://{}", listener.local_addr()?);
    let router = Router::new().fallback(answer).with_state(nodes);
    axum::serve(listener, router)
        .with_graceful_shutdown(interrupted())
        .await?;
    Ok(())
}

/// Ctrl-C; where that cannot be waited for, the process has to be killed.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn answer(State(nodes): State<Channel>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let head = Head {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
    };
    let node = Node::new(nodes, head.headers.get(header::AUTHORIZATION));
    match respond(&node, &head, body).await {
        Ok(response) => response,
        Err(failure) => failure.into(),
    }
}

async fn respond(node: &Node, head: &Head, body: Body) -> Result<Response, Failure> {
    if head.is_encoded() {
        drain(body).await;
        return Err(Failure::CONTENT_ENCODED);
    }
    match Route::parse(head.uri.path()).ok_or(Failure::NO_SUCH_PATH)? {
        Route::Base => lists::base(node).await,
        Route::Catalog => lists::catalog(node, head).await,
        Route::Tags(repository) => lists::tags(node, repository, head).await,
        Route::Referrers(repository, digest) => {
            lists::referrers(node, repository, digest, head).await
        }
        Route::Manifest(repository, reference) => {
            manifests::answer(node, repository, reference, head, body).await
        }
        Route::Blob(repository, digest) => blobs::answer(node, repository, digest, head).await,
        Route::Uploads(repository) => uploads::open(node, repository, head, body).await,
        Route::Upload(repository, upload) => {
            uploads::answer(node, repository, &upload, head, body).await
        }
    }
}

/// Reads what a refused request still brings, as far as [`DRAINED_BYTES_MAX`]: a
/// client that is writing when its connection closes never sees the answer.
pub(crate) async fn drain(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut left = DRAINED_BYTES_MAX;
    while let Some(Ok(chunk)) = chunks.next().await {
        left = match left.checked_sub(chunk.len()) {
            Some(left) => left,
            None => return,
        };
    }
}

// === impl Head ===

impl Head {
    /// A parameter of the query.
    fn parameter(&self, name: &str) -> Option<String> {
        self.parameters(name).into_iter().next()
    }

    fn parameters(&self, name: &str) -> Vec<String> {
        // Not a form's: clients mean the plus of `application/spdx+json`.
        let query = self.uri.query().unwrap_or_default().replace('+', "%2B");
        form_urlencoded::parse(query.as_bytes())
            .filter(|(found, _)| found == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    }

    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the content has been changed on its way, and so has another digest.
    fn is_encoded(&self) -> bool {
        let mut codings = self.headers.get_all(header::CONTENT_ENCODING).iter();
        codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    }

    /// The length of the body, where the client tells it.
    fn length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH)?.parse().ok()
    }
}

/// A response without a body.
pub(crate) fn empty<const N: usize>(
    status: StatusCode,
    headers: [(header::HeaderName, String); N],
) -> Result<Response, Failure> {
    respond_with(status, headers, Body::empty())
}

pub(crate) fn respond_with<const N: usize>(
    status: StatusCode,
    headers: [(header::HeaderName, String); N],
    body: Body,
) -> Result<Response, Failure> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body).map_err(|_| Failure::INTERNAL)
}
