//! The peer port: everything that nodes say to each other, behind the check of
//! the cluster's secret.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use entrepot_consensus::Consensus;
use entrepot_proto::peer::blobs_server::BlobsServer as BlobsService;
use entrepot_proto::peer::members_server::MembersServer as MembersService;
use entrepot_proto::peer::node_server::NodeServer as NodeService;
use entrepot_proto::peer::replication_server::ReplicationServer as ReplicationService;
use entrepot_proto::peer::uploads_server::UploadsServer as UploadsService;
use entrepot_proto::peers::{
    CONNECTION_WINDOW_BYTES, ClusterSecret, Io, MESSAGE_BYTES_MAX, STREAM_WINDOW_BYTES,
};
use entrepot_replication::replica::ReplicaServer;
use entrepot_replication::server::{BlobsServer, PingServer};
use entrepot_service::MembersServer;
use entrepot_service::peer::UploadsServer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::listen::{self, Listen};
use crate::stop::Stop;

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const STREAMS_MAX: u32 = 4_096;

/// What this node does for its peers.
#[derive(Debug)]
pub(crate) struct PeerServices {
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) ping: PingServer,
    pub(crate) blobs: BlobsServer,
    pub(crate) uploads: UploadsServer,
    pub(crate) members: MembersServer,
    pub(crate) replica: ReplicaServer,
}

/// A peer's connection.
struct PeerIo(Box<dyn Io>);

/// Serves peers until `stop`, unless it fails before.
pub(crate) async fn serve(
    listener: Box<dyn Listen>,
    services: PeerServices,
    secret: ClusterSecret,
    stop: Stop,
) -> anyhow::Result<()> {
    let check = move |request| secret.check(request);
    let blobs = BlobsService::new(services.blobs).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let uploads =
        UploadsService::new(services.uploads).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let replica =
        ReplicationService::new(services.replica).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
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
            check.clone(),
        ))
        .add_service(InterceptedService::new(
            MembersService::new(services.members),
            check.clone(),
        ))
        .add_service(InterceptedService::new(blobs, check.clone()))
        .add_service(InterceptedService::new(uploads, check.clone()))
        .add_service(InterceptedService::new(replica, check))
        .serve_with_incoming_shutdown(incoming(listener), async move { stop.wait().await })
        .await?;
    Ok(())
}

fn incoming(
    listener: Box<dyn Listen>,
) -> impl futures::Stream<Item = Result<PeerIo, std::io::Error>> {
    futures::stream::unfold(listener, |listener| async move {
        let connection = listen::accept(listener.as_ref()).await;
        Some((Ok(PeerIo(connection)), listener))
    })
}

// === impl PeerIo ===

impl Connected for PeerIo {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for PeerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
