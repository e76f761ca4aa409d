//! One node: its parts, put together and started in order, and stopped in the
//! reverse order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use entrepot_access::Verifier;
use entrepot_blobs::{BlobStore, FileStore, Note};
use entrepot_consensus::{Consensus, ConsensusConfig, ConsensusError, GroupConfig};
use entrepot_metadata::{GroupId, Metadata};
use entrepot_oci::RegionName;
use entrepot_proto::environment::{Blocking, Clock, SystemClock};
use entrepot_proto::peers::{Dial, PeerInfo, Peers, TcpDial};
use entrepot_replication::health::Health;
use entrepot_replication::outbox::Outbox;
use entrepot_replication::repair::Repair;
use entrepot_replication::replica::ReplicaServer;
use entrepot_replication::scrub::{Scrub, ScrubSettings};
use entrepot_replication::server::{BlobsServer, PingServer};
use entrepot_replication::{ClusterBlobs, CopyLimits};
use entrepot_service::peer::UploadsServer;
use entrepot_service::{Registry, RegistryParts, Settings};
use futures::FutureExt as _;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::arguments::RunArguments;
use crate::bootstrap::Bootstrap;
use crate::config::{ClientLimits, Config, ListenConfig};
use crate::identity::Identity;
use crate::listen::{self, Listen, Listeners};
use crate::metrics::{Metrics, MetricsText};
use crate::ops_port::Readiness;
use crate::peer_port::PeerServices;
use crate::stop::{self, Stop, Stopper};
use crate::tasks::Failures;
use crate::tls::Tls;
use crate::view::ConsensusView;
use crate::{client_port, files, ops_port, peer_port};

/// Voters of one group; more make every commit slower and no safer in practice.
const VOTERS_MAX: usize = 5;
/// For open connections to end when the node stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for peers, who only have to hear that this node is gone.
const PEER_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const READY_RETRY: Duration = Duration::from_millis(50);

/// The world outside a node.
#[derive(Debug)]
pub struct Outside {
    pub clock: Arc<dyn Clock>,
    pub dial: Arc<dyn Dial>,
    pub listeners: Listeners,
    pub blocking: Blocking,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    consensus: Arc<Consensus>,
    registry: Arc<Registry>,
    readiness: Readiness,
    /// The client and ops ports, which end first.
    front: Port,
    /// The peer port, which serves until the groups have been handed over.
    peer: Port,
    /// Does not end by itself; aborted.
    work: JoinSet<()>,
    /// Whatever of these tasks ends before it is told to.
    failures: Failures,
}

/// What a node does besides answering, for as long as it runs.
struct Workers {
    health: Arc<Health>,
    registry: Arc<Registry>,
    outbox: Arc<Outbox>,
    repair: Repair,
    scrub: Scrub,
    tls: Option<Arc<Tls>>,
}

/// What clients and watchers are served with.
struct Front {
    registry: Arc<Registry>,
    readiness: Readiness,
    limits: ClientLimits,
    tls: Option<Arc<Tls>>,
    metrics: MetricsText,
}

/// Listeners that are told to stop together.
#[derive(Debug)]
struct Port {
    stopper: Stopper,
    /// Ends when `stopper` says so.
    served: JoinSet<()>,
}

/// `entrepot-node run`.
pub(crate) async fn run(arguments: &RunArguments) -> anyhow::Result<()> {
    let config = Config::load(arguments)?;
    let stop = stop::on_signals()?;
    Identity::of(&config).check(&config.data)?;
    let listeners = Listeners::bind(&config).await?;
    let id = config.node;
    let node = Node::start(config, Outside::real(listeners)).await?;
    info!(node = id, "started");
    tokio::select! {
        () = stop.wait() => {}
        // Nothing that this process still does can be relied on; the next start
        // reads back what is really there.
        failure = node.failed() => return Err(failure),
    }
    info!(node = id, "stopping");
    node.stop().await
}

// === impl Outside ===

impl Outside {
    /// This machine: its clock, its network, its disk.
    pub(crate) fn real(listeners: Listeners) -> Self {
        Self {
            clock: Arc::new(SystemClock),
            dial: Arc::new(TcpDial),
            listeners,
            blocking: Blocking::Threads,
        }
    }
}

// === impl Workers ===

impl Workers {
    /// The end of one of them is the node's.
    fn spawn(self, failures: &Failures) -> JoinSet<()> {
        let mut work = JoinSet::new();
        let sweeper = self.registry.sweep_uploads();
        work.spawn(failures.vital("health check", self.health.run().map(Ok)));
        work.spawn(failures.vital("sweeper of uploads", sweeper.map(Ok)));
        work.spawn(failures.vital("outbox", self.outbox.run().map(Ok)));
        work.spawn(failures.vital("repair", self.repair.run().map(Ok)));
        work.spawn(failures.vital("scrub", self.scrub.run().map(Ok)));
        if let Some(tls) = self.tls {
            let follow = tls.follow().map(Ok);
            work.spawn(failures.vital("reload of certificates", follow));
        }
        work
    }
}

// === impl Listeners ===

impl Listeners {
    pub(crate) async fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            client: listen::bind(config.listen.client).await?,
            peer: listen::bind(config.listen.peer).await?,
            ops: match config.listen.ops {
                Some(ops) => Some(listen::bind(ops).await?),
                None => None,
            },
        })
    }
}

// === impl Node ===

impl Node {
    /// Starts everything; the node serves once its groups have leaders.
    pub async fn start(config: Config, outside: Outside) -> anyhow::Result<Self> {
        let tls = load_tls(&config.listen).await?;
        files::create_folder(&config.data)?;
        Identity::of(&config).claim(&config.data)?;
        let peers = Arc::new(Peers::new(
            config.node,
            config.peers.clone(),
            config.secret.clone(),
            &outside.dial,
        )?);
        let files = FileStore::open(&config.data.join("blobs")).await?;
        let mut metrics = Metrics::new();
        files.metrics().register(metrics.registry());
        let store: Arc<dyn BlobStore> = Arc::new(files);
        let consensus = start_consensus(&config, &peers).await?;
        let metadata: Arc<dyn Metadata> = Arc::<Consensus>::clone(&consensus);
        let health = Health::new(Arc::clone(&peers));
        let blobs = ClusterBlobs::with_limits(
            store,
            Arc::clone(&peers),
            Arc::clone(&health),
            copy_limits(&config),
        );
        blobs.metrics().register(metrics.registry());
        let registry = Registry::new(RegistryParts {
            metadata: Arc::clone(&metadata),
            blobs: Arc::clone(&blobs),
            peers: Arc::clone(&peers),
            clock: Arc::clone(&outside.clock),
            view: Arc::new(ConsensusView(Arc::clone(&consensus))),
            verifier: Verifier::new()?,
            settings: Settings {
                upload_expiry: config.upload_expiry,
            },
            blocking: outside.blocking,
        });
        let readiness = Readiness::new(
            Arc::clone(&metadata),
            GroupId::region(config.region.clone()),
        );

        let failures = Failures::new();
        let workers = Workers {
            health,
            registry: Arc::clone(&registry),
            outbox: Outbox::new(
                Arc::clone(&blobs),
                Arc::clone(&metadata),
                Arc::clone(&outside.clock),
            ),
            repair: Repair::new(
                Arc::clone(&blobs),
                Arc::clone(&metadata),
                Arc::clone(&outside.clock),
            ),
            scrub: Scrub::new(
                Arc::clone(&blobs),
                Arc::clone(&metadata),
                Arc::clone(&outside.clock),
                scrub_settings(&config),
                Some(Note::new(&config.data.join("scrub"))),
            ),
            tls: tls.clone(),
        };
        let mut work = workers.spawn(&failures);
        let account = make_account(&config, &consensus, &outside);
        work.spawn(failures.finite("making of the account", account));

        let services = PeerServices {
            consensus: Arc::clone(&consensus),
            ping: PingServer::new(peers.own().clone()),
            blobs: BlobsServer::new(Arc::clone(&blobs)),
            uploads: UploadsServer::new(Arc::clone(&registry)),
            replica: ReplicaServer::new(blobs, metadata, outside.clock),
        };
        let Listeners { client, peer, ops } = outside.listeners;
        let peer = Port::open(|stop| {
            let mut served = JoinSet::new();
            let peer = peer_port::serve(peer, services, config.secret, stop);
            served.spawn(failures.vital("peer port", peer));
            served
        });
        let front = Front {
            registry: Arc::clone(&registry),
            readiness: readiness.clone(),
            limits: config.listen.limits,
            tls,
            metrics: metrics.text(),
        };
        let front = Port::open(|stop| front.serve(client, ops, stop, &failures));
        Ok(Self {
            consensus,
            registry,
            readiness,
            front,
            peer,
            work,
            failures,
        })
    }

    /// Returns once the node serves.
    pub async fn ready(&self, deadline: Duration) -> anyhow::Result<()> {
        let mut reason = "it has not answered yet".to_owned();
        let ready = async {
            while let Err(not_yet) = self.readiness.check().await {
                reason = not_yet;
                tokio::time::sleep(READY_RETRY).await;
            }
        };
        if tokio::time::timeout(deadline, ready).await.is_err() {
            bail!("a node was not ready in time: {reason}");
        }
        Ok(())
    }

    /// Waits until this node cannot go on, and returns why.
    pub async fn failed(&self) -> anyhow::Error {
        tokio::select! {
            failure = self.consensus.failed() => failure.into(),
            failure = self.failures.first() => failure,
        }
    }

    /// Finishes what is in progress, within limits, and leaves the data as a
    /// clean stop does.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // They would go on for as long as their clients let them.
        self.registry.end_watches();
        if !self.front.close(DRAIN_TIMEOUT).await {
            warn!("clients' connections were still open when the node stopped");
        }
        self.work.shutdown().await;
        // The peers are served until others lead what this node led: a region
        // must not wait for an election because one of its nodes stops.
        let closed = self.consensus.shutdown().await;
        self.peer.close(PEER_DRAIN_TIMEOUT).await;
        closed.context("the node's state was not closed cleanly")
    }
}

// === impl Front ===

impl Front {
    fn serve(
        self,
        client: Box<dyn Listen>,
        ops: Option<Box<dyn Listen>>,
        stop: Stop,
        failures: &Failures,
    ) -> JoinSet<()> {
        let mut served = JoinSet::new();
        let client = client_port::serve(client, self.tls, self.limits, self.registry, stop.clone());
        served.spawn(failures.vital("client port", client.map(Ok)));
        if let Some(ops) = ops {
            let ops = ops_port::serve(ops, self.readiness, self.metrics, stop);
            served.spawn(failures.vital("ops port", ops.map(Ok)));
        }
        served
    }
}

// === impl Port ===

impl Port {
    fn open(serve: impl FnOnce(Stop) -> JoinSet<()>) -> Self {
        let (stopper, stop) = stop::stopper();
        Self {
            stopper,
            served: serve(stop),
        }
    }

    /// Finishes what is in progress, for at most `limit`; whether it was
    /// enough.
    async fn close(&mut self, limit: Duration) -> bool {
        self.stopper.stop();
        let drained = tokio::time::timeout(limit, async {
            while self.served.join_next().await.is_some() {}
        })
        .await;
        self.served.shutdown().await;
        drained.is_ok()
    }
}

async fn start_consensus(
    config: &Config,
    peers: &Arc<Peers>,
) -> Result<Arc<Consensus>, ConsensusError> {
    let groups = groups(peers.all(), &config.region);
    let consensus = ConsensusConfig {
        rebuild_index: config.rebuild_index,
        ..ConsensusConfig::new(config.data.join("consensus"), groups)
    };
    Consensus::start(consensus, Arc::clone(peers)).await
}

fn copy_limits(config: &Config) -> CopyLimits {
    CopyLimits {
        copies: config.copies,
        cache_bytes: config.care.cache_bytes,
        repair_bytes_per_s: config.care.repair_bytes_per_s,
        repair_after: config.care.repair_after,
    }
}

fn scrub_settings(config: &Config) -> ScrubSettings {
    ScrubSettings {
        every: config.care.scrub_every,
        bytes_per_s: config.care.scrub_bytes_per_s,
    }
}

fn make_account(
    config: &Config,
    consensus: &Arc<Consensus>,
    outside: &Outside,
) -> impl Future<Output = ()> + Send + 'static {
    let (own, groups) = (config.node, Arc::clone(consensus));
    let leads = move || {
        let mut groups = groups.status().into_iter();
        groups.any(|group| group.group == GroupId::global() && group.leader == Some(own))
    };
    let metadata: Arc<dyn Metadata> = Arc::<Consensus>::clone(consensus);
    let clock = Arc::clone(&outside.clock);
    Bootstrap::new(metadata, leads, config, clock, outside.blocking).run()
}

async fn load_tls(listen: &ListenConfig) -> anyhow::Result<Option<Arc<Tls>>> {
    Ok(match &listen.tls {
        Some(files) => Some(Arc::new(Tls::load(files.clone(), &listen.limits).await?)),
        None => None,
    })
}

/// The groups that this node is in: its region's and the global one.
fn groups(all: &[PeerInfo], region: &RegionName) -> Vec<GroupConfig> {
    let own: Vec<u64> = all
        .iter()
        .filter(|peer| peer.region == *region)
        .map(|peer| peer.id)
        .collect();
    vec![
        group(GroupId::global(), &spread(all)),
        group(GroupId::region(region.clone()), &own),
    ]
}

/// The first few of `nodes` vote, the others learn. An even number of voters
/// tolerates no more failures than one less; two are kept for their two copies.
fn group(id: GroupId, nodes: &[u64]) -> GroupConfig {
    let voters = match nodes.len().min(VOTERS_MAX) {
        few @ 0..=2 => few,
        even if even % 2 == 0 => even - 1,
        odd => odd,
    };
    let (voters, learners) = nodes.split_at(voters);
    GroupConfig {
        id,
        voters: voters.to_vec(),
        learners: learners.to_vec(),
    }
}

/// All nodes, taking one of each region in turn.
fn spread(all: &[PeerInfo]) -> Vec<u64> {
    let mut turns: Vec<(usize, &RegionName, u64)> = all
        .iter()
        .map(|peer| {
            let turn = all
                .iter()
                .filter(|other| other.region == peer.region && other.id < peer.id)
                .count();
            (turn, &peer.region, peer.id)
        })
        .collect();
    turns.sort();
    turns.into_iter().map(|(_, _, id)| id).collect()
}

#[cfg(test)]
pub(crate) mod tests;
