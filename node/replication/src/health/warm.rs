//! Keeps the connections for bytes to other regions open.
//!
//! Making one takes three round trips: one for TCP, two for TLS and the first
//! call. Over a long line the first bytes of an upload would wait for that, and
//! its image with them. Says nothing about health: a line full of bytes may answer
//! late.

use std::convert::Infallible;
use std::time::Duration;

use entrepot_proto::peer::PingRequest;
use entrepot_proto::peer::node_client::NodeClient;
use entrepot_proto::peers::{PeerInfo, Peers};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::trace;

/// A connection that broke is made again after about so long.
const WARM_INTERVAL: Duration = Duration::from_secs(2);
const WARM_TIMEOUT: Duration = Duration::from_secs(10);

/// Until it is dropped. A node of this node's own region is left alone: it is near.
/// `changes`: of anybody's health; one that answers again is connected to at once.
pub(super) async fn keep_warm(
    peers: &Peers,
    peer: &PeerInfo,
    mut changes: watch::Receiver<u64>,
) -> Infallible {
    if peer.region == peers.own().region {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(WARM_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = changes.changed() => {}
        }
        let Some(channel) = peers.bulk_channel(peer.id) else {
            continue;
        };
        let mut client = NodeClient::new(channel);
        let ping = client.ping(PingRequest::default());
        match tokio::time::timeout(WARM_TIMEOUT, ping).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => trace!(node = peer.id, %status, "no connection for bytes"),
            Err(_) => trace!(node = peer.id, "a connection for bytes does not answer"),
        }
    }
}
