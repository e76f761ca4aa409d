//! The client port: `/v2/` and the gRPC front ends, HTTP/1.1 and HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use entrepot_proto::admin::admin_server::AdminServer as AdminService;
use entrepot_proto::peers::Io;
use entrepot_rpc::AdminServer;
use entrepot_service::Registry;
use http::Request;
use http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tower::ServiceExt;
use tracing::debug;

use crate::listen::{self, Listen};
use crate::stop::Stop;

/// For a client to send a request's headers, also the next ones of a
/// connection that is kept alive.
const HEADERS_TIMEOUT: Duration = Duration::from_mins(1);
/// A request's headers, bytes. The longest that a registry client sends is a
/// token of a few KiB.
const HEADERS_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 128;
/// HTTP/2: requests of one connection at the same time.
const STREAMS_MAX: u32 = 256;
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Serves clients until `stop`; requests in progress are finished.
pub(crate) async fn serve(listener: Box<dyn Listen>, registry: Arc<Registry>, stop: Stop) {
    let web = entrepot_distribution::router(Arc::clone(&registry));
    let rpc = tonic::service::Routes::new(AdminService::new(AdminServer::new(registry)))
        .prepare()
        .into_axum_router();
    let until = stop.clone();
    listen::serve(listener, stop, move |connection| {
        serve_connection(connection, web.clone(), rpc.clone(), until.clone())
    })
    .await;
}

async fn serve_connection(connection: Box<dyn Io>, web: Router, rpc: Router, stop: Stop) {
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let router = if is_grpc(&request) { &rpc } else { &web };
        router.clone().oneshot(request.map(Body::new))
    });
    let builder = builder();
    let served =
        builder.serve_connection(TokioIo::new(connection), TowerToHyperService::new(service));
    tokio::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop.wait() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "a client's connection broke");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADERS_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADERS_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL);
    builder
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
