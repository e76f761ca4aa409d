//! One node: its parts, put together and started in order, and stopped in the
//! reverse order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use entrepot_access::Verifier;
use entrepot_consensus::{Consensus, ConsensusConfig, GroupConfig, voters_of};
use entrepot_metadata::{GroupId, Metadata};
use entrepot_oci::RegionName;
use entrepot_proto::environment::{Blocking, Clock, SystemClock};
use entrepot_proto::peers::{Dial, PeerInfo, Peers, TcpDial};
use entrepot_replication::ClusterBlobs;
use entrepot_replication::health::Health;
use entrepot_replication::replica::ReplicaServer;
use entrepot_replication::replica::through::ReadThrough;
use entrepot_replication::server::{BlobsServer, PingServer};
use entrepot_service::peer::UploadsServer;
use entrepot_service::trust::Trust;
use entrepot_service::{Courier, MembersServer, PullTimes, Registry, RegistryParts};
use futures::FutureExt as _;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::arguments::RunArguments;
use crate::bootstrap::Bootstrap;
use crate::care::{Care, open_blobs};
use crate::chores::Chores;
use crate::client_port::FrontEnds;
use crate::clock::ClusterClock;
use crate::config::{ClientLimits, Config, ListenConfig};
use crate::courier::HttpCourier;
use crate::disk::Disk;
use crate::entry::{Arrival, Entry};
use crate::identity::Identity;
use crate::listen::{self, Listen, Listeners};
use crate::members::{Members, Report};
use crate::metrics::{Metrics, MetricsText};
use crate::ops_port::Readiness;
use crate::peer_port::{Guard, PeerServices};
use crate::relay::{Relay, RelayServer};
use crate::stop::{self, Stop, Stopper};
use crate::storage::Storage;
use crate::tasks::Failures;
use crate::tls::Tls;
use crate::trust::Trusted;
use crate::view::ConsensusView;
use crate::{client_port, files, ops_port, peer_port};

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
    pub storage: Storage,
    pub courier: Arc<dyn Courier>,
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
    care: Care,
    tls: Option<Arc<Tls>>,
    members: Members,
    report: Report,
    disk: Disk,
    clock: Arc<ClusterClock>,
    blocking: Blocking,
    trusted: Option<(Trusted, Arc<Trust>)>,
    chores: Chores,
}

/// What clients and watchers are served with.
struct Front {
    clients: FrontEnds,
    relay: Relay,
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
    let outside = Outside::real(listeners, &config)?;
    let node = Node::start(config, outside).await?;
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
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub(crate) fn real(listeners: Listeners, config: &Config) -> anyhow::Result<Self> {
        let courier = HttpCourier::new(config.webhooks)?;
        Ok(Self {
            clock: Arc::new(SystemClock),
            dial: Arc::new(TcpDial),
            listeners,
            blocking: Blocking::Threads,
            storage: Storage::Disk,
            courier: Arc::new(courier.with_keys(config.issuer_keys.clone())),
        })
    }
}

// === impl Workers ===

impl Workers {
    /// The end of one of them is the node's.
    fn spawn(self, failures: &Failures) -> JoinSet<()> {
        let mut work = JoinSet::new();
        let sweeper = Arc::clone(&self.registry).sweep_uploads();
        let watch = self.disk.watch(Arc::clone(&self.health), self.blocking);
        work.spawn(failures.vital("health check", self.health.run().map(Ok)));
        work.spawn(failures.vital("watch over the disk", watch.map(Ok)));
        work.spawn(failures.vital("list of the cluster's nodes", self.members.follow()));
        work.spawn(failures.vital("report to the cluster", self.report.run()));
        work.spawn(failures.vital("sweeper of uploads", sweeper.map(Ok)));
        let settings = Arc::clone(&self.care.outbox).send_settings();
        work.spawn(failures.vital("replication of settings", settings.map(Ok)));
        let denied = Arc::clone(&self.care.outbox).ask_for_the_denied();
        work.spawn(failures.vital("requests for denied tasks", denied.map(Ok)));
        let settled = Arc::clone(&self.care.outbox).forget_the_settled();
        work.spawn(failures.vital("forgetting of what is settled", settled.map(Ok)));
        work.spawn(failures.vital("outbox", self.care.outbox.run().map(Ok)));
        work.spawn(failures.vital("repair", self.care.repair.run().map(Ok)));
        work.spawn(failures.vital("scrub", self.care.scrub.run().map(Ok)));
        work.spawn(failures.vital("deletion of files", self.care.removals.run().map(Ok)));
        work.spawn(failures.vital("search for orphans", self.care.orphans.run().map(Ok)));
        self.chores.spawn(&mut work, failures);
        if let Some(tls) = self.tls {
            let follow = tls.follow().map(Ok);
            work.spawn(failures.vital("reload of certificates", follow));
        }
        if let Some((trusted, trust)) = self.trusted {
            let clock = Arc::clone(&self.clock).watch().map(Ok);
            work.spawn(failures.vital("watch over the clock", clock));
            let watch = trusted.gate().watch().map(Ok);
            work.spawn(failures.vital("watch over connections", watch));
            let clock: Arc<dyn Clock> = Arc::<ClusterClock>::clone(&self.clock);
            let upkeep = trusted.upkeep(&trust, &clock).run().map(Ok);
            work.spawn(failures.vital("renewal of the node's certificate", upkeep));
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

/// Takes what other regions send, if the registry's policies allow it.
fn replicas(
    blobs: Arc<ClusterBlobs>,
    metadata: Arc<dyn Metadata>,
    registry: &Arc<Registry>,
) -> ReplicaServer {
    let clock = Arc::clone(registry.cluster_clock());
    ReplicaServer::new(blobs, metadata, clock, Arc::<Registry>::clone(registry))
}

fn serve_peers(
    listener: Box<dyn Listen>,
    services: PeerServices,
    guard: Guard,
    failures: &Failures,
) -> Port {
    Port::open(|stop| {
        let served = peer_port::serve(listener, services, guard, stop);
        JoinSet::from_iter([failures.vital("peer port", served)])
    })
}

/// Lets pulls of what is on its way here be served from where it comes from.
fn read_through(
    replica: &ReplicaServer,
    registry: &Registry,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let through = ReadThrough::new(replica);
    registry.read_through(&through);
    through.run().map(Ok)
}

// === impl Node ===

impl Node {
    /// Starts everything; the node serves once its groups have leaders.
    pub async fn start(config: Config, mut outside: Outside) -> anyhow::Result<Self> {
        let tls = load_tls(&config.listen).await?;
        files::create_folder(&config.data)?;
        let claimed = Identity::of(&config).claim(&config.data)?;
        let clock = ClusterClock::new(Arc::clone(&outside.clock));
        let trusted = Trusted::of(&config, &mut outside, &clock)?;
        let Entry {
            peers,
            founders,
            is_new,
        } = Entry::of(&config, &outside)?;
        let first = groups(&founders, &config.region);
        let mut metrics = Metrics::new();
        let health = clock.follow(Health::new(Arc::clone(&peers)));
        let storage = &outside.storage;
        let blobs = open_blobs(&config, storage, &peers, &health, &mut metrics).await?;
        let consensus = start_consensus(&config, storage, &first, &peers).await?;
        let metadata: Arc<dyn Metadata> = Arc::<Consensus>::clone(&consensus);
        let ping = ping_server(&peers, &health, &metadata, &founders, &outside.clock);
        let trust = Trusted::serve(trusted.as_ref(), &config, &metadata, &clock);
        let registry = Registry::new(RegistryParts {
            metadata: Arc::clone(&metadata),
            blobs: Arc::clone(&blobs),
            peers: Arc::clone(&peers),
            clock: Arc::clone(&outside.clock),
            cluster_clock: Arc::<ClusterClock>::clone(&clock),
            view: Arc::new(ConsensusView(Arc::clone(&consensus))),
            verifier: Verifier::new()?,
            settings: config.settings(),
            blocking: outside.blocking,
            trust: trust.clone(),
            courier: Arc::clone(&outside.courier),
        });
        let readiness = Readiness::new(Arc::clone(&metadata), region_group(&config));
        let failures = Failures::new();
        let workers = Workers {
            health: Arc::clone(&health),
            registry: Arc::clone(&registry),
            care: Care::new(&config, &outside, &registry, &metadata, &mut metrics),
            tls: tls.clone(),
            members: Members::new(&consensus, &peers, claimed.folder, &config),
            report: Report {
                metadata: Arc::clone(&metadata),
                peers: Arc::clone(&peers),
                leads: Box::new(leads(&config, &consensus)),
                folder: claimed.folder,
                founders,
                disk: storage.disk(&config),
                clock: Arc::clone(&outside.clock),
            },
            disk: storage.disk(&config),
            chores: Chores::new(&registry, &mut metrics, &config),
            clock,
            blocking: outside.blocking,
            trusted: trusted.clone().zip(trust.clone()),
        };
        let mut work = workers.spawn(&failures);
        if is_new {
            let clock = Arc::clone(&outside.clock);
            let arrival = Arrival::new(&consensus, &peers, clock, claimed.folder, first);
            work.spawn(failures.needed("arrival in the cluster", arrival.run()));
        } else {
            consensus.admit();
        }
        let account = make_account(&config, &consensus, &outside);
        work.spawn(failures.finite("making of the account", account));

        let replica = replicas(Arc::clone(&blobs), metadata, &registry);
        work.spawn(failures.vital("reading through", read_through(&replica, &registry)));
        let clients = FrontEnds::new(&registry, &config.listen)?;
        let services = PeerServices {
            consensus: Arc::clone(&consensus),
            ping,
            blobs: BlobsServer::new(blobs),
            uploads: UploadsServer::new(Arc::clone(&registry)),
            members: MembersServer::new(Arc::clone(&registry)),
            replica,
            relay: RelayServer::new(clients.clone()),
        };
        let guard = Guard::of(trusted.as_ref().zip(trust), config.secret);
        let Listeners { client, peer, ops } = outside.listeners;
        let peer = serve_peers(peer, services, guard, &failures);
        let front = Front {
            relay: Relay::new(&registry, &peers, &health, config.listen.domain),
            clients,
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

    /// Its groups: what it applied may be looked at from outside.
    pub fn consensus(&self) -> &Arc<Consensus> {
        &self.consensus
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
        let pulls = PullTimes::new(Arc::clone(&self.registry));
        pulls.record_last().await;
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
        let client = client_port::serve(
            client,
            self.tls,
            self.limits,
            self.clients,
            self.relay,
            stop.clone(),
        );
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

fn ping_server(
    peers: &Peers,
    health: &Arc<Health>,
    metadata: &Arc<dyn Metadata>,
    founders: &[PeerInfo],
    clock: &Arc<dyn Clock>,
) -> PingServer {
    PingServer::new(
        peers.own().clone(),
        Arc::clone(health),
        Arc::clone(metadata),
        founders.iter().map(|peer| peer.id).collect(),
        Arc::clone(clock),
    )
}

/// The groups wait until they are made, or until this node is added to them.
fn region_group(config: &Config) -> GroupId {
    GroupId::region(config.region.clone())
}

async fn start_consensus(
    config: &Config,
    storage: &Storage,
    groups: &[GroupConfig],
    peers: &Arc<Peers>,
) -> anyhow::Result<Arc<Consensus>> {
    let waiting = |group: &GroupConfig| GroupConfig {
        id: group.id.clone(),
        voters: Vec::new(),
        learners: Vec::new(),
    };
    let data = config.data.join("consensus");
    let groups = groups.iter().map(waiting).collect();
    let consensus = ConsensusConfig {
        rebuild_index: config.rebuild_index,
        index_cache_bytes: config.index_cache_bytes,
        ..ConsensusConfig::new(data, groups)
    };
    let consensus = storage.consensus(consensus);
    Ok(Consensus::start(consensus, Arc::clone(peers)).await?)
}

fn make_account(
    config: &Config,
    consensus: &Arc<Consensus>,
    outside: &Outside,
) -> impl Future<Output = ()> + Send + 'static {
    let metadata: Arc<dyn Metadata> = Arc::<Consensus>::clone(consensus);
    let (leads, clock) = (leads(config, consensus), Arc::clone(&outside.clock));
    let bootstrap = Bootstrap::new(metadata, leads, config, clock, outside.blocking);
    bootstrap.with_hash(outside.storage.root_hash()).run()
}

/// Whether this node leads the global group, as far as it knows.
fn leads(config: &Config, consensus: &Arc<Consensus>) -> impl Fn() -> bool + Send + Sync + 'static {
    let (own, groups) = (config.node, Arc::clone(consensus));
    move || {
        let mut groups = groups.status().into_iter();
        groups.any(|group| group.group == GroupId::global() && group.leader == Some(own))
    }
}

async fn load_tls(listen: &ListenConfig) -> anyhow::Result<Option<Arc<Tls>>> {
    Ok(match &listen.tls {
        Some(files) => Some(Arc::new(Tls::load(files.clone(), &listen.limits).await?)),
        None => None,
    })
}

/// The groups that this node is in: its region's and the global one. Who votes
/// in them first follows from `all` who found the cluster; nobody, when it exists.
fn groups(all: &[PeerInfo], region: &RegionName) -> Vec<GroupConfig> {
    let in_region = all.iter().filter(|peer| peer.region == *region);
    let mut own: Vec<u64> = in_region.map(|peer| peer.id).collect();
    // Each node may list them in another order.
    own.sort_unstable();
    vec![
        group(GroupId::global(), &spread(all)),
        group(GroupId::region(region.clone()), &own),
    ]
}

/// The first few of `nodes` vote, the others learn.
fn group(id: GroupId, nodes: &[u64]) -> GroupConfig {
    let (voters, learners) = nodes.split_at(voters_of(nodes.len()));
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
