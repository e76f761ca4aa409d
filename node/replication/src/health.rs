//! Which peers answer. One ping a second to each; what is asked of a peer that
//! is down goes to another at once instead of waiting for a time-out.
//!
//! A hint only: correctness never rests on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entrepot_oci::RegionName;
use entrepot_proto::peer::PingRequest;
use entrepot_proto::peer::node_client::NodeClient;
use entrepot_proto::peers::{PeerChannel, Peers};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::info;

const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What is known of the peers' health.
#[derive(Debug)]
pub struct Health {
    peers: Arc<Peers>,
    alive: BTreeMap<u64, AtomicBool>,
    changes: watch::Sender<u64>,
}

// === impl Health ===

impl Health {
    /// All peers are taken to be alive until a ping has failed.
    pub fn new(peers: Arc<Peers>) -> Arc<Self> {
        let alive = peers
            .all()
            .iter()
            .map(|peer| (peer.id, AtomicBool::new(true)))
            .collect();
        Arc::new(Self {
            peers,
            alive,
            changes: watch::Sender::new(0),
        })
    }

    /// Whether `node` answered its last ping. This node is always alive.
    pub fn is_alive(&self, node: u64) -> bool {
        node == self.peers.own().id
            || self
                .alive
                .get(&node)
                .is_some_and(|alive| alive.load(Ordering::Relaxed))
    }

    /// The nodes of `region` that answer, in order of id.
    pub fn alive_in(&self, region: &RegionName) -> Vec<u64> {
        self.peers
            .in_region(region)
            .map(|peer| peer.id)
            .filter(|node| self.is_alive(*node))
            .collect()
    }

    /// Counts the changes of any peer's health.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Pings all peers until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut pings = JoinSet::new();
        for peer in self.peers.all() {
            if peer.id == self.peers.own().id {
                continue;
            }
            if let Some(channel) = self.peers.channel(peer.id) {
                pings.spawn(Arc::clone(&self).watch_peer(peer.id, channel));
            }
        }
        while pings.join_next().await.is_some() {}
    }

    async fn watch_peer(self: Arc<Self>, node: u64, channel: PeerChannel) {
        let mut client = NodeClient::new(channel);
        let mut ticks = tokio::time::interval(PING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let ping = tokio::time::timeout(PING_TIMEOUT, client.ping(PingRequest {})).await;
            let answers = matches!(ping, Ok(Ok(reply)) if reply.get_ref().node == node);
            self.set(node, answers);
        }
    }

    fn set(&self, node: u64, answers: bool) {
        let Some(alive) = self.alive.get(&node) else {
            return;
        };
        if alive.swap(answers, Ordering::Relaxed) != answers {
            info!(node, alive = answers, "a peer's health has changed");
            self.changes.send_modify(|count| *count += 1);
        }
    }
}
