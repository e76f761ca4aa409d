//! A fake node: the Admin service over lists in memory, with nothing behind it.
//!
//! It checks credentials and serves pages as `admin.proto` says, and it fails
//! on demand. It is no model of a cluster.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use entrepot_proto::admin::accounts_server::AccountsServer;
use entrepot_proto::admin::admin_server::{Admin, AdminServer};
use entrepot_proto::admin::cluster_server::ClusterServer;
use entrepot_proto::admin::collection_server::CollectionServer;
use entrepot_proto::admin::history_server::HistoryServer;
use entrepot_proto::admin::lifecycle_server::LifecycleServer;
use entrepot_proto::admin::replication_server::ReplicationServer;
use entrepot_proto::admin::trust_server::TrustServer;
use entrepot_proto::admin::usage_server::UsageServer;
use entrepot_proto::admin::webhooks_server::WebhooksServer;
use entrepot_proto::admin::{
    Account, Backfill, ClusterStatusReply, ClusterStatusRequest, CreateRepositoryReply,
    CreateRepositoryRequest, DeleteRepositoryReply, DeleteRepositoryRequest, DeleteRuleReply,
    DeleteRuleRequest, GetRegistrySettingsReply, GetRegistrySettingsRequest, GetRepositoryReply,
    GetRepositoryRequest, GroupStatus, Image, ListImagesReply, ListImagesRequest,
    ListRepositoriesReply, ListRepositoriesRequest, ListRulesReply, ListRulesRequest, NodeRepair,
    NodeScrub, NodeStatus, PutRegistrySettingsReply, PutRegistrySettingsRequest,
    PutRepositorySettingsReply, PutRepositorySettingsRequest, PutRuleReply, PutRuleRequest,
    Registry, RegistrySettings, RepairStatusReply, RepairStatusRequest, ReplicationStatusReply,
    ReplicationStatusRequest, ReplicationTask, Repository, RepositorySettings, Rule,
    RuleDestination, ScrubStart, ScrubStatusReply, ScrubStatusRequest, SetStorageClassReply,
    SetStorageClassRequest, StartScrubReply, StartScrubRequest, TaskState, WebhookStatus,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::fake_accounts::sample_accounts;
use crate::fake_lifecycle::sample_policy;
use crate::fake_nodes::{FakeCluster, sample_nodes};
use crate::fake_replication::sample_backfills;
use crate::fake_webhooks::sample_webhooks;

pub(crate) const USER: &str = "root";
pub(crate) const PASSWORD: &str = "correct horse";

/// `USER` and `PASSWORD` as HTTP Basic.
const AUTHORIZATION: &str = "Basic cm9vdDpjb3JyZWN0IGhvcnNl";

/// What the protocol allows in a page.
const PAGE_ITEMS_MAX: usize = 1000;

pub(crate) const HOUR_MS: i64 = 60 * 60 * 1000;

/// What the fake serves.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) cluster: ClusterStatusReply,
    pub(crate) registry: Option<Registry>,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) images: Vec<(String, Vec<Image>)>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) tasks: Vec<ReplicationTask>,
    pub(crate) scrubs: Vec<NodeScrub>,
    pub(crate) repairs: Vec<NodeRepair>,
    pub(crate) nodes: FakeCluster,
    pub(crate) accounts: Vec<Account>,
    pub(crate) webhooks: Vec<WebhookStatus>,
    pub(crate) backfills: Vec<Backfill>,
    /// Of `team/app`.
    pub(crate) policy: Option<String>,
    /// What is under way is there at the second look.
    pub(crate) arrives: bool,
    /// How the next calls fail; a call whose turn is `None` succeeds.
    pub(crate) failures: VecDeque<Option<Status>>,
    /// Names every page as the next of itself.
    pub(crate) circles: bool,
    /// Never answers.
    pub(crate) hangs: bool,
    /// Deadlines that came with the calls.
    pub(crate) deadlines: Vec<String>,
}

/// A running fake; dropped, it stops.
#[derive(Debug)]
pub(crate) struct Fake {
    address: std::net::SocketAddr,
    scheme: &'static str,
    pub(crate) state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Fake {
    pub(crate) async fn start(state: State) -> Self {
        Self::serve(state, Server::builder(), "http").await
    }

    /// Speaks TLS.
    pub(crate) async fn start_tls(state: State, tls: ServerTlsConfig) -> Self {
        let server = Server::builder().tls_config(tls).unwrap();
        Self::serve(state, server, "https").await
    }

    async fn serve(state: State, mut server: Server, scheme: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(state));
        let service = AdminServer::new(Service(Arc::clone(&state)));
        let cluster = ClusterServer::new(Service(Arc::clone(&state)));
        let trust = TrustServer::new(Service(Arc::clone(&state)));
        let accounts = AccountsServer::new(Service(Arc::clone(&state)));
        let webhooks = WebhooksServer::new(Service(Arc::clone(&state)));
        let replication = ReplicationServer::new(Service(Arc::clone(&state)));
        let usage = UsageServer::new(Service(Arc::clone(&state)));
        let history = HistoryServer::new(Service(Arc::clone(&state)));
        let collection = CollectionServer::new(Service(Arc::clone(&state)));
        let lifecycle = LifecycleServer::new(Service(Arc::clone(&state)));
        let server = tokio::spawn(async move {
            let incoming = TcpIncoming::from(listener);
            let server = server.add_service(service);
            let server = server.add_service(cluster).add_service(trust);
            let server = server.add_service(accounts).add_service(webhooks);
            let server = server.add_service(replication).add_service(lifecycle);
            let server = server.add_service(usage).add_service(history);
            let server = server.add_service(collection);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            address,
            scheme,
            state,
            server,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The time `hours` ago. Half a minute earlier still, so that what a test
/// expects to read does not depend on how fast it runs.
pub(crate) fn hours_ago_ms(hours: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap() - hours * HOUR_MS - 30_000
}

/// A small cluster with a bit of everything, times relative to now.
pub(crate) fn sample() -> State {
    State {
        cluster: sample_cluster(),
        nodes: sample_nodes(),
        accounts: sample_accounts(),
        webhooks: sample_webhooks(),
        backfills: sample_backfills(),
        policy: Some(sample_policy()),
        registry: Some(registry(true)),
        repositories: vec![
            repository("base/alpine", 50 * 24),
            repository("team/app", 3),
        ],
        images: vec![("team/app".to_owned(), sample_images())],
        rules: vec![
            rule("all", &[], "eu-west-1"),
            rule("nightly", &["team/", "base/"], "ap-1"),
        ],
        tasks: sample_tasks(),
        scrubs: sample_scrubs(),
        repairs: sample_repairs(),
        ..State::default()
    }
}

fn sample_cluster() -> ClusterStatusReply {
    let node = |id: u64, region: &str, alive| NodeStatus {
        id,
        region: region.to_owned(),
        peer_address: format!("10.0.0.{id}:5001"),
        alive,
    };
    let group = |group: &str, leader, voters: &[u64], learners: &[u64]| GroupStatus {
        group: group.to_owned(),
        leader,
        term: 3,
        applied: 1042,
        voters: voters.to_vec(),
        learners: learners.to_vec(),
    };
    ClusterStatusReply {
        node: 1,
        region: "us-east-1".to_owned(),
        account: "123456789012".to_owned(),
        nodes: vec![
            node(1, "us-east-1", true),
            node(2, "us-east-1", true),
            node(3, "eu-west-1", false),
        ],
        groups: vec![
            group("global/0", 0, &[1, 2, 3], &[]),
            group("region/us-east-1/0", 2, &[1, 2], &[4]),
        ],
        version: "0.1.0".to_owned(),
    }
}

fn sample_images() -> Vec<Image> {
    vec![
        Image {
            digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            tags: vec!["1.4".to_owned(), "latest".to_owned()],
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            size: 7 * 1024 * 1024 + 512 * 1024,
            pushed_at_ms: hours_ago_ms(5),
            ..Image::default()
        },
        Image {
            digest: format!("sha256:{}", "f".repeat(64)),
            tags: vec![],
            media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
            size: 611,
            pushed_at_ms: hours_ago_ms(72),
            archived: true,
            last_archived_at_ms: Some(hours_ago_ms(1)),
            ..Image::default()
        },
    ]
}

fn sample_tasks() -> Vec<ReplicationTask> {
    let task = |tag: &str, state: TaskState, took_ms, reason: &str| {
        let created_at_ms = hours_ago_ms(2);
        ReplicationTask {
            repository: "team/app".to_owned(),
            digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            tag: tag.to_owned(),
            destination_region: "eu-west-1".to_owned(),
            state: state.into(),
            created_at_ms,
            ended_at_ms: if took_ms == 0 {
                0
            } else {
                created_at_ms + took_ms
            },
            reason: reason.to_owned(),
            destination_account: String::new(),
        }
    };
    let mut other = task("", TaskState::InProgress, 0, "");
    "base/alpine".clone_into(&mut other.repository);
    vec![
        other,
        task("1.4", TaskState::Complete, 1250, ""),
        task(
            "latest",
            TaskState::Failed,
            40_000,
            "the destination\ndenies it",
        ),
    ]
}

fn sample_scrubs() -> Vec<NodeScrub> {
    vec![
        NodeScrub {
            node: 1,
            answered: true,
            running: true,
            started_at_ms: hours_ago_ms(1),
            verified_blobs: 1042,
            verified_bytes: 7 * 1024 * 1024,
            permille: 250,
            remaining_ms: 3 * 60 * 60 * 1000,
            damaged: 2,
            repaired: 1,
            ..NodeScrub::default()
        },
        NodeScrub {
            node: 2,
            answered: true,
            last_ended_at_ms: hours_ago_ms(72),
            ..NodeScrub::default()
        },
        NodeScrub {
            node: 3,
            ..NodeScrub::default()
        },
    ]
}

fn sample_repairs() -> Vec<NodeRepair> {
    vec![
        NodeRepair {
            node: 1,
            answered: true,
            whole_at_ms: hours_ago_ms(4),
            missing_blobs: 12,
            missing_bytes: 5 * 1024 * 1024 * 1024,
            fetched_blobs: 30,
            fetched_bytes: 10 * 1024 * 1024 * 1024,
            remaining_ms: 80_000,
            failing_blobs: 1,
            surplus_dropped: 3,
            cached_bytes: 512 * 1024 * 1024,
            cache_limit_bytes: 10 * 1024 * 1024 * 1024,
            lost_nodes: vec![4],
        },
        NodeRepair {
            node: 2,
            answered: true,
            whole_at_ms: hours_ago_ms(2),
            ..NodeRepair::default()
        },
        NodeRepair {
            node: 3,
            ..NodeRepair::default()
        },
    ]
}

pub(crate) fn registry(create_on_push: bool) -> Registry {
    Registry {
        account: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        settings: Some(RegistrySettings {
            create_on_push: Some(create_on_push),
            repositories_max: Some(100_000),
            images_max: Some(20_000),
            tags_max: Some(1_000),
            layer_parts_max: Some(4_200),
            layer_bytes_max: Some(52_000 * 1024 * 1024),
            undelete_window_s: Some(7 * 24 * 60 * 60),
            bytes_max: Some(500 << 30),
            ..RegistrySettings::default()
        }),
        repositories: Some(214),
        bytes: Some(100 << 30),
        images: Some(1_200),
    }
}

pub(crate) fn repository(name: &str, age_hours: i64) -> Repository {
    Repository {
        name: name.to_owned(),
        created_at_ms: hours_ago_ms(age_hours),
        settings: Some(RepositorySettings {
            sparse_indexes: Some(false),
            ..RepositorySettings::default()
        }),
        ..Repository::default()
    }
}

pub(crate) fn rule(id: &str, prefixes: &[&str], to: &str) -> Rule {
    Rule {
        id: id.to_owned(),
        prefixes: prefixes.iter().map(ToString::to_string).collect(),
        destination_region: String::new(),
        destinations: vec![RuleDestination {
            region: to.to_owned(),
            account: String::new(),
        }],
        options: None,
    }
}

#[derive(Debug)]
pub(crate) struct Service(pub(crate) Arc<Mutex<State>>);

impl Service {
    /// What every call begins with.
    pub(crate) async fn enter<T>(&self, request: Request<T>) -> Result<T, Status> {
        let hangs = {
            let mut state = self.0.lock().unwrap();
            if let Some(deadline) = request.metadata().get("grpc-timeout") {
                state.deadlines.push(deadline.to_str().unwrap().to_owned());
            }
            state.hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        match request.metadata().get("authorization") {
            Some(given) if given == AUTHORIZATION => {}
            _ => return Err(Status::unauthenticated("who are you?")),
        }
        match self.0.lock().unwrap().failures.pop_front().flatten() {
            Some(failure) => Err(failure),
            None => Ok(request.into_inner()),
        }
    }

    /// The page after the item of index `after` (a number, here), and the next.
    fn page<T: Clone>(&self, all: &[T], after: &str, limit: u32) -> (Vec<T>, String) {
        let first: usize = after.parse().unwrap_or(0);
        let limit = (limit as usize).min(PAGE_ITEMS_MAX);
        let end = (first + limit).min(all.len());
        let next = if end < all.len() {
            end.to_string()
        } else {
            String::new()
        };
        let next = if self.0.lock().unwrap().circles {
            "0".to_owned()
        } else {
            next
        };
        (all[first..end].to_vec(), next)
    }
}

pub(crate) type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Admin for Service {
    async fn cluster_status(&self, r: Request<ClusterStatusRequest>) -> Answer<ClusterStatusReply> {
        self.enter(r).await?;
        Ok(Response::new(self.0.lock().unwrap().cluster.clone()))
    }

    async fn get_registry_settings(
        &self,
        request: Request<GetRegistrySettingsRequest>,
    ) -> Answer<GetRegistrySettingsReply> {
        self.enter(request).await?;
        let registry = self.0.lock().unwrap().registry.clone();
        Ok(Response::new(GetRegistrySettingsReply { registry }))
    }

    async fn put_registry_settings(
        &self,
        request: Request<PutRegistrySettingsRequest>,
    ) -> Answer<PutRegistrySettingsReply> {
        let given = self.enter(request).await?.settings.unwrap();
        let registry = &mut self.0.lock().unwrap().registry;
        let settings = registry.as_mut().unwrap().settings.as_mut().unwrap();
        settings.create_on_push = given.create_on_push.or(settings.create_on_push);
        let registry = registry.clone();
        Ok(Response::new(PutRegistrySettingsReply { registry }))
    }

    async fn create_repository(
        &self,
        request: Request<CreateRepositoryRequest>,
    ) -> Answer<CreateRepositoryReply> {
        let name = self.enter(request).await?.name;
        let repositories = &mut self.0.lock().unwrap().repositories;
        let created = repositories.iter().all(|known| known.name != name);
        if created {
            repositories.push(repository(&name, 0));
        }
        Ok(Response::new(CreateRepositoryReply { created }))
    }

    /// In two parts, if there are images.
    async fn delete_repository(
        &self,
        request: Request<DeleteRepositoryRequest>,
    ) -> Answer<DeleteRepositoryReply> {
        let request = self.enter(request).await?;
        let mut state = self.0.lock().unwrap();
        let mut known = state.repositories.iter();
        let found = known.position(|known| known.name == request.name);
        let found = found.ok_or_else(|| Status::not_found("no such repository"))?;
        let full = request.name == "team/app" && !state.images.is_empty();
        if full && !request.force {
            return Err(Status::failed_precondition("it has images"));
        }
        if full && !state.repositories[found].deleting {
            assert!(!request.goes_on);
            state.repositories[found].deleting = true;
            return Ok(Response::new(DeleteRepositoryReply {
                manifests: 10,
                tags: 3,
                more: true,
            }));
        }
        state.repositories.remove(found);
        let manifests = if full { 2 } else { 0 };
        Ok(Response::new(DeleteRepositoryReply {
            manifests,
            tags: 0,
            more: false,
        }))
    }

    async fn get_repository(
        &self,
        request: Request<GetRepositoryRequest>,
    ) -> Answer<GetRepositoryReply> {
        let name = self.enter(request).await?.name;
        let repositories = &self.0.lock().unwrap().repositories;
        let found = repositories.iter().find(|known| known.name == name);
        let found = found.ok_or_else(|| Status::not_found("no such repository"))?;
        let repository = Some(found.clone());
        Ok(Response::new(GetRepositoryReply { repository }))
    }

    async fn put_repository_settings(
        &self,
        request: Request<PutRepositorySettingsRequest>,
    ) -> Answer<PutRepositorySettingsReply> {
        let request = self.enter(request).await?;
        let given = request.settings.unwrap();
        let repositories = &mut self.0.lock().unwrap().repositories;
        let mut known = repositories.iter_mut();
        let found = known.find(|known| known.name == request.name);
        let found = found.ok_or_else(|| Status::not_found("no such repository"))?;
        let settings = found.settings.as_mut().unwrap();
        settings.sparse_indexes = given.sparse_indexes.or(settings.sparse_indexes);
        settings.bytes_max = given.bytes_max.or(settings.bytes_max);
        settings.images_max = given.images_max.or(settings.images_max);
        let repository = Some(found.clone());
        Ok(Response::new(PutRepositorySettingsReply { repository }))
    }

    async fn list_repositories(
        &self,
        request: Request<ListRepositoriesRequest>,
    ) -> Answer<ListRepositoriesReply> {
        let request = self.enter(request).await?;
        let all = self.0.lock().unwrap().repositories.clone();
        let (repositories, next) = self.page(&all, &request.after, request.limit);
        Ok(Response::new(ListRepositoriesReply { repositories, next }))
    }

    async fn list_images(&self, request: Request<ListImagesRequest>) -> Answer<ListImagesReply> {
        let request = self.enter(request).await?;
        let known = self.0.lock().unwrap().images.clone();
        let Some((_, all)) = known.iter().find(|(name, _)| *name == request.repository) else {
            return Err(Status::not_found("no such repository"));
        };
        let (images, next) = self.page(all, &request.after, request.limit);
        Ok(Response::new(ListImagesReply { images, next }))
    }

    async fn put_rule(&self, request: Request<PutRuleRequest>) -> Answer<PutRuleReply> {
        let rule = self.enter(request).await?.rule.unwrap();
        let rules = &mut self.0.lock().unwrap().rules;
        let before = rules.len();
        rules.retain(|other| other.id != rule.id);
        let replaced = rules.len() < before;
        rules.push(rule);
        Ok(Response::new(PutRuleReply { replaced }))
    }

    async fn list_rules(&self, request: Request<ListRulesRequest>) -> Answer<ListRulesReply> {
        self.enter(request).await?;
        let rules = self.0.lock().unwrap().rules.clone();
        Ok(Response::new(ListRulesReply { rules }))
    }

    async fn delete_rule(&self, request: Request<DeleteRuleRequest>) -> Answer<DeleteRuleReply> {
        let id = self.enter(request).await?.id;
        let rules = &mut self.0.lock().unwrap().rules;
        let Some(position) = rules.iter().position(|rule| rule.id == id) else {
            return Err(Status::not_found("no such rule"));
        };
        rules.remove(position);
        Ok(Response::new(DeleteRuleReply {}))
    }

    async fn replication_status(
        &self,
        request: Request<ReplicationStatusRequest>,
    ) -> Answer<ReplicationStatusReply> {
        let request = self.enter(request).await?;
        let mut all = self.0.lock().unwrap().tasks.clone();
        if !request.repository.is_empty() {
            all.retain(|task| task.repository == request.repository);
        }
        let (tasks, next) = self.page(&all, &request.after, request.limit);
        Ok(Response::new(ReplicationStatusReply { tasks, next }))
    }

    async fn start_scrub(&self, request: Request<StartScrubRequest>) -> Answer<StartScrubReply> {
        let wanted = self.enter(request).await?.node;
        let scrubs = &self.0.lock().unwrap().scrubs;
        let nodes: Vec<ScrubStart> = scrubs
            .iter()
            .filter(|scrub| wanted == 0 || scrub.node == wanted)
            .map(|scrub| ScrubStart {
                node: scrub.node,
                answered: scrub.answered,
                started: scrub.answered && !scrub.running,
            })
            .collect();
        if nodes.is_empty() {
            return Err(Status::not_found("no such node"));
        }
        Ok(Response::new(StartScrubReply { nodes }))
    }

    async fn scrub_status(&self, r: Request<ScrubStatusRequest>) -> Answer<ScrubStatusReply> {
        self.enter(r).await?;
        let nodes = self.0.lock().unwrap().scrubs.clone();
        Ok(Response::new(ScrubStatusReply { nodes }))
    }

    async fn repair_status(&self, r: Request<RepairStatusRequest>) -> Answer<RepairStatusReply> {
        self.enter(r).await?;
        let nodes = self.0.lock().unwrap().repairs.clone();
        Ok(Response::new(RepairStatusReply { nodes }))
    }

    async fn set_storage_class(
        &self,
        r: Request<SetStorageClassRequest>,
    ) -> Answer<SetStorageClassReply> {
        let request = self.enter(r).await?;
        let state = self.0.lock().unwrap();
        let mut images = state.images.iter().flat_map(|(_, images)| images);
        let found = images.find(|image| {
            image.digest == request.reference || image.tags.contains(&request.reference)
        });
        let image = found.ok_or_else(|| Status::not_found("manifest does not exist"))?;
        Ok(Response::new(SetStorageClassReply {
            image: Some(image.clone()),
            moved: if image.archived == request.archive {
                0
            } else {
                2
            },
            left: false,
        }))
    }
}
