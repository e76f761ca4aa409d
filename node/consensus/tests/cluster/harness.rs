//! A cluster in this process: every node has a runtime, a directory and a
//! port of its own.
//!
//! Killing a node drops its runtime: its tasks stop where they are and its
//! connections break.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use entrepot_consensus::{
    Compaction, Consensus, ConsensusConfig, GroupConfig, GroupStatus, IndexState,
};
use entrepot_metadata::command::{CreateRepository, MemberSpec, PutManifest};
use entrepot_metadata::{Command, GroupId, Metadata, MetadataError, query};
use entrepot_proto::peer::{self, raft_client::RaftClient};
use entrepot_proto::peers::{ClusterSecret, Dial, PeerInfo, Peers, TcpDial};
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use crate::cut::{Brittle, CutDial, Isolated};

const SECRET: &str = "a-secret-that-only-this-test-cluster-knows";
const ACCOUNT: &str = "123456789012";
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const PATIENCE: Duration = Duration::from_secs(20);
const CREATES_AT_A_TIME: usize = 256;
const POLL: Duration = Duration::from_millis(20);

/// What a cluster looks like.
pub(crate) struct Shape {
    pub(crate) voters: u64,
    pub(crate) learners: u64,
    /// Nodes that wait until they are added. With any, the group is the one that
    /// holds the cluster's records.
    pub(crate) waiting: u64,
    pub(crate) compaction: Compaction,
}

pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    group: GroupConfig,
    peers: Vec<PeerInfo>,
    compaction: Compaction,
    nodes: Vec<Option<Node>>,
    isolated: Isolated,
    brittle: Brittle,
}

struct Node {
    runtime: Runtime,
    consensus: Arc<Consensus>,
}

/// Writers that go on while another node dies.
pub(crate) struct Writers {
    threads: Vec<std::thread::JoinHandle<()>>,
    acknowledged: Arc<Mutex<Vec<String>>>,
}

impl Shape {
    pub(crate) fn voters(voters: u64) -> Self {
        Self {
            voters,
            learners: 0,
            waiting: 0,
            compaction: Compaction::default(),
        }
    }
}

// === life and death ===

impl Cluster {
    pub(crate) fn start(shape: &Shape) -> Self {
        Self::start_with(shape, |_| ())
    }

    /// With something in the data folder of node 1.
    pub(crate) fn start_with(shape: &Shape, prepare: impl FnOnce(&Path)) -> Self {
        let told = shape.voters + shape.learners;
        let count = told + shape.waiting;
        let listeners: Vec<_> = (0..count)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let peers = (1..=count).zip(&listeners);
        let peers = peers.map(|(id, listener)| PeerInfo {
            id,
            region: "us-east-1".parse().unwrap(),
            address: listener.local_addr().unwrap().to_string(),
        });
        let mut cluster = Self {
            dir: tempfile::tempdir().unwrap(),
            group: GroupConfig {
                id: match shape.waiting {
                    0 => GroupId::region("us-east-1".parse().unwrap()),
                    _ => GroupId::global(),
                },
                voters: (1..=shape.voters).collect(),
                learners: (shape.voters + 1..=told).collect(),
            },
            peers: peers.collect(),
            compaction: shape.compaction,
            nodes: (0..count).map(|_| None).collect(),
            isolated: Isolated::default(),
            brittle: Brittle::default(),
        };
        prepare(&cluster.data(1));
        for (id, listener) in (1..=count).zip(listeners) {
            cluster.launch(id, listener, false);
            cluster.admit(id);
        }
        for id in 1..=told {
            let node = cluster.node(id);
            node.runtime
                .block_on(node.consensus.ready(PATIENCE))
                .unwrap();
        }
        cluster
    }

    fn launch(&mut self, id: u64, listener: TcpListener, rebuild_index: bool) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let secret = ClusterSecret::new(SECRET).unwrap();
        let mut group = self.group.clone();
        if !group.voters.contains(&id) && !group.learners.contains(&id) {
            group.voters.clear();
            group.learners.clear();
        }
        let mut config = ConsensusConfig::new(self.data(id), vec![group]);
        config.compaction = self.compaction;
        config.rebuild_index = rebuild_index;
        let all = self.peers.clone();
        let dial: Arc<dyn Dial> = Arc::new(CutDial {
            own: id,
            peers: all.clone(),
            isolated: self.isolated.clone(),
            brittle: self.brittle.clone(),
        });
        let consensus = runtime.block_on(async move {
            let peers = Peers::new(id, all, secret.clone(), &dial).unwrap();
            let consensus = Consensus::start(config, Arc::new(peers)).await.unwrap();
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let check = move |request| secret.check(request);
            let server = Server::builder()
                .add_service(InterceptedService::new(
                    consensus.raft_server(),
                    check.clone(),
                ))
                .add_service(InterceptedService::new(consensus.metadata_server(), check))
                .serve_with_incoming(TcpListenerStream::new(listener).map_ok(|stream| {
                    stream.set_nodelay(true).unwrap();
                    stream
                }));
            tokio::spawn(server);
            consensus
        });
        self.nodes[index(id)] = Some(Node { runtime, consensus });
    }

    /// The node is gone, without a word.
    pub(crate) fn kill(&mut self, id: u64) {
        let Node { runtime, consensus } = self.nodes[index(id)].take().unwrap();
        drop(consensus);
        runtime.shutdown_timeout(Duration::from_secs(10));
    }

    pub(crate) fn stop(&mut self, id: u64) {
        let Node { runtime, consensus } = self.nodes[index(id)].take().unwrap();
        runtime.block_on(consensus.shutdown()).unwrap();
        drop(consensus);
        runtime.shutdown_timeout(Duration::from_secs(10));
        let said = fs::read_to_string(self.data(id).join("index/state")).unwrap();
        assert!(said.contains("clean yes"), "{said}");
    }

    /// Cuts a living node off from all others.
    pub(crate) fn isolate(&self, id: u64) {
        self.isolated.set(id);
    }

    /// How long connections last from now on.
    pub(crate) fn brittle(&self) -> &Brittle {
        &self.brittle
    }

    pub(crate) fn restart(&mut self, id: u64) {
        let listener = self.listen(id);
        self.launch(id, listener, false);
    }

    /// With an empty disk, as a node starts that does not know yet whether it
    /// is a new one.
    pub(crate) fn restart_empty(&mut self, id: u64) {
        fs::remove_dir_all(self.data(id)).unwrap();
        let group = self.group.clone();
        self.group.voters.clear();
        self.group.learners.clear();
        self.restart(id);
        self.group = group;
    }

    pub(crate) fn admit(&self, id: u64) {
        self.node(id).consensus.admit();
    }

    pub(crate) fn restart_rebuilding(&mut self, id: u64) {
        let listener = self.listen(id);
        self.launch(id, listener, true);
    }

    fn listen(&self, id: u64) -> TcpListener {
        let address = &self.peers[index(id)].address;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match TcpListener::bind(address) {
                Ok(listener) => return listener,
                Err(error) if Instant::now() > deadline => panic!("{address}: {error}"),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// What the machine says of itself after another boot.
    pub(crate) fn pretend_reboot(&self, id: u64) {
        let path = self.data(id).join("index/state");
        fs::write(path, "layout 1\nboot another\nclean no\n").unwrap();
    }
}

// === looking ===

impl Cluster {
    pub(crate) fn alive(&self) -> Vec<u64> {
        let ids = (1..).zip(&self.nodes);
        ids.filter_map(|(id, node)| node.is_some().then_some(id))
            .collect()
    }

    pub(crate) fn status(&self, id: u64) -> GroupStatus {
        self.node(id).consensus.status().remove(0)
    }

    pub(crate) fn applied(&self, id: u64) -> u64 {
        self.status(id).applied
    }

    pub(crate) fn index_state(&self, id: u64) -> IndexState {
        self.node(id).consensus.index_state().clone()
    }

    /// The leader that all living nodes agree on.
    pub(crate) fn leader(&self) -> u64 {
        let mut leader = None;
        self.wait_until("there is a leader", || {
            let leaders = self.alive().into_iter().map(|id| self.status(id).leader);
            let leaders: Vec<_> = leaders.collect();
            leader = leaders[0].filter(|leader| self.alive().contains(leader));
            leader.is_some() && leaders.iter().all(|other| *other == leader)
        });
        leader.unwrap()
    }

    pub(crate) fn follower(&self) -> u64 {
        let leader = self.leader();
        self.alive().into_iter().find(|id| *id != leader).unwrap()
    }

    pub(crate) fn has(&self, id: u64, name: &str) -> bool {
        let view = self.node(id).consensus.view(&self.group.id).unwrap();
        let (account, name) = (ACCOUNT.parse().unwrap(), name.parse().unwrap());
        query::repository(&*view, &account, &name)
            .unwrap()
            .is_some()
    }

    pub(crate) fn count(&self, id: u64) -> usize {
        let view = self.node(id).consensus.view(&self.group.id).unwrap();
        let account = ACCOUNT.parse().unwrap();
        query::repositories(&*view, &account, None, 10_000)
            .unwrap()
            .len()
    }

    /// Index of the node's snapshot; 0 if it has none.
    pub(crate) fn snapshot_index(&self, id: u64) -> u64 {
        let dir = self.data(id).join("snapshots/region_us-east-1_0");
        let names = fs::read_dir(dir).unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let is_snapshot = path.extension().is_some_and(|found| found == "snapshot");
            let name = path.file_stem()?.to_str()?.to_owned();
            is_snapshot.then_some(name)
        });
        let indexes = names.filter_map(|name| name.split('-').next()?.parse().ok());
        indexes.max().unwrap_or(0)
    }

    pub(crate) fn wait_for_snapshots(&self, index: u64) {
        self.wait_until("all have a snapshot", || {
            let alive = self.alive();
            alive.into_iter().all(|id| self.snapshot_index(id) >= index)
        });
    }

    pub(crate) fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            let status: Vec<_> = self.alive().iter().map(|id| self.status(*id)).collect();
            assert!(Instant::now() < deadline, "never came: {what}: {status:?}");
            std::thread::sleep(POLL);
        }
    }

    fn node(&self, id: u64) -> &Node {
        self.nodes[index(id)].as_ref().expect("the node is alive")
    }

    pub(crate) fn data(&self, id: u64) -> PathBuf {
        self.dir.path().join(id.to_string())
    }
}

// === asking ===

impl Cluster {
    pub(crate) fn create(&self, id: u64, name: &str) -> Result<(), MetadataError> {
        let node = self.node(id);
        node.runtime
            .block_on(create(&node.consensus, &self.group.id, name))
    }

    pub(crate) fn linearize(&self, id: u64) -> Result<(), MetadataError> {
        let node = self.node(id);
        node.runtime
            .block_on(node.consensus.linearize(&self.group.id))
    }

    /// Proposes at the node; it must not be refused.
    pub(crate) fn propose(&self, id: u64, command: impl Into<Command>) {
        let node = self.node(id);
        let proposed = node.consensus.propose(&self.group.id, command.into());
        let response = node.runtime.block_on(proposed).unwrap();
        response.into_result().unwrap();
    }

    /// A node as the records have it.
    pub(crate) fn member_spec(&self, id: u64) -> MemberSpec {
        let peer = &self.peers[index(id)];
        MemberSpec::new(id, &peer.region, &peer.address)
    }

    pub(crate) fn put_manifest(&self, id: u64, content: &Bytes) -> Result<(), MetadataError> {
        self.put_manifest_into(id, "large", content)
    }

    /// A manifest named after nothing that is in it.
    pub(crate) fn put_manifest_into(
        &self,
        id: u64,
        repository: &str,
        content: &Bytes,
    ) -> Result<(), MetadataError> {
        let node = self.node(id);
        let command = Command::PutManifest(PutManifest {
            account: ACCOUNT.to_owned(),
            repository: repository.to_owned(),
            digest: DIGEST.to_owned(),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            content: content.clone(),
            at_ms: 1,
            create_repository: true,
            ..PutManifest::default()
        });
        let propose = node.consensus.propose(&self.group.id, command);
        let response = node.runtime.block_on(propose)?;
        response.into_result().expect("it is not refused");
        Ok(())
    }

    pub(crate) fn manifest(&self, id: u64) -> Bytes {
        self.manifest_of(id, "large")
    }

    pub(crate) fn manifest_of(&self, id: u64, repository: &str) -> Bytes {
        let view = self.node(id).consensus.view(&self.group.id).unwrap();
        let (account, name) = (ACCOUNT.parse().unwrap(), repository.parse().unwrap());
        let digest = DIGEST.parse().unwrap();
        let stored = query::manifest(&*view, &account, &name, &digest);
        stored.unwrap().expect("the manifest is there").content
    }

    /// Makes `count` repositories, many at a time.
    pub(crate) fn create_many(&self, id: u64, prefix: &str, count: usize) {
        let node = self.node(id);
        let group = &self.group.id;
        node.runtime.block_on(async {
            let names = (0..count).map(|number| format!("{prefix}/{number}"));
            let made = futures::stream::iter(names).map(|name| async move {
                create(&node.consensus, group, &name).await.unwrap();
            });
            made.buffer_unordered(CREATES_AT_A_TIME).count().await;
        });
    }

    /// How a node answers a message without content.
    pub(crate) fn append_nothing(&self, id: u64, group: &str, target: u64) -> Code {
        let request = peer::AppendRequest {
            group: group.to_owned(),
            target,
            ..peer::AppendRequest::default()
        };
        let node = self.node(id);
        node.runtime.block_on(async {
            let dial: Arc<dyn Dial> = Arc::new(TcpDial);
            let secret = ClusterSecret::new(SECRET).unwrap();
            let peers = Peers::new(id, self.peers.clone(), secret, &dial).unwrap();
            let mut client = RaftClient::new(peers.channel(id).unwrap());
            client.append(request).await.unwrap_err().code()
        })
    }

    /// That many at the same time; returns how long all of them took.
    pub(crate) fn linearize_many(&self, id: u64, count: usize) -> Duration {
        let node = self.node(id);
        let started = Instant::now();
        node.runtime.block_on(async {
            let reads = (0..count).map(|_| node.consensus.linearize(&self.group.id));
            futures::future::try_join_all(reads).await.unwrap();
        });
        started.elapsed()
    }

    /// Writes `count` times on every living node but one.
    pub(crate) fn writers_beside(&self, spared: u64, round: usize, count: usize) -> Writers {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let nodes = self.alive().into_iter().filter(|id| *id != spared);
        let threads = nodes.map(|id| {
            let node = self.node(id);
            let (runtime, consensus) = (node.runtime.handle().clone(), node.consensus.clone());
            let (acknowledged, group) = (Arc::clone(&acknowledged), self.group.id.clone());
            std::thread::spawn(move || {
                for number in 0..count {
                    let name = format!("round-{round}/node-{id}/{number}");
                    if runtime.block_on(create(&consensus, &group, &name)).is_ok() {
                        acknowledged.lock().unwrap().push(name);
                    }
                }
            })
        });
        Writers {
            threads: threads.collect(),
            acknowledged,
        }
    }
}

impl Writers {
    /// What was acknowledged.
    pub(crate) fn join(self) -> Vec<String> {
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut self.acknowledged.lock().unwrap())
    }
}

async fn create(consensus: &Consensus, group: &GroupId, name: &str) -> Result<(), MetadataError> {
    let command = Command::CreateRepository(CreateRepository {
        account: ACCOUNT.to_owned(),
        repository: name.to_owned(),
        at_ms: 1,
        ..CreateRepository::default()
    });
    let response = consensus.propose(group, command).await?;
    response.into_result().expect("it is not refused");
    Ok(())
}

fn index(id: u64) -> usize {
    usize::try_from(id - 1).unwrap()
}
