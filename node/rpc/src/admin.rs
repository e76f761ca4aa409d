//! `entrepot.admin.v1.Admin`: what the command line client asks.

mod images;
pub(crate) mod rules;
mod upkeep;

use std::str::FromStr;
use std::sync::Arc;

use entrepot_oci::{AccountId, Digest, RepositoryName};
use entrepot_proto::admin;
use entrepot_proto::admin::admin_server::Admin;
use entrepot_service::cluster::GroupInfo;
use entrepot_service::{
    Caller, QuotasChange, Registry, RegistryChange, RegistryInfo, RepositoryChange, RepositoryInfo,
    ServiceError, Task, TaskState, UNBOUNDED,
};
use tonic::{Request, Response, Status};

use crate::caller;
use crate::request::{given, limit};
use crate::status::status;

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct AdminServer {
    registry: Arc<Registry>,
}

// === impl AdminServer ===

impl AdminServer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Admin for AdminServer {
    async fn cluster_status(
        &self,
        request: Request<admin::ClusterStatusRequest>,
    ) -> Result<Response<admin::ClusterStatusReply>, Status> {
        let who = caller::of(&request)?;
        let cluster = self.registry.cluster(&who);
        let cluster = cluster.map_err(|error| status(&error))?;
        let nodes = cluster
            .nodes
            .into_iter()
            .map(|node| admin::NodeStatus {
                id: node.id,
                region: node.region.to_string(),
                peer_address: node.peer_address,
                alive: node.alive,
            })
            .collect();
        Ok(Response::new(admin::ClusterStatusReply {
            node: cluster.node,
            region: cluster.region.to_string(),
            account: cluster.account.to_string(),
            nodes,
            groups: cluster.groups.into_iter().map(group).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn get_registry_settings(
        &self,
        request: Request<admin::GetRegistrySettingsRequest>,
    ) -> Result<Response<admin::GetRegistrySettingsReply>, Status> {
        let who = caller::of(&request)?;
        let who = meaning(who, &request.into_inner().account)?;
        let found = self
            .registry
            .registry_info(&who)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::GetRegistrySettingsReply {
            registry: Some(registry(&found)),
        }))
    }

    async fn put_registry_settings(
        &self,
        request: Request<admin::PutRegistrySettingsRequest>,
    ) -> Result<Response<admin::PutRegistrySettingsReply>, Status> {
        let who = caller::of(&request)?;
        let asked = request.into_inner();
        let who = meaning(who, &asked.account)?;
        let settings = asked
            .settings
            .ok_or_else(|| Status::invalid_argument("the request has no settings"))?;
        let change = change(&settings);
        let changed = self
            .registry
            .put_registry_settings(&who, change)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::PutRegistrySettingsReply {
            registry: Some(registry(&changed)),
        }))
    }

    async fn create_repository(
        &self,
        request: Request<admin::CreateRepositoryRequest>,
    ) -> Result<Response<admin::CreateRepositoryReply>, Status> {
        let who = caller::of(&request)?;
        let name: RepositoryName = parse(&request.get_ref().name)?;
        let created = self
            .registry
            .create_repository(&who, &name)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::CreateRepositoryReply { created }))
    }

    async fn delete_repository(
        &self,
        request: Request<admin::DeleteRepositoryRequest>,
    ) -> Result<Response<admin::DeleteRepositoryReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.get_ref();
        let name: RepositoryName = parse(&request.name)?;
        let deletion = self
            .registry
            .delete_repository(&who, &name, request.force, request.goes_on)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::DeleteRepositoryReply {
            manifests: deletion.manifests,
            tags: deletion.tags,
            more: deletion.more,
        }))
    }

    async fn get_repository(
        &self,
        request: Request<admin::GetRepositoryRequest>,
    ) -> Result<Response<admin::GetRepositoryReply>, Status> {
        let who = caller::of(&request)?;
        let name: RepositoryName = parse(&request.get_ref().name)?;
        let found = self
            .registry
            .repository_info(&who, &name)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::GetRepositoryReply {
            repository: Some(repository(&found)),
        }))
    }

    async fn put_repository_settings(
        &self,
        request: Request<admin::PutRepositorySettingsRequest>,
    ) -> Result<Response<admin::PutRepositorySettingsReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let name: RepositoryName = parse(&request.name)?;
        let settings = request
            .settings
            .ok_or_else(|| Status::invalid_argument("the request has no settings"))?;
        let change = RepositoryChange {
            sparse_indexes: settings.sparse_indexes,
            bytes_max: settings.bytes_max,
            images_max: settings.images_max,
            ..RepositoryChange::default()
        };
        let changed = self
            .registry
            .put_repository_settings(&who, &name, change)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::PutRepositorySettingsReply {
            repository: Some(repository(&changed)),
        }))
    }

    async fn list_repositories(
        &self,
        request: Request<admin::ListRepositoriesRequest>,
    ) -> Result<Response<admin::ListRepositoriesReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let page = self
            .registry
            .list_repositories(&who, given(&request.after), limit(request.limit))
            .await
            .map_err(|error| status(&error))?;
        let next = page.repositories.last().filter(|_| page.more);
        Ok(Response::new(admin::ListRepositoriesReply {
            next: next.map(|last| last.name.to_string()).unwrap_or_default(),
            repositories: page.repositories.iter().map(repository).collect(),
        }))
    }

    async fn list_images(
        &self,
        request: Request<admin::ListImagesRequest>,
    ) -> Result<Response<admin::ListImagesReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository: RepositoryName = parse(&request.repository)?;
        let after: Option<Digest> = given(&request.after).map(parse).transpose()?;
        let page = self
            .registry
            .list_images(&who, &repository, after.as_ref(), limit(request.limit))
            .await
            .map_err(|error| status(&error))?;
        let next = page.images.last().filter(|_| page.more);
        Ok(Response::new(admin::ListImagesReply {
            next: next.map(|last| last.digest.to_string()).unwrap_or_default(),
            images: page.images.into_iter().map(images::shown).collect(),
        }))
    }

    async fn set_storage_class(
        &self,
        request: Request<admin::SetStorageClassRequest>,
    ) -> Result<Response<admin::SetStorageClassReply>, Status> {
        images::set_storage_class(&self.registry, request).await
    }

    async fn put_rule(
        &self,
        request: Request<admin::PutRuleRequest>,
    ) -> Result<Response<admin::PutRuleReply>, Status> {
        let who = caller::of(&request)?;
        let rule = request
            .into_inner()
            .rule
            .ok_or_else(|| Status::invalid_argument("the request has no rule"))?;
        let rule = rules::parsed(&who, rule)?;
        let replaced = self
            .registry
            .put_rule(&who, &rule)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::PutRuleReply { replaced }))
    }

    async fn list_rules(
        &self,
        request: Request<admin::ListRulesRequest>,
    ) -> Result<Response<admin::ListRulesReply>, Status> {
        let who = caller::of(&request)?;
        let rules = self
            .registry
            .list_rules(&who)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::ListRulesReply {
            rules: rules
                .into_iter()
                .map(|rule| rules::shown(&who, rule))
                .collect(),
        }))
    }

    async fn delete_rule(
        &self,
        request: Request<admin::DeleteRuleRequest>,
    ) -> Result<Response<admin::DeleteRuleReply>, Status> {
        let who = caller::of(&request)?;
        self.registry
            .delete_rule(&who, &request.get_ref().id)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::DeleteRuleReply {}))
    }

    async fn replication_status(
        &self,
        request: Request<admin::ReplicationStatusRequest>,
    ) -> Result<Response<admin::ReplicationStatusReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository: Option<RepositoryName> =
            given(&request.repository).map(parse).transpose()?;
        let page = self
            .registry
            .replication_status(
                &who,
                repository.as_ref(),
                given(&request.after),
                limit(request.limit),
            )
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::ReplicationStatusReply {
            tasks: page.tasks.into_iter().map(|it| task(&who, it)).collect(),
            next: page.next.unwrap_or_default(),
        }))
    }

    async fn start_scrub(
        &self,
        request: Request<admin::StartScrubRequest>,
    ) -> Result<Response<admin::StartScrubReply>, Status> {
        let who = caller::of(&request)?;
        let node = Some(request.get_ref().node).filter(|node| *node != 0);
        let nodes = self
            .registry
            .start_scrub(&who, node)
            .await
            .map_err(|error| status(&error))?;
        let nodes = nodes.into_iter().map(upkeep::start).collect();
        Ok(Response::new(admin::StartScrubReply { nodes }))
    }

    async fn scrub_status(
        &self,
        request: Request<admin::ScrubStatusRequest>,
    ) -> Result<Response<admin::ScrubStatusReply>, Status> {
        let who = caller::of(&request)?;
        let nodes = self.registry.upkeep(&who).await;
        let nodes = nodes.map_err(|error| status(&error))?;
        let nodes = nodes.into_iter().map(upkeep::scrub).collect();
        Ok(Response::new(admin::ScrubStatusReply { nodes }))
    }

    async fn repair_status(
        &self,
        request: Request<admin::RepairStatusRequest>,
    ) -> Result<Response<admin::RepairStatusReply>, Status> {
        let who = caller::of(&request)?;
        let nodes = self.registry.upkeep(&who).await;
        let nodes = nodes.map_err(|error| status(&error))?;
        let nodes = nodes.into_iter().map(upkeep::repair).collect();
        Ok(Response::new(admin::RepairStatusReply { nodes }))
    }
}

/// The caller, who means the registry of that account, if one is named.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub(crate) fn meaning(who: Caller, account: &str) -> Result<Caller, Status> {
    if account.is_empty() {
        return Ok(who);
    }
    Ok(who.meaning(parse::<AccountId>(account)?))
}

fn change(settings: &admin::RegistrySettings) -> RegistryChange {
    let quotas = QuotasChange {
        repositories: settings.repositories_max,
        images: settings.images_max,
        tags: settings.tags_max,
        layer_parts: settings.layer_parts_max,
        layer_bytes: settings.layer_bytes_max,
        bytes: settings.bytes_max,
        repository_bytes: settings.repository_bytes_max,
        registry_images: settings.registry_images_max,
    };
    RegistryChange {
        create_on_push: settings.create_on_push,
        undelete_window_ms: settings.undelete_window_s.map(|s| s.saturating_mul(1_000)),
        quotas: (quotas != QuotasChange::default()).then_some(quotas),
    }
}

fn registry(info: &RegistryInfo) -> admin::Registry {
    let quotas = &info.quotas.quotas;
    let counted = info.quotas.repositories.filter(|count| count.is_whole);
    let held = info.quotas.held.filter(|held| held.is_whole);
    admin::Registry {
        repositories: counted.map(|count| count.number),
        account: info.account.to_string(),
        region: info.region.to_string(),
        settings: Some(admin::RegistrySettings {
            create_on_push: Some(info.settings.create_on_push),
            repositories_max: Some(quotas.repositories),
            images_max: Some(quotas.images_per_repository),
            tags_max: Some(quotas.tags_per_image),
            layer_parts_max: Some(quotas.layer_parts),
            layer_bytes_max: Some(quotas.layer_bytes),
            undelete_window_s: Some(info.settings.undelete_window_ms / 1_000),
            bytes_max: bounded(quotas.bytes),
            repository_bytes_max: bounded(quotas.bytes_per_repository),
            registry_images_max: bounded(quotas.images),
        }),
        bytes: held.map(|held| held.bytes),
        images: held.map(|held| held.images),
    }
}

/// None: any number.
pub(crate) fn bounded(max: u64) -> Option<u64> {
    Some(max).filter(|max| *max != UNBOUNDED)
}

fn repository(info: &RepositoryInfo) -> admin::Repository {
    let held = info.held.filter(|held| held.is_whole);
    admin::Repository {
        name: info.name.to_string(),
        created_at_ms: info.created_at_ms,
        settings: Some(admin::RepositorySettings {
            sparse_indexes: Some(info.settings.sparse_indexes),
            bytes_max: info.bytes_max,
            images_max: info.images_max,
        }),
        deleting: info.deleting,
        bytes: held.map(|held| held.bytes),
        images: held.map(|held| held.images),
    }
}

fn group(group: GroupInfo) -> admin::GroupStatus {
    admin::GroupStatus {
        group: group.group.to_string(),
        leader: group.leader.unwrap_or_default(),
        term: group.term,
        applied: group.applied,
        voters: group.voters,
        learners: group.learners,
    }
}

fn task(who: &Caller, task: Task) -> admin::ReplicationTask {
    let state = match task.state {
        TaskState::InProgress => admin::TaskState::InProgress,
        TaskState::Complete => admin::TaskState::Complete,
        TaskState::Failed => admin::TaskState::Failed,
    };
    admin::ReplicationTask {
        repository: task.key.repository.to_string(),
        digest: task.key.digest.to_string(),
        tag: task.key.tag.map(|tag| tag.to_string()).unwrap_or_default(),
        destination_region: task.key.destination.region.to_string(),
        destination_account: rules::other(who, &task.key.destination),
        state: state.into(),
        created_at_ms: task.created_at_ms,
        ended_at_ms: task.ended_at_ms.unwrap_or_default(),
        reason: task.reason.unwrap_or_default(),
    }
}

#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub(crate) fn parse<T>(text: &str) -> Result<T, Status>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| status(&ServiceError::Invalid(error.to_string())))
}
