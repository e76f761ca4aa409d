//! Nodes as a real process puts them together, but for Raft: every node of the
//! cluster sees the same metadata in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_access::Verifier;
use entrepot_blobs::{BlobStore, FileStore, MemoryStore};
use entrepot_metadata::command::CreateAccount;
use entrepot_metadata::query::{self, Blob};
use entrepot_metadata::{GroupId, LocalMetadata, Metadata, invariants};
use entrepot_oci::{Digest, Reference, RegionName, RepositoryName};
use entrepot_proto::environment::{Blocking, Clock, SystemClock};
use entrepot_proto::peer::blobs_server::BlobsServer as BlobsService;
use entrepot_proto::peer::members_server::MembersServer as MembersService;
use entrepot_proto::peer::node_server::NodeServer as NodeService;
use entrepot_proto::peer::replication_server::ReplicationServer as ReplicationService;
use entrepot_proto::peer::uploads_server::UploadsServer as UploadsService;
use entrepot_proto::peers::{
    CONNECTION_WINDOW_BYTES, ClusterSecret, MESSAGE_BYTES_MAX, PeerInfo, Peers, STREAM_WINDOW_BYTES,
};
use entrepot_replication::health::Health;
use entrepot_replication::outbox::Outbox;
use entrepot_replication::placement;
use entrepot_replication::repair::Repair;
use entrepot_replication::replica::ReplicaServer;
use entrepot_replication::replica::through::ReadThrough;
use entrepot_replication::server::{BlobsServer, PingServer};
use entrepot_replication::{ClusterBlobs, CopyLimits};
use entrepot_service::cluster::{ClusterView, GroupInfo};
use entrepot_service::peer::UploadsServer;
use entrepot_service::{
    Caller, Courier, Destination, ManifestPush, MembersServer, NoCourier, Principal, Registry,
    RegistryParts, RuleInfo, Settings, Task, Throttling,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use crate::content::{body, eventually, image, read, sha256};
use crate::network::Network;

pub(crate) const EAST: &str = "us-east-1";
pub(crate) const WEST: &str = "eu-west-1";
pub(crate) const SOUTH: &str = "ap-south-1";

/// What the nodes are to be like.
pub(crate) struct Plan {
    regions: Vec<(RegionName, u64)>,
    limits: CopyLimits,
    upload_expiry: Duration,
    /// Instead of memory, by node.
    stores: BTreeMap<u64, Arc<dyn BlobStore>>,
    /// Instead of what all share, by node.
    views: BTreeMap<u64, Arc<dyn Metadata>>,
    metadata: Arc<LocalMetadata>,
    courier: Arc<dyn Courier>,
    keeping_unnamed: Option<Duration>,
    clock: Arc<dyn Clock>,
    cluster_clock: Arc<dyn Clock>,
}

/// Running nodes; dropped, they are gone.
pub(crate) struct Cluster {
    pub(crate) network: Arc<Network>,
    pub(crate) metadata: Arc<LocalMetadata>,
    nodes: BTreeMap<u64, Node>,
    /// Servers and what else nodes do by themselves.
    work: JoinSet<()>,
}

pub(crate) struct Node {
    pub(crate) id: u64,
    /// Where its blobs are, unless the plan says otherwise.
    pub(crate) memory: MemoryStore,
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) health: Arc<Health>,
    pub(crate) blobs: Arc<ClusterBlobs>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metadata: Arc<dyn Metadata>,
    pub(crate) replica: ReplicaServer,
    pub(crate) through: Arc<ReadThrough>,
    group: GroupId,
}

/// Consensus has nothing to tell here.
#[derive(Debug)]
struct NoGroups;

impl ClusterView for NoGroups {
    fn groups(&self) -> Vec<GroupInfo> {
        Vec::new()
    }
}

// === names ===

pub(crate) fn root() -> Caller {
    Caller::of(Principal::root("123456789012".parse().unwrap()))
}

pub(crate) fn app() -> RepositoryName {
    "team/app".parse().unwrap()
}

pub(crate) fn tag(name: &str) -> Reference {
    name.parse().unwrap()
}

pub(crate) fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

pub(crate) fn group(name: &str) -> GroupId {
    GroupId::region(region(name))
}

// === impl Plan ===

impl Plan {
    /// Regions with that many nodes each, whose ids count from 1.
    pub(crate) fn new(regions: &[(&str, u64)]) -> Self {
        let regions: Vec<_> = regions
            .iter()
            .map(|(name, nodes)| (region(name), *nodes))
            .collect();
        let groups = regions
            .iter()
            .map(|(name, _)| GroupId::region(name.clone()));
        let metadata = LocalMetadata::new(groups.chain([GroupId::global()]));
        Self {
            regions,
            limits: CopyLimits::default(),
            upload_expiry: Duration::from_mins(1),
            stores: BTreeMap::new(),
            views: BTreeMap::new(),
            metadata: Arc::new(metadata),
            courier: Arc::new(NoCourier),
            keeping_unnamed: None,
            clock: clock(),
            cluster_clock: clock(),
        }
    }

    pub(crate) fn copies(mut self, copies: usize) -> Self {
        self.limits.copies = copies;
        self
    }

    pub(crate) fn limits(mut self, limits: CopyLimits) -> Self {
        self.limits = limits;
        self
    }

    pub(crate) fn upload_expiry(mut self, expiry: Duration) -> Self {
        self.upload_expiry = expiry;
        self
    }

    /// For how long bytes are kept that came along with an upload of another region.
    pub(crate) fn keeping_unnamed(mut self, time: Duration) -> Self {
        self.keeping_unnamed = Some(time);
        self
    }

    /// What the nodes' own machines say, which is not what most of them say.
    pub(crate) fn own_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// What most nodes take for the time.
    pub(crate) fn cluster_clock(mut self, clock: &Arc<impl Clock + 'static>) -> Self {
        self.cluster_clock = Arc::<_>::clone(clock) as Arc<dyn Clock>;
        self
    }

    pub(crate) fn courier(mut self, courier: &Arc<impl Courier + 'static>) -> Self {
        self.courier = Arc::<_>::clone(courier) as Arc<dyn Courier>;
        self
    }

    pub(crate) fn store(mut self, node: u64, store: impl BlobStore) -> Self {
        self.stores.insert(node, Arc::new(store));
        self
    }

    /// Lets `node` see the metadata through what `make` makes of it.
    pub(crate) fn view<M: Metadata>(
        mut self,
        node: u64,
        make: impl FnOnce(Arc<LocalMetadata>) -> Arc<M>,
    ) -> Self {
        self.views.insert(node, make(Arc::clone(&self.metadata)));
        self
    }

    pub(crate) async fn start(self) -> Cluster {
        let network = Arc::new(Network::default());
        let mut peers = Vec::new();
        let mut listeners = Vec::new();
        let mut id = 0;
        for (region, nodes) in &self.regions {
            for _ in 0..*nodes {
                id += 1;
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap().to_string();
                network.add(id, &address);
                listeners.push((id, listener));
                peers.push(PeerInfo {
                    id,
                    region: region.clone(),
                    address,
                });
            }
        }
        let mut work = JoinSet::new();
        let mut nodes = BTreeMap::new();
        for (id, listener) in listeners {
            let dial = network.dial_from(id);
            let peers = Peers::new(id, peers.clone(), secret(), &dial).unwrap();
            let node = self.node(Arc::new(peers));
            work.spawn(serve(&node, listener));
            nodes.insert(id, node);
        }
        Cluster {
            network,
            metadata: self.metadata,
            nodes,
            work,
        }
    }

    fn node(&self, peers: Arc<Peers>) -> Node {
        let id = peers.own().id;
        let memory = MemoryStore::new();
        let store = match self.stores.get(&id) {
            Some(store) => Arc::clone(store),
            None => Arc::new(memory.clone()),
        };
        let metadata = match self.views.get(&id) {
            Some(view) => Arc::clone(view),
            None => Arc::<LocalMetadata>::clone(&self.metadata),
        };
        let health = Health::new(Arc::clone(&peers));
        let blobs = ClusterBlobs::with_limits(
            Arc::clone(&store),
            Arc::clone(&peers),
            Arc::clone(&health),
            self.limits,
        );
        let registry = Registry::new(RegistryParts {
            metadata: Arc::clone(&metadata),
            blobs: Arc::clone(&blobs),
            peers: Arc::clone(&peers),
            clock: Arc::clone(&self.clock),
            cluster_clock: Arc::clone(&self.cluster_clock),
            view: Arc::new(NoGroups),
            verifier: Verifier::new().unwrap(),
            settings: Settings {
                upload_expiry: self.upload_expiry,
                throttling: Throttling::default(),
            },
            blocking: Blocking::Threads,
            trust: None,
            courier: Arc::clone(&self.courier),
        });
        let mut replica = ReplicaServer::new(
            Arc::clone(&blobs),
            Arc::clone(&metadata),
            clock(),
            Arc::<Registry>::clone(&registry),
        );
        if let Some(time) = self.keeping_unnamed {
            replica = replica.keeping_unnamed(time);
        }
        let through = ReadThrough::new(&replica);
        registry.read_through(&through);
        Node {
            replica,
            through,
            id,
            memory,
            store,
            health,
            blobs,
            registry,
            metadata,
            group: GroupId::region(peers.own().region.clone()),
            peers,
        }
    }
}

fn secret() -> ClusterSecret {
    ClusterSecret::new(&"5".repeat(64)).unwrap()
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// The peer port of a node.
fn serve(node: &Node, listener: TcpListener) -> impl Future<Output = ()> + Send + use<> {
    let secret = secret();
    let check = move |request| secret.check(request);
    let blobs = BlobsService::new(BlobsServer::new(Arc::clone(&node.blobs)))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let uploads = UploadsService::new(UploadsServer::new(Arc::clone(&node.registry)))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let replica = node.replica.clone();
    let replica = ReplicationService::new(replica).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let ping = NodeService::new(PingServer::new(
        node.peers.own().clone(),
        Arc::clone(&node.health),
        Arc::clone(&node.metadata),
        Vec::new(),
        clock(),
    ));
    let members = MembersService::new(MembersServer::new(Arc::clone(&node.registry)));
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(InterceptedService::new(ping, check.clone()))
        .add_service(InterceptedService::new(blobs, check.clone()))
        .add_service(InterceptedService::new(members, check.clone()))
        .add_service(InterceptedService::new(uploads, check.clone()))
        .add_service(InterceptedService::new(replica, check))
        .serve_with_incoming(TcpListenerStream::new(listener));
    async move { server.await.unwrap() }
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn node(&self, id: u64) -> &Node {
        &self.nodes[&id]
    }

    /// Makes the account of [`root`], which is the first; it has no password.
    #[must_use]
    pub(crate) async fn with_account(self) -> Self {
        let command = CreateAccount::new(&root().principal.account, "root", "no password", 1);
        let global = GroupId::global();
        let made = self.metadata.propose(&global, command.into());
        made.await.unwrap().into_result().unwrap();
        self
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Something that a node does by itself.
    pub(crate) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.work.spawn(work);
    }

    /// Lets all nodes ping each other.
    pub(crate) fn start_health(&mut self) {
        for node in self.nodes.values() {
            self.work.spawn(Arc::clone(&node.health).run());
        }
    }

    /// Lets all nodes work on their share of the outbox.
    pub(crate) fn start_outbox(&mut self) {
        for node in self.nodes.values() {
            let blobs = Arc::clone(&node.blobs);
            let outbox = Outbox::new(blobs, Arc::clone(&node.metadata), clock());
            self.work.spawn(Arc::clone(&outbox).ask_for_the_denied());
            self.work.spawn(Arc::clone(&outbox).send_settings());
            self.work.spawn(outbox.run());
        }
    }

    /// Lets all nodes fetch what they lack.
    pub(crate) fn start_repair(&mut self) {
        for node in self.nodes.values() {
            self.work.spawn(node.repair().run());
        }
    }

    /// Lets all nodes remove idle uploads.
    pub(crate) fn start_sweep(&mut self) {
        for node in self.nodes.values() {
            self.work.spawn(Arc::clone(&node.registry).sweep_uploads());
        }
    }

    /// Ids of the nodes that have a copy.
    pub(crate) async fn holders(&self, digest: &Digest) -> Vec<u64> {
        let mut holders = Vec::new();
        for node in self.nodes() {
            if node.store.stat(digest).await.unwrap().is_some() {
                holders.push(node.id);
            }
        }
        holders
    }

    /// That no node keeps any blob, nor anything staged.
    pub(crate) async fn keeps_nothing(&self) {
        eventually("nothing is staged", async || {
            self.nodes().all(|node| node.memory.staged() == 0)
        })
        .await;
        for node in self.nodes() {
            assert_eq!(node.store.list(None, 10).await.unwrap(), [], "{}", node.id);
        }
    }

    /// Copies every push from `from` to `to`.
    pub(crate) async fn replicate(&self, from: &str, to: &str) {
        let to_region = Destination::new(&region(to), &root().principal.account);
        let rule = RuleInfo::new(&format!("to-{to}"), vec![to_region]);
        self.first_of(from)
            .registry
            .put_rule(&root(), &rule)
            .await
            .unwrap();
    }

    pub(crate) fn first_of(&self, name: &str) -> &Node {
        let group = group(name);
        self.nodes().find(|node| node.group == group).unwrap()
    }

    /// The replication tasks of a region, open and ended.
    pub(crate) async fn tasks(&self, name: &str) -> Vec<Task> {
        let registry = &self.first_of(name).registry;
        let mut tasks = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = registry
                .replication_status(&root(), None, after.as_deref(), Some(1_000))
                .await
                .unwrap();
            tasks.extend(page.tasks);
            after = page.next;
            if after.is_none() {
                return tasks;
            }
        }
    }

    /// That the metadata of a region holds together.
    pub(crate) fn check(&self, name: &str) {
        invariants::check(&self.metadata.state(&group(name)).unwrap()).unwrap();
    }
}

// === impl Node ===

impl Node {
    pub(crate) async fn push(&self, content: &Bytes) -> Digest {
        let digest = sha256(content);
        let length = Some(content.len() as u64);
        let pushed = self
            .registry
            .push_blob(&root(), &app(), digest, length, body(content))
            .await
            .unwrap();
        assert_eq!(pushed.digest, digest);
        assert_eq!(pushed.size, content.len() as u64);
        digest
    }

    /// Pushes blobs and an image of them.
    pub(crate) async fn push_image(&self, name: &str, blobs: &[Bytes]) -> Digest {
        let mut named = Vec::new();
        for content in blobs {
            named.push((self.push(content).await, content.len()));
        }
        self.put_manifest(name, &image(&named)).await
    }

    /// `name`: a tag or a digest.
    pub(crate) async fn put_manifest(&self, name: &str, content: &Bytes) -> Digest {
        let put = self
            .registry
            .put_manifest(
                &root(),
                &app(),
                ManifestPush::new(&tag(name), content.clone()),
            )
            .await;
        put.unwrap().digest
    }

    /// The digest of the manifest that a tag points to.
    pub(crate) async fn tagged(&self, name: &str) -> Option<Digest> {
        let found = self
            .registry
            .get_manifest(&root(), &app(), &tag(name))
            .await;
        found.ok().map(|manifest| manifest.digest)
    }

    /// A blob's bytes, as a client pulls them.
    pub(crate) async fn pull(&self, digest: &Digest) -> std::io::Result<Bytes> {
        let opened = self.registry.open_blob(&root(), &app(), digest, None).await;
        let (info, content) = opened.map_err(std::io::Error::other)?;
        assert_eq!(info.digest, *digest);
        read(content).await
    }

    /// What the metadata knows of a blob.
    pub(crate) fn known(&self, digest: &Digest) -> Option<Blob> {
        let view = self.metadata.view(&self.group).unwrap();
        query::blob(view.as_ref(), digest).unwrap()
    }

    pub(crate) async fn holds(&self, digest: &Digest) -> bool {
        self.store.stat(digest).await.unwrap().is_some()
    }

    pub(crate) fn repair(&self) -> Repair {
        Repair::new(Arc::clone(&self.blobs), Arc::clone(&self.metadata), clock())
    }

    /// The other nodes of the region in the order in which this one asks them
    /// for a blob that they all hold.
    pub(crate) fn sources(&self, digest: &Digest) -> Vec<u64> {
        let region = &self.peers.own().region;
        let all = self.peers.in_region(region);
        let mut ranked = placement::ranked(digest.to_string().as_bytes(), all);
        ranked.retain(|node| *node != self.id);
        ranked
    }
}

/// A store of files in `directory`.
pub(crate) async fn files(directory: &Path) -> FileStore {
    FileStore::open(directory).await.unwrap()
}
