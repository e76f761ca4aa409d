//! Which peers answer. One ping a second to each; what is asked of a peer that
//! is down goes to another at once instead of waiting for a time-out.
//!
//! A hint only: correctness never rests on it.

mod warm;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use entrepot_oci::RegionName;
use entrepot_proto::peer::node_client::NodeClient;
use entrepot_proto::peer::{PingReply, PingRequest};
use entrepot_proto::peers::{PeerInfo, Peers};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::{Code, Response, Status};
use tracing::{info, warn};

use crate::error::chain;
use crate::space::Space;

const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What became of a ping.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Answered,
    /// As from a node that is down, or cut off.
    Silent(String),
    /// Something is there, and it is not the peer that this node was told of:
    /// waiting will not help.
    Wrong(String),
}

/// What is known of the peers' health.
#[derive(Debug)]
pub struct Health {
    peers: Arc<Peers>,
    /// The nodes whose last ping failed.
    silent: RwLock<BTreeSet<u64>>,
    /// What the nodes said of their disks, this one's too.
    spaces: RwLock<BTreeMap<u64, Space>>,
    /// What the peers' clocks said, and when they said it.
    clocks: RwLock<BTreeMap<u64, (i64, Instant)>>,
    changes: watch::Sender<u64>,
}

// === impl Health ===

impl Health {
    /// All peers are taken to be alive until a ping has failed.
    pub fn new(peers: Arc<Peers>) -> Arc<Self> {
        Arc::new(Self {
            peers,
            silent: RwLock::default(),
            spaces: RwLock::default(),
            clocks: RwLock::default(),
            changes: watch::Sender::new(0),
        })
    }

    /// Whether `node` answered its last ping. This node is always alive.
    pub fn is_alive(&self, node: u64) -> bool {
        if node == self.peers.own().id {
            return true;
        }
        let silent = self.silent.read().unwrap_or_else(PoisonError::into_inner);
        !silent.contains(&node) && self.peers.all().get(node).is_some()
    }

    /// The nodes of `region` that answer, in order of id.
    pub fn alive_in(&self, region: &RegionName) -> Vec<u64> {
        let mut nodes = self.peers.in_region(region);
        nodes.retain(|node| self.is_alive(*node));
        nodes
    }

    /// This node.
    pub fn own(&self) -> u64 {
        self.peers.own().id
    }

    /// What `node` said last of its disk.
    pub fn space(&self, node: u64) -> Option<Space> {
        let spaces = self.spaces.read().unwrap_or_else(PoisonError::into_inner);
        spaces.get(&node).copied()
    }

    /// Notes what `node`, which may be this one, says of its disk.
    pub fn set_space(&self, node: u64, space: Space) {
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        spaces.insert(node, space);
    }

    /// Whether `node` has said that it takes no new copies.
    pub fn is_full(&self, node: u64) -> bool {
        self.space(node).is_some_and(|space| space.is_full)
    }

    /// What the peers' clocks say now, milliseconds since the Unix epoch, of those
    /// that have told: about that, for the answer took its time.
    pub fn clocks(&self) -> Vec<i64> {
        let clocks = self.clocks.read().unwrap_or_else(PoisonError::into_inner);
        let list = self.peers.all();
        let now = |(said, at): &(i64, Instant)| {
            let since = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
            said.saturating_add(since)
        };
        let known = clocks.iter().filter(|(node, _)| list.get(**node).is_some());
        known.map(|(_, clock)| now(clock)).collect()
    }

    fn set_clock(&self, node: u64, said_ms: i64) {
        let mut clocks = self.clocks.write().unwrap_or_else(PoisonError::into_inner);
        clocks.insert(node, (said_ms, Instant::now()));
    }

    /// Counts the changes of any peer's health.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Pings all peers until it is dropped. In one task, so that a ping that
    /// panics does not end alone: nobody would notice.
    pub async fn run(self: Arc<Self>) {
        let mut changes = self.peers.changes();
        let mut watched: BTreeMap<u64, PeerInfo> = BTreeMap::new();
        let mut pings: FuturesUnordered<BoxFuture<'static, PeerInfo>> = FuturesUnordered::new();
        loop {
            let list = Arc::clone(&changes.borrow_and_update());
            let own = self.peers.own().id;
            for peer in list.iter().filter(|peer| peer.id != own) {
                if watched.get(&peer.id) != Some(peer) {
                    watched.insert(peer.id, peer.clone());
                    let watching = Arc::clone(&self).watch_peer(peer.clone());
                    pings.push(Box::pin(watching));
                }
            }
            tokio::select! {
                // The sender is in `self`: it is not gone.
                Ok(()) = changes.changed() => {}
                // A peer that left, or moved, is watched as it was no more.
                Some(left) = pings.next() => {
                    if watched.get(&left.id) == Some(&left) {
                        watched.remove(&left.id);
                    }
                }
            }
        }
    }

    /// Watches `peer` until it is another one than it was; returns it.
    async fn watch_peer(self: Arc<Self>, peer: PeerInfo) -> PeerInfo {
        tokio::select! {
            () = self.ping_peer(&peer) => {}
            never = warm::keep_warm(&self.peers, &peer, self.changes()) => match never {},
        }
        peer
    }

    /// Pings `peer` until it is another one than it was.
    async fn ping_peer(&self, peer: &PeerInfo) {
        let mut ticks = tokio::time::interval(PING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Outcome::Answered;
        loop {
            ticks.tick().await;
            let is_listed = self.peers.all().get(peer.id) == Some(peer);
            let channel = self.peers.channel(peer.id).filter(|_| is_listed);
            let Some(channel) = channel else {
                self.set(peer.id, true);
                return;
            };
            let mut client = NodeClient::new(channel);
            let request = PingRequest::default();
            let ping = tokio::time::timeout(PING_TIMEOUT, client.ping(request))
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer to a ping")));
            let ping = ping.map(Response::into_inner);
            let space = ping.as_ref().ok().map(Space::of);
            let said_ms = ping.as_ref().map_or(0, |reply| reply.now_ms);
            let outcome = Outcome::of(ping, peer);
            if let Some(space) = space.filter(|_| outcome == Outcome::Answered) {
                self.set_space(peer.id, space);
                if said_ms > 0 {
                    self.set_clock(peer.id, said_ms);
                }
            }
            if !outcome.is_like(&last) {
                outcome.log(peer);
            }
            self.set(peer.id, outcome == Outcome::Answered);
            last = outcome;
        }
    }

    fn set(&self, node: u64, answers: bool) {
        let mut silent = self.silent.write().unwrap_or_else(PoisonError::into_inner);
        let changed = if answers {
            silent.remove(&node)
        } else {
            silent.insert(node)
        };
        drop(silent);
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

// === impl Outcome ===

impl Outcome {
    fn of(ping: Result<PingReply, Status>, peer: &PeerInfo) -> Self {
        match ping {
            Ok(reply) if reply.node != peer.id => Self::Wrong(format!(
                "node {} of region {} answers at {}",
                reply.node, reply.region, peer.address
            )),
            Ok(reply) if reply.region != peer.region.as_str() => Self::Wrong(format!(
                "it says that it is of region {}, and the configuration here that it is of {}",
                reply.region, peer.region
            )),
            Ok(_) => Self::Answered,
            // Another secret, or something that is no node.
            Err(status) => match status.code() {
                Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented => {
                    Self::Wrong(chain(&status))
                }
                _ => Self::Silent(chain(&status)),
            },
        }
    }

    /// Whether saying both would be saying the same twice. Why a node is silent
    /// changes with every try: refused, reset, timed out.
    fn is_like(&self, other: &Self) -> bool {
        self == other || matches!((self, other), (Self::Silent(_), Self::Silent(_)))
    }

    fn log(&self, peer: &PeerInfo) {
        let node = peer.id;
        match self {
            Self::Answered => info!(node, "a peer answers again"),
            Self::Silent(reason) => info!(node, reason, "a peer does not answer"),
            Self::Wrong(reason) => warn!(
                node, address = %peer.address, reason,
                "a peer cannot be used: compare the nodes' configurations and secrets"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PeerInfo {
        PeerInfo {
            id: 2,
            region: "eu-central-1".parse().unwrap(),
            address: "two:7400".to_owned(),
        }
    }

    fn answer(node: u64, region: &str) -> Outcome {
        let reply = PingReply {
            node,
            region: region.to_owned(),
            ..PingReply::default()
        };
        Outcome::of(Ok(reply), &peer())
    }

    fn failure(code: Code) -> Outcome {
        Outcome::of(Err(Status::new(code, "why")), &peer())
    }

    #[test]
    fn a_peer_is_who_it_should_be_or_it_is_said_what_is_wrong() {
        assert_eq!(answer(2, "eu-central-1"), Outcome::Answered);
        let Outcome::Wrong(other) = answer(3, "eu-central-1") else {
            panic!("another node");
        };
        assert!(
            other.contains("node 3") && other.contains("two:7400"),
            "{other}"
        );
        let Outcome::Wrong(moved) = answer(2, "us-east-1") else {
            panic!("another region");
        };
        assert!(
            moved.contains("us-east-1") && moved.contains("eu-central-1"),
            "{moved}"
        );
        let Outcome::Wrong(secret) = failure(Code::Unauthenticated) else {
            panic!("another secret");
        };
        assert!(secret.starts_with("why ("), "{secret}");
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Unknown] {
            assert!(matches!(failure(code), Outcome::Silent(_)), "{code}");
        }
    }

    #[test]
    fn only_what_is_news_is_logged() {
        let silent = |why: &str| Outcome::Silent(why.to_owned());
        let wrong = |why: &str| Outcome::Wrong(why.to_owned());
        assert!(silent("refused").is_like(&silent("timed out")));
        assert!(wrong("secret").is_like(&wrong("secret")));
        assert!(!wrong("secret").is_like(&wrong("region")));
        assert!(!wrong("secret").is_like(&silent("refused")));
        assert!(!Outcome::Answered.is_like(&silent("refused")));
    }
}
