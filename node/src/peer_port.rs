//! The peer port: everything that nodes say to each other, over mutual TLS and
//! behind the check of certificates; without certificates, behind the check of
//! the cluster's secret.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use entrepot_consensus::Consensus;
use entrepot_proto::peer::blobs_server::BlobsServer as BlobsService;
use entrepot_proto::peer::join_server::JoinServer as JoinService;
use entrepot_proto::peer::members_server::MembersServer as MembersService;
use entrepot_proto::peer::node_server::NodeServer as NodeService;
use entrepot_proto::peer::relay_server::RelayServer as RelayService;
use entrepot_proto::peer::replication_server::ReplicationServer as ReplicationService;
use entrepot_proto::peer::uploads_server::UploadsServer as UploadsService;
use entrepot_proto::peers::{
    ClusterSecret, Io, MESSAGE_BYTES_MAX, RECEIVING_CONNECTION_WINDOW_BYTES,
    RECEIVING_STREAM_WINDOW_BYTES,
};
use entrepot_replication::replica::ReplicaServer;
use entrepot_replication::server::{BlobsServer, PingServer};
use entrepot_service::MembersServer;
use entrepot_service::peer::UploadsServer;
use entrepot_service::trust::{JOIN_BYTES_MAX, JoinServer, Trust};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Status};

use crate::listen::{self, Listen};
use crate::relay::RelayServer;
use crate::stop::Stop;
use crate::trust::{HANDSHAKES_MAX, Handshakes, PeerCertificate, PeerTls, Trusted};

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const STREAMS_MAX: u32 = 4_096;
const CROWDED: &str = "its TLS handshake did not get on, and others needed its place";

/// What this node does for its peers.
#[derive(Debug)]
pub(crate) struct PeerServices {
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) ping: PingServer,
    pub(crate) blobs: BlobsServer,
    pub(crate) uploads: UploadsServer,
    pub(crate) members: MembersServer,
    pub(crate) replica: ReplicaServer,
    pub(crate) relay: RelayServer,
}

/// By what a peer is known.
#[derive(Debug, Clone)]
pub(crate) enum Guard {
    Secret(ClusterSecret),
    Certificate { tls: Arc<PeerTls>, join: JoinServer },
}

/// The connections that are served.
pub(crate) type Incoming = BoxStream<'static, Result<PeerIo, std::io::Error>>;

/// A peer's connection.
pub(crate) struct PeerIo {
    connection: Box<dyn Io>,
    certificate: PeerCertificate,
}

/// Serves peers until `stop`, unless it fails before.
pub(crate) async fn serve(
    listener: Box<dyn Listen>,
    services: PeerServices,
    guard: Guard,
    stop: Stop,
) -> anyhow::Result<()> {
    let incoming = incoming(listener, &guard);
    let join = guard.join();
    let for_ping = guard.clone();
    let check_ping = move |request| for_ping.check_ping(request);
    let check = move |request| guard.check(request);
    let blobs = BlobsService::new(services.blobs).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let uploads =
        UploadsService::new(services.uploads).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let replica =
        ReplicationService::new(services.replica).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let relay = RelayService::new(services.relay).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Server::builder()
        .initial_stream_window_size(RECEIVING_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(RECEIVING_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(InterceptedService::new(
            services.consensus.raft_server(),
            check.clone(),
        ))
        .add_service(InterceptedService::new(
            services.consensus.metadata_server(),
            check.clone(),
        ))
        .add_service(InterceptedService::new(
            NodeService::new(services.ping),
            check_ping,
        ))
        .add_service(InterceptedService::new(
            MembersService::new(services.members),
            check.clone(),
        ))
        .add_service(InterceptedService::new(blobs, check.clone()))
        .add_service(InterceptedService::new(uploads, check.clone()))
        .add_service(InterceptedService::new(relay, check.clone()))
        .add_service(InterceptedService::new(replica, check))
        .add_optional_service(join.map(|join| {
            let service = JoinService::new(join.clone()).max_decoding_message_size(JOIN_BYTES_MAX);
            InterceptedService::new(service, move |request| join.check(request))
        }))
        .serve_with_incoming_shutdown(incoming, async move { stop.wait().await })
        .await?;
    Ok(())
}

/// Connections as they come; with certificates, each once its handshake is done.
fn incoming(listener: Box<dyn Listen>, guard: &Guard) -> Incoming {
    match guard {
        Guard::Secret(_) => accepted(listener)
            .map(|(connection, _)| Ok(PeerIo::plain(connection)))
            .boxed(),
        Guard::Certificate { tls, .. } => shaken(listener, Arc::clone(tls)),
    }
}

fn accepted(listener: Box<dyn Listen>) -> impl Stream<Item = (Box<dyn Io>, Option<IpAddr>)> {
    futures::stream::unfold(listener, |listener| async move {
        let accepted = listen::accept(listener.as_ref()).await;
        Some((accepted, listener))
    })
}

/// In the order in which their handshakes are done; none waits for another's.
pub(crate) fn shaken(listener: Box<dyn Listen>, tls: Arc<PeerTls>) -> Incoming {
    let handshakes = Arc::new(Handshakes::default());
    let shaken = accepted(listener).map(move |(connection, from)| {
        let tls = Arc::clone(&tls);
        let place = handshakes.begin(from);
        async move {
            let Some(guarded) = place.hold(tls.accept(connection)).await else {
                tls.gate().log(&CROWDED);
                return None;
            };
            let guarded = guarded.inspect_err(|error| {
                tls.gate()
                    .log(&format_args!("its TLS handshake failed: {error}"));
            });
            guarded.ok().map(|guarded| {
                Ok(PeerIo {
                    certificate: guarded.certificate(),
                    connection: Box::new(guarded),
                })
            })
        }
    });
    // One more than there are places: it makes the oldest give way.
    let shaken = shaken.buffer_unordered(HANDSHAKES_MAX + 1);
    shaken.filter_map(std::future::ready).boxed()
}

// === impl Guard ===

impl Guard {
    pub(crate) fn of(trusted: Option<(&Trusted, Arc<Trust>)>, secret: ClusterSecret) -> Self {
        match trusted {
            Some((trusted, trust)) => Self::Certificate {
                tls: trusted.tls(),
                join: JoinServer::new(trust),
            },
            None => Self::Secret(secret),
        }
    }

    #[allow(clippy::result_large_err, reason = "the signature of an interceptor")]
    fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        match self {
            Self::Secret(secret) => secret.check(request),
            Self::Certificate { tls, .. } => tls.gate().admit(request),
        }
    }

    #[allow(clippy::result_large_err, reason = "the signature of an interceptor")]
    fn check_ping(&self, request: Request<()>) -> Result<Request<()>, Status> {
        match self {
            Self::Secret(secret) => secret.check(request),
            Self::Certificate { tls, .. } => tls.gate().admit_ping(request),
        }
    }

    fn join(&self) -> Option<JoinServer> {
        match self {
            Self::Secret(_) => None,
            Self::Certificate { join, .. } => Some(join.clone()),
        }
    }
}

// === impl PeerIo ===

impl PeerIo {
    fn plain(connection: Box<dyn Io>) -> Self {
        Self {
            connection,
            certificate: PeerCertificate(None),
        }
    }
}

impl Connected for PeerIo {
    type ConnectInfo = PeerCertificate;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.certificate
    }
}

impl AsyncRead for PeerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
