//! What operators ask: the registry's settings, repositories, images, rules and
//! how replication stands.

use entrepot_metadata::KeyValue;
use entrepot_metadata::command::{
    CreateRepository, DeleteRepository, DeleteRule, PutRegistrySettings, PutRepositorySettings,
    PutRule, QuotasChange, RuleSpec,
};
use entrepot_metadata::query::{
    self, Destination, Held, Mutability, RegistrySettings, RepositorySettings, RuleOptions, Task,
    TaskKey,
};
use entrepot_metadata::response::Outcome;
use entrepot_oci::{AccountId, RegionName, RepositoryName};

use crate::metadata::refused;
use crate::quotas::QuotaInfo;
use crate::{Caller, Registry, ServiceError, Target};

/// Items in a page when the caller does not say, and at most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
/// Steps of a repository's deletion in one request: a few seconds.
const DELETION_STEPS_MAX: usize = 50;

/// The caller's registry in this node's region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryInfo {
    pub account: AccountId,
    pub region: RegionName,
    pub settings: RegistrySettings,
    pub quotas: QuotaInfo,
}

/// Settings to change; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegistryChange {
    pub create_on_push: Option<bool>,
    /// How much there may be; 0 of something: the default.
    pub quotas: Option<QuotasChange>,
    /// How long images can be restored that are deleted from now on; 0: not at all.
    pub undelete_window_ms: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct RepositoryInfo {
    pub name: RepositoryName,
    pub created_at_ms: i64,
    pub settings: RepositorySettings,
    /// It is on its way out, and takes nothing any more.
    pub deleting: bool,
    /// Which tags may move.
    pub mutability: Mutability,
    /// The most bytes and images that it may have, where that is its own quota and not
    /// that of any repository of the registry.
    pub bytes_max: Option<u64>,
    pub images_max: Option<u64>,
    /// What it holds. None: nobody counts it, since no quota needs it.
    pub held: Option<Held>,
}

/// What one request for a repository's deletion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepositoryDeletion {
    /// Removed.
    pub manifests: u64,
    pub tags: u64,
    /// It takes another request. False: the repository is gone.
    pub more: bool,
}

/// Settings of a repository to change; what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct RepositoryChange {
    pub sparse_indexes: Option<bool>,
    /// Which tags may move.
    pub mutability: Option<Mutability>,
    /// The most that it may have; 0: what any repository of the registry may.
    pub bytes_max: Option<u64>,
    pub images_max: Option<u64>,
}

impl RepositoryChange {
    fn has_quotas(&self) -> bool {
        self.bytes_max.is_some() || self.images_max.is_some()
    }
}

#[derive(Debug, Clone)]
pub struct RepositoryPage {
    pub repositories: Vec<RepositoryInfo>,
    pub more: bool,
}

/// A replication rule of the caller's registry in this node's region.
#[derive(Debug, Clone)]
pub struct RuleInfo {
    pub id: String,
    /// None: every repository, unless the options name some.
    pub prefixes: Vec<String>,
    pub destinations: Vec<Destination>,
    pub options: RuleOptions,
}

impl RuleInfo {
    /// A rule that takes every repository.
    pub fn new(id: &str, destinations: Vec<Destination>) -> Self {
        Self {
            id: id.to_owned(),
            prefixes: Vec::new(),
            destinations,
            options: RuleOptions::default(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct TaskPage {
    pub tasks: Vec<Task>,
    /// Where the next page starts; none: that was the last.
    pub next: Option<String>,
}

impl Registry {
    /// The registry in this region that the caller means: their own, or, of operators
    /// of the cluster, anybody's.
    pub async fn registry_info(&self, who: &Caller) -> Result<RegistryInfo, ServiceError> {
        if who.is_at_home() {
            self.authorize(who, "ecr:DescribeRegistry", Target::Any)?;
        } else {
            self.observes(who)?;
            self.existing_account(&who.account.account())?;
        }
        self.registry_in(self.current().await?.as_ref(), who)
    }

    /// Changes some of the registry's settings; all of them as they are then. An
    /// operator of the cluster gives quotas, also to the registries of others; whoever
    /// else may set them has what was given at most.
    ///
    /// # Errors
    /// `Invalid` for a quota beyond that.
    pub async fn put_registry_settings(
        &self,
        who: &Caller,
        change: RegistryChange,
    ) -> Result<RegistryInfo, ServiceError> {
        let is_granted = if who.is_at_home() {
            self.authorize(who, "ecr:PutAccountSetting", Target::Any)?;
            change.quotas.is_some() && self.may_operate(who)?
        } else {
            self.operates(who)?;
            self.existing_account(&who.account.account())?;
            if change.create_on_push.is_some() || change.undelete_window_ms.is_some() {
                let text = "create_on_push, undelete_window: only the account itself says that of \
                            its registry";
                return Err(ServiceError::Invalid(text.to_owned()));
            }
            true
        };
        let command = PutRegistrySettings {
            create_on_push: change.create_on_push,
            quotas: change.quotas,
            is_granted,
            undelete_window_ms: change.undelete_window_ms,
            ..PutRegistrySettings::new(&who.account)
        };
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        if change.quotas.is_some() {
            self.count_held(&who.account).await?;
        }
        // This node's copy has applied the change.
        self.registry_in(self.local()?.as_ref(), who)
    }

    fn registry_in(&self, view: &dyn KeyValue, who: &Caller) -> Result<RegistryInfo, ServiceError> {
        let settings = query::registry_settings(view, &who.account)?;
        Ok(RegistryInfo {
            account: who.account.account(),
            region: self.region().clone(),
            quotas: QuotaInfo {
                quotas: settings.quotas.unwrap_or(settings.granted),
                repositories: query::repository_count(view, &who.account)?,
                held: query::held(view, &who.account)?,
            },
            settings,
        })
    }

    /// Makes a repository, whether pushes may do so or not; whether there was
    /// none.
    pub async fn create_repository(
        &self,
        who: &Caller,
        repository: &RepositoryName,
    ) -> Result<bool, ServiceError> {
        self.authorize(who, "ecr:CreateRepository", Target::Repository(repository))?;
        self.counted(&who.account).await?;
        let command = CreateRepository::new(&who.account, repository, self.clock.now_ms());
        let response = self.propose(command.into()).await?;
        let outcome = response.into_result().map_err(refused)?;
        Ok(matches!(outcome, Outcome::RepositoryPut(put) if put.created))
    }

    /// Deletes a repository, or a part of it: to be repeated while there is more,
    /// by whoever. `force`: with all its images. `goes_on`: a request before this
    /// one has begun; if no deletion is under way any more, all is done.
    ///
    /// # Errors
    /// `RepositoryNotEmpty`, unless it is forced or was begun; `NameUnknown`,
    /// unless it goes on.
    pub async fn delete_repository(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        force: bool,
        goes_on: bool,
    ) -> Result<RepositoryDeletion, ServiceError> {
        self.authorize(who, "ecr:DeleteRepository", Target::Repository(repository))?;
        let view = self.current().await?;
        let found = query::repository(view.as_ref(), &who.account, repository)?
            .filter(|found| found.deleting || !goes_on);
        drop(view);
        let Some(found) = found else {
            return if goes_on {
                Ok(RepositoryDeletion::default())
            } else {
                Err(ServiceError::NameUnknown(repository.clone()))
            };
        };
        let mut done = RepositoryDeletion::default();
        for _ in 0..DELETION_STEPS_MAX {
            // One of the same name that is made meanwhile is another one.
            let command = DeleteRepository {
                force,
                ..DeleteRepository::new(&who.account, repository, found.index)
            };
            let response = self.propose(command.into()).await?;
            let outcome = response.into_result().map_err(refused)?;
            done.more = false;
            if let Outcome::RepositoryDeleted(step) = outcome {
                done.manifests += step.manifests;
                done.tags += step.tags;
                done.more = step.more;
            }
            if !done.more {
                break;
            }
        }
        Ok(done)
    }

    /// One of the caller's repositories in this region.
    pub async fn repository_info(
        &self,
        who: &Caller,
        repository: &RepositoryName,
    ) -> Result<RepositoryInfo, ServiceError> {
        let target = Target::Repository(repository);
        self.authorize(who, "ecr:DescribeRepositories", target)?;
        repository_in(self.current().await?.as_ref(), who, repository)
    }

    /// Changes some of a repository's settings; the repository as it is then. Quotas of
    /// one are whose the registry's are: who may push to it does not give it more.
    pub async fn put_repository_settings(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        change: RepositoryChange,
    ) -> Result<RepositoryInfo, ServiceError> {
        if change.has_quotas() {
            self.authorize(who, "ecr:PutAccountSetting", Target::Any)?;
        }
        if change.sparse_indexes.is_some() || change.mutability.is_some() || !change.has_quotas() {
            // ECR has no other setting, and no action for others.
            let target = Target::Repository(repository);
            self.authorize(who, "ecr:PutImageTagMutability", target)?;
        }
        let has_quotas = change.has_quotas();
        let command = PutRepositorySettings {
            sparse_indexes: change.sparse_indexes,
            mutability: change.mutability.map(Into::into),
            bytes_max: change.bytes_max,
            images_max: change.images_max,
            ..PutRepositorySettings::new(&who.account, repository)
        };
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        if has_quotas {
            self.count_held(&who.account).await?;
        }
        // This node's copy has applied the change.
        repository_in(self.local()?.as_ref(), who, repository)
    }

    /// A page of the caller's repositories in this region.
    pub async fn list_repositories(
        &self,
        who: &Caller,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<RepositoryPage, ServiceError> {
        self.authorize(who, "ecr:DescribeRepositories", Target::Any)?;
        let limit = page(limit);
        let view = self.current().await?;
        let mut found = query::repositories(view.as_ref(), &who.account, after, limit + 1)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let repositories = found.into_iter().map(RepositoryInfo::from).collect();
        Ok(RepositoryPage { repositories, more })
    }

    /// Makes or replaces a rule; whether it replaced one.
    pub async fn put_rule(&self, who: &Caller, rule: &RuleInfo) -> Result<bool, ServiceError> {
        self.authorize(who, "ecr:PutReplicationConfiguration", Target::Any)?;
        for destination in &rule.destinations {
            self.check_destination(who, destination)?;
        }
        let spec = RuleSpec::new(
            &who.account.account(),
            &rule.id,
            rule.prefixes.clone(),
            &rule.destinations,
            rule.options.clone(),
        );
        let command = PutRule::of(&who.account.account(), spec, self.clock.now_ms());
        let response = self.propose(command.into()).await?;
        let outcome = response.into_result().map_err(refused)?;
        Ok(matches!(outcome, Outcome::RulesChanged(changed) if changed.replaced))
    }

    fn check_destination(
        &self,
        who: &Caller,
        destination: &Destination,
    ) -> Result<(), ServiceError> {
        if *destination == Destination::new(self.region(), &who.account.account()) {
            return Err(ServiceError::Invalid(
                "the replication destination cannot be the same as the source registry".to_owned(),
            ));
        }
        let regions = self.peers.regions();
        if !regions.contains(&destination.region) {
            let known: Vec<&str> = regions.iter().map(RegionName::as_str).collect();
            return Err(ServiceError::Invalid(format!(
                "region {} is not part of this cluster; its regions are {}",
                destination.region,
                known.join(", ")
            )));
        }
        Ok(())
    }

    /// The caller's rules in this region.
    pub async fn list_rules(&self, who: &Caller) -> Result<Vec<RuleInfo>, ServiceError> {
        self.authorize(who, "ecr:DescribeRegistry", Target::Any)?;
        let view = self.current().await?;
        let rules = query::rules(view.as_ref(), &who.account.account())?;
        Ok(rules
            .into_iter()
            .map(|rule| RuleInfo {
                id: rule.id,
                prefixes: rule.prefixes,
                destinations: rule.destinations,
                options: rule.options,
            })
            .collect())
    }

    pub async fn delete_rule(&self, who: &Caller, id: &str) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:PutReplicationConfiguration", Target::Any)?;
        let command = DeleteRule::new(&who.account.account(), id);
        let response = self.propose(command.into()).await?;
        response.into_result().map(drop).map_err(refused)
    }

    /// A page of the caller's replication tasks, open and ended, of one
    /// repository or all. `after`: what the page before gave as `next`.
    pub async fn replication_status(
        &self,
        who: &Caller,
        repository: Option<&RepositoryName>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<TaskPage, ServiceError> {
        let target = repository.map_or(Target::Any, Target::Repository);
        self.authorize(who, "ecr:DescribeImageReplicationStatus", target)?;
        let limit = page(limit);
        let after: Option<TaskKey> = after
            .map(str::parse)
            .transpose()
            .map_err(|_| ServiceError::Invalid("that is not a page's `next`".to_owned()))?;
        if let Some(repository) = repository {
            self.existing(who, repository).await?;
        }
        let view = self.current().await?;
        let mut tasks = query::tasks(
            view.as_ref(),
            &who.account,
            repository,
            after.as_ref(),
            limit + 1,
        )?;
        let more = tasks.len() > limit;
        tasks.truncate(limit);
        let next = tasks
            .last()
            .filter(|_| more)
            .map(|task| task.key.to_string());
        Ok(TaskPage { tasks, next })
    }
}

fn repository_in(
    view: &dyn KeyValue,
    who: &Caller,
    repository: &RepositoryName,
) -> Result<RepositoryInfo, ServiceError> {
    let found = query::repository(view, &who.account, repository)?
        .ok_or_else(|| ServiceError::NameUnknown(repository.clone()))?;
    Ok(RepositoryInfo {
        held: query::repository_held(view, &who.account, repository)?,
        ..RepositoryInfo::from(found)
    })
}

pub(crate) fn page(limit: Option<usize>) -> usize {
    limit
        .filter(|limit| *limit > 0)
        .unwrap_or(PAGE_DEFAULT)
        .min(PAGE_MAX)
}

// === impl RepositoryInfo ===

impl From<query::Repository> for RepositoryInfo {
    fn from(repository: query::Repository) -> Self {
        Self {
            name: repository.name,
            created_at_ms: repository.created_at_ms,
            mutability: repository.mutability,
            settings: repository.settings,
            deleting: repository.deleting,
            bytes_max: repository.bytes_max,
            images_max: repository.images_max,
            held: None,
        }
    }
}
