//! One node's Admin service, asked with credentials and a deadline on each call.
//!
//! It keeps two promises: no call waits longer than the timeout, and a list is
//! whole or an error, never the first page alone.

mod accounts;
mod collection;
mod history;
mod image;
mod lifecycle;
mod nodes;
mod replication;
mod trust;
mod usage;
mod webhooks;

pub(crate) use self::nodes::Counted;

use std::time::Duration;

use entrepot_oci::AccountId;
use entrepot_proto::admin::accounts_client::AccountsClient;
use entrepot_proto::admin::admin_client::AdminClient;
use entrepot_proto::admin::cluster_client::ClusterClient;
use entrepot_proto::admin::collection_client::CollectionClient;
use entrepot_proto::admin::history_client::HistoryClient;
use entrepot_proto::admin::lifecycle_client::LifecycleClient;
use entrepot_proto::admin::replication_client::ReplicationClient;
use entrepot_proto::admin::trust_client::TrustClient;
use entrepot_proto::admin::usage_client::UsageClient;
use entrepot_proto::admin::webhooks_client::WebhooksClient;
use entrepot_proto::admin::{
    ClusterStatusReply, ClusterStatusRequest, CreateRepositoryRequest, DeleteRepositoryReply,
    DeleteRepositoryRequest, DeleteRuleRequest, GetRegistrySettingsRequest, GetRepositoryRequest,
    Image, ListImagesRequest, ListRepositoriesRequest, ListRulesRequest, NodeRepair, NodeScrub,
    PutRegistrySettingsRequest, PutRepositorySettingsRequest, PutRuleRequest, Registry,
    RegistrySettings, RepairStatusRequest, ReplicationStatusRequest, ReplicationTask, Repository,
    RepositorySettings, Rule, ScrubStart, ScrubStatusRequest, StartScrubRequest,
};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::arguments::Connection;
use crate::credentials::Credentials;
use crate::endpoint::EndpointUrl;
use crate::failure::{self, Effect, Failure};
use crate::trust as authorities;

/// A node on the same planet accepts within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a page is asked to hold: the protocol's upper limit.
const PAGE_ITEMS: u32 = 1000;

/// Ends a listing by a node that never does: ten million items.
const PAGES_MAX: usize = 10_000;

/// A page of images with very many tags stays below this.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A connection to one node.
pub(crate) struct Client {
    admin: AdminClient<Channel>,
    cluster: ClusterClient<Channel>,
    trust: TrustClient<Channel>,
    accounts: AccountsClient<Channel>,
    webhooks: WebhooksClient<Channel>,
    replication: ReplicationClient<Channel>,
    lifecycle: LifecycleClient<Channel>,
    usage: UsageClient<Channel>,
    history: HistoryClient<Channel>,
    collection: CollectionClient<Channel>,
    endpoint: EndpointUrl,
    credentials: Credentials,
    timeout: Duration,
}

const NO_REGISTRY: Failure = Failure::Nonsense("an answer about no registry");
const NO_REPOSITORY: Failure = Failure::Nonsense("an answer about no repository");

/// A page's items, and where the next page starts; empty: there is none.
type Page<T> = (Vec<T>, String);

impl Client {
    pub(crate) async fn connect(
        options: &Connection,
        credentials: Credentials,
    ) -> Result<Self, Failure> {
        let unreachable = |reason: String| Failure::Unreachable {
            endpoint: options.endpoint.clone(),
            reason,
        };
        let limit = CONNECT_TIMEOUT.min(options.timeout);
        let mut endpoint = Endpoint::from(options.endpoint.uri());
        if let Some(tls) = authorities::tls(options)? {
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| unreachable(failure::reason(&error)))?;
        }
        let channel = match timeout(limit, endpoint.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(Failure::from_connect(&error, &options.endpoint)),
            Err(_) => {
                let limit = humantime::format_duration(limit);
                return Err(unreachable(format!("no connection within {limit}")));
            }
        };
        Ok(Self {
            cluster: ClusterClient::new(channel.clone()),
            trust: TrustClient::new(channel.clone()),
            accounts: AccountsClient::new(channel.clone()),
            webhooks: WebhooksClient::new(channel.clone()),
            replication: ReplicationClient::new(channel.clone()),
            usage: UsageClient::new(channel.clone()).max_decoding_message_size(REPLY_BYTES_MAX),
            history: HistoryClient::new(channel.clone()).max_decoding_message_size(REPLY_BYTES_MAX),
            collection: CollectionClient::new(channel.clone())
                .max_decoding_message_size(REPLY_BYTES_MAX),
            lifecycle: LifecycleClient::new(channel.clone())
                .max_decoding_message_size(REPLY_BYTES_MAX),
            admin: AdminClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX),
            endpoint: options.endpoint.clone(),
            credentials,
            timeout: options.timeout,
        })
    }

    pub(crate) async fn cluster_status(&self) -> Result<ClusterStatusReply, Failure> {
        let request = ClusterStatusRequest {};
        self.call(Effect::Reads, request, async |mut admin, request| {
            admin.cluster_status(request).await
        })
        .await
    }

    /// The registry and its settings.
    pub(crate) async fn registry(&self, account: Option<AccountId>) -> Result<Registry, Failure> {
        let account = account.map(|it| it.to_string()).unwrap_or_default();
        let request = GetRegistrySettingsRequest { account };
        let reply = self
            .call(Effect::Reads, request, async |mut admin, request| {
                admin.get_registry_settings(request).await
            })
            .await?;
        reply.registry.ok_or(NO_REGISTRY)
    }

    /// The registry after `settings` were changed: those that are given.
    pub(crate) async fn put_registry_settings(
        &self,
        settings: RegistrySettings,
        account: Option<AccountId>,
    ) -> Result<Registry, Failure> {
        let request = PutRegistrySettingsRequest {
            settings: Some(settings),
            account: account.map(|it| it.to_string()).unwrap_or_default(),
        };
        let reply = self
            .call(
                Effect::ChangesRegistry,
                request,
                async |mut admin, request| admin.put_registry_settings(request).await,
            )
            .await?;
        reply.registry.ok_or(NO_REGISTRY)
    }

    /// Whether there was none of that name.
    pub(crate) async fn create_repository(&self, name: &str) -> Result<bool, Failure> {
        let request = CreateRepositoryRequest {
            name: name.to_owned(),
        };
        let reply = self
            .call(
                Effect::ChangesRepositories,
                request,
                async |mut admin, request| admin.create_repository(request).await,
            )
            .await?;
        Ok(reply.created)
    }

    /// One part of a repository's deletion. `goes_on`: it was begun.
    pub(crate) async fn delete_repository(
        &self,
        name: &str,
        force: bool,
        goes_on: bool,
    ) -> Result<DeleteRepositoryReply, Failure> {
        let request = DeleteRepositoryRequest {
            name: name.to_owned(),
            force,
            goes_on,
        };
        self.call(
            Effect::ChangesRepositories,
            request,
            async |mut admin, request| admin.delete_repository(request).await,
        )
        .await
    }

    /// A repository and its settings.
    pub(crate) async fn repository(&self, name: &str) -> Result<Repository, Failure> {
        let request = GetRepositoryRequest {
            name: name.to_owned(),
        };
        let reply = self
            .call(Effect::Reads, request, async |mut admin, request| {
                admin.get_repository(request).await
            })
            .await?;
        reply.repository.ok_or(NO_REPOSITORY)
    }

    /// The repository after `settings` were changed: those that are given.
    pub(crate) async fn put_repository_settings(
        &self,
        name: &str,
        settings: RepositorySettings,
    ) -> Result<Repository, Failure> {
        let request = PutRepositorySettingsRequest {
            name: name.to_owned(),
            settings: Some(settings),
        };
        let effect = Effect::ChangesRepository;
        let reply = self
            .call(effect, request, async |mut admin, request| {
                admin.put_repository_settings(request).await
            })
            .await?;
        reply.repository.ok_or(NO_REPOSITORY)
    }

    pub(crate) async fn repositories(&self) -> Result<Vec<Repository>, Failure> {
        pages(async |after| {
            let request = ListRepositoriesRequest {
                after,
                limit: PAGE_ITEMS,
            };
            let reply = self
                .call(Effect::Reads, request, async |mut admin, request| {
                    admin.list_repositories(request).await
                })
                .await?;
            Ok((reply.repositories, reply.next))
        })
        .await
    }

    pub(crate) async fn images(&self, repository: &str) -> Result<Vec<Image>, Failure> {
        pages(async |after| {
            let request = ListImagesRequest {
                repository: repository.to_owned(),
                after,
                limit: PAGE_ITEMS,
            };
            let reply = self
                .call(Effect::Reads, request, async |mut admin, request| {
                    admin.list_images(request).await
                })
                .await?;
            Ok((reply.images, reply.next))
        })
        .await
    }

    /// Whether a rule of the same id was replaced.
    pub(crate) async fn put_rule(&self, rule: Rule) -> Result<bool, Failure> {
        let request = PutRuleRequest { rule: Some(rule) };
        let reply = self
            .call(Effect::ChangesRules, request, async |mut admin, request| {
                admin.put_rule(request).await
            })
            .await?;
        Ok(reply.replaced)
    }

    pub(crate) async fn rules(&self) -> Result<Vec<Rule>, Failure> {
        let request = ListRulesRequest {};
        let reply = self
            .call(Effect::Reads, request, async |mut admin, request| {
                admin.list_rules(request).await
            })
            .await?;
        Ok(reply.rules)
    }

    pub(crate) async fn delete_rule(&self, id: &str) -> Result<(), Failure> {
        let request = DeleteRuleRequest { id: id.to_owned() };
        self.call(Effect::ChangesRules, request, async |mut admin, request| {
            admin.delete_rule(request).await
        })
        .await
        .map(drop)
    }

    /// The tasks of `repository`; empty: of all.
    pub(crate) async fn tasks(&self, repository: &str) -> Result<Vec<ReplicationTask>, Failure> {
        pages(async |after| {
            let request = ReplicationStatusRequest {
                repository: repository.to_owned(),
                after,
                limit: PAGE_ITEMS,
            };
            let reply = self
                .call(Effect::Reads, request, async |mut admin, request| {
                    admin.replication_status(request).await
                })
                .await?;
            Ok((reply.tasks, reply.next))
        })
        .await
    }

    pub(crate) async fn repair_status(&self) -> Result<Vec<NodeRepair>, Failure> {
        let request = RepairStatusRequest {};
        let reply = self
            .call(Effect::Reads, request, async |mut admin, request| {
                admin.repair_status(request).await
            })
            .await?;
        Ok(reply.nodes)
    }

    pub(crate) async fn scrub_status(&self) -> Result<Vec<NodeScrub>, Failure> {
        let request = ScrubStatusRequest {};
        let reply = self
            .call(Effect::Reads, request, async |mut admin, request| {
                admin.scrub_status(request).await
            })
            .await?;
        Ok(reply.nodes)
    }

    /// Of `node`; none: of every node of the region.
    pub(crate) async fn start_scrub(&self, node: Option<u64>) -> Result<Vec<ScrubStart>, Failure> {
        let request = StartScrubRequest {
            node: node.unwrap_or_default(),
        };
        let reply = self
            .call(Effect::StartsScrub, request, async |mut admin, request| {
                admin.start_scrub(request).await
            })
            .await?;
        Ok(reply.nodes)
    }

    /// One call: with the credentials, within the timeout, its errors as
    /// sentences.
    async fn call<Q, R>(
        &self,
        effect: Effect,
        message: Q,
        ask: impl AsyncFnOnce(AdminClient<Channel>, Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let admin = self.admin.clone();
        self.timed(effect, message, async |request| ask(admin, request).await)
            .await
    }

    async fn timed<Q, R>(
        &self,
        effect: Effect,
        message: Q,
        ask: impl AsyncFnOnce(Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let mut request = Request::new(message);
        // The node learns the deadline by this header and may give up as well;
        // what ends the wait here is the timer below, which covers the reply's
        // body too.
        request.set_timeout(self.timeout);
        let authorization = self.credentials.authorization.clone();
        request
            .metadata_mut()
            .insert("authorization", authorization);

        match timeout(self.timeout, ask(request)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) if !expired(&status) => Err(Failure::from_status(
                &status,
                &self.endpoint,
                &self.credentials.user,
                effect,
            )),
            Ok(Err(_)) | Err(_) => Err(Failure::Timeout {
                endpoint: self.endpoint.clone(),
                timeout: self.timeout,
                effect,
            }),
        }
    }
}

/// The channel keeps the deadline header as well, and may be the first of the
/// two timers to fire.
fn expired(status: &Status) -> bool {
    std::error::Error::source(status).is_some_and(|source| {
        let mut cause = Some(source);
        while let Some(error) = cause {
            if error.is::<tonic::TimeoutExpired>() {
                return true;
            }
            cause = error.source();
        }
        false
    })
}

/// All items of a list that is served in pages.
async fn pages<T>(
    page: impl AsyncFn(String) -> Result<Page<T>, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    let mut after = String::new();
    for _ in 0..PAGES_MAX {
        let (items, next) = page(after.clone()).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        if next == after {
            return Err(Failure::Nonsense("a page that names itself as the next"));
        }
        after = next;
    }
    Err(Failure::Nonsense("a list without an end"))
}
