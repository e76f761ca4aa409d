//! Repositories as ECR has them: made with all that they are to be, described,
//! deleted as a whole, and what can be changed of them.
//!
//! What a repository is made with holds from its first moment: it is one command.

use std::collections::BTreeMap;

use entrepot_access::policy::Context;
use entrepot_metadata::command::{
    CreateRepository, PutRepositorySettings, RepositorySpec, TagRepository,
};
use entrepot_metadata::query::{self, Encryption, Mutability, MutabilityMode, Repository};
use entrepot_metadata::records::settings::EncryptionRecord;
use entrepot_metadata::seam::MetadataError;
use entrepot_oci::RepositoryName;

use crate::admin::page;
use crate::metadata::refused;
use crate::{Caller, Catalog, Registry, ServiceError, Target};

/// Rounds of a deletion in one request, each of as many steps as one request of an
/// operator: some minutes.
const DELETION_ROUNDS_MAX: usize = 100;

/// What a repository is to be made with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRepository {
    pub mutability: Mutability,
    /// For good. None: AES256.
    pub encryption: Option<Encryption>,
    pub scan_on_push: bool,
    /// Resource tags.
    pub tags: BTreeMap<String, String>,
    /// Of a public repository.
    pub catalog: Option<Catalog>,
}

/// Repositories in the order of their names.
#[derive(Debug, Clone)]
pub struct DescribedPage {
    pub repositories: Vec<Repository>,
    pub more: bool,
}

impl Registry {
    /// Makes a repository.
    ///
    /// # Errors
    /// `Conflict` when there is one of that name; `LimitExceeded`: too many tags.
    pub async fn create_described(
        &self,
        who: &Caller,
        name: &RepositoryName,
        new: NewRepository,
    ) -> Result<Repository, ServiceError> {
        let target = Target::Repository(name);
        let context = requested(&new.tags);
        self.authorize_with(who, "ecr:CreateRepository", target, &context)?;
        if !new.tags.is_empty() {
            self.authorize_with(who, "ecr:TagResource", target, &context)?;
        }
        check_mutability(&new.mutability)?;
        check_encryption(new.encryption.as_ref())?;
        self.counted(&who.account).await?;
        let catalog = new.catalog.as_ref().map(Catalog::text).transpose()?;
        let spec = RepositorySpec {
            catalog: catalog.unwrap_or_default(),
            ..new.spec()
        };
        let command = CreateRepository {
            spec: Some(spec),
            must_be_new: true,
            ..CreateRepository::new(&who.account, name, self.clock.now_ms())
        };
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        self.repository_here(who, name)
    }

    /// A page of the registry's repositories.
    pub async fn describe_repositories(
        &self,
        who: &Caller,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<DescribedPage, ServiceError> {
        self.authorize(who, "ecr:DescribeRepositories", Target::Any)?;
        let limit = page(limit);
        let view = self.current().await?;
        let mut repositories = query::repositories(view.as_ref(), &who.account, after, limit + 1)?;
        let more = repositories.len() > limit;
        repositories.truncate(limit);
        Ok(DescribedPage { repositories, more })
    }

    /// One of them.
    pub async fn describe_repository(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<Repository, ServiceError> {
        self.authorize(who, "ecr:DescribeRepositories", Target::Repository(name))?;
        self.repository_now(who, name).await
    }

    /// Deletes a repository to the end; what it was like. `force`: with all its
    /// images.
    ///
    /// # Errors
    /// `RepositoryNotEmpty`, unless it is forced. `Unavailable` when it takes
    /// longer than one request may: the same request goes on with it.
    pub async fn delete_described(
        &self,
        who: &Caller,
        name: &RepositoryName,
        force: bool,
    ) -> Result<Repository, ServiceError> {
        self.authorize(who, "ecr:DeleteRepository", Target::Repository(name))?;
        let described = self.repository_now(who, name).await?;
        for round in 0..DELETION_ROUNDS_MAX {
            let done = self.delete_repository(who, name, force, round > 0).await?;
            if !done.more {
                return Ok(described);
            }
        }
        Err(ServiceError::unavailable(format!(
            "the deletion of repository {name} is not at its end yet; try again"
        )))
    }

    /// Sets which tags may move, once they are set.
    pub async fn put_tag_mutability(
        &self,
        who: &Caller,
        name: &RepositoryName,
        mutability: Mutability,
    ) -> Result<Repository, ServiceError> {
        self.authorize(who, "ecr:PutImageTagMutability", Target::Repository(name))?;
        check_mutability(&mutability)?;
        let command = PutRepositorySettings {
            mutability: Some(mutability.into()),
            ..PutRepositorySettings::new(&who.account, name)
        };
        self.change(who, name, command).await
    }

    /// Sets whether images are to be scanned when they are pushed.
    pub async fn put_scan_on_push(
        &self,
        who: &Caller,
        name: &RepositoryName,
        scan_on_push: bool,
    ) -> Result<Repository, ServiceError> {
        let target = Target::Repository(name);
        self.authorize(who, "ecr:PutImageScanningConfiguration", target)?;
        let command = PutRepositorySettings {
            scan_on_push: Some(scan_on_push),
            ..PutRepositorySettings::new(&who.account, name)
        };
        self.change(who, name, command).await
    }

    /// The resource tags of a repository.
    pub async fn resource_tags(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<BTreeMap<String, String>, ServiceError> {
        self.authorize(who, "ecr:ListTagsForResource", Target::Repository(name))?;
        let view = self.current().await?;
        require(view.as_ref(), who, name)?;
        Ok(query::repository_tags(view.as_ref(), &who.account, name)?)
    }

    /// Sets some resource tags, and leaves the others.
    ///
    /// # Errors
    /// `LimitExceeded` when there would be too many.
    pub async fn tag_resource(
        &self,
        who: &Caller,
        name: &RepositoryName,
        set: BTreeMap<String, String>,
    ) -> Result<(), ServiceError> {
        let (target, context) = (Target::Repository(name), requested(&set));
        self.authorize_with(who, "ecr:TagResource", target, &context)?;
        // Said in the caller's words where this node's copy tells; what others set
        // at the same moment, the command finds.
        let view = self.local()?;
        let there = query::repository_tags(view.as_ref(), &who.account, name)?;
        check_case(&there, &set)?;
        let command = TagRepository {
            set,
            distinct: true,
            ..TagRepository::new(&who.account, name)
        };
        let response = match self.propose_to(&self.group, command.clone().into()).await {
            // While the cluster is upgraded, tags are set as they were before.
            Err(MetadataError::NotYetKnown { .. }) => {
                let command = TagRepository {
                    distinct: false,
                    ..command
                };
                self.propose(command.into()).await?
            }
            answered => answered?,
        };
        response.into_result().map(drop).map_err(refused)
    }

    /// Removes some resource tags; those that are not there are fine.
    pub async fn untag_resource(
        &self,
        who: &Caller,
        name: &RepositoryName,
        keys: Vec<String>,
    ) -> Result<(), ServiceError> {
        let mut context = Context::new();
        for key in &keys {
            context.insert("aws:TagKeys", key);
        }
        let target = Target::Repository(name);
        self.authorize_with(who, "ecr:UntagResource", target, &context)?;
        let command = TagRepository {
            remove: keys,
            ..TagRepository::new(&who.account, name)
        };
        let response = self.propose(command.into()).await?;
        response.into_result().map(drop).map_err(refused)
    }

    async fn change(
        &self,
        who: &Caller,
        name: &RepositoryName,
        command: PutRepositorySettings,
    ) -> Result<Repository, ServiceError> {
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        self.repository_here(who, name)
    }

    /// As this node's copy has it, which has applied what it proposed.
    fn repository_here(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<Repository, ServiceError> {
        require(self.local()?.as_ref(), who, name)
    }

    /// As everybody would see it who asks now.
    pub(crate) async fn repository_now(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<Repository, ServiceError> {
        require(self.current().await?.as_ref(), who, name)
    }
}

pub(crate) fn require(
    view: &dyn entrepot_metadata::KeyValue,
    who: &Caller,
    name: &RepositoryName,
) -> Result<Repository, ServiceError> {
    query::repository(view, &who.account, name)?
        .ok_or_else(|| ServiceError::NameUnknown(name.clone()))
}

/// That no tag is one of those that are there in other letters: to the conditions
/// of policies, both would be one key with two values.
fn check_case(
    there: &BTreeMap<String, String>,
    set: &BTreeMap<String, String>,
) -> Result<(), ServiceError> {
    for new in set.keys() {
        let lower = new.to_lowercase();
        let is_other = |old: &&String| *old != new && old.to_lowercase() == lower;
        if let Some(old) = there.keys().find(is_other) {
            return Err(ServiceError::Invalid(format!(
                "the tag key '{new}' differs from '{old}', which is there, by case alone"
            )));
        }
    }
    Ok(())
}

/// What a request says of the tags that it sets.
fn requested(tags: &BTreeMap<String, String>) -> Context {
    let mut context = Context::new();
    for (key, value) in tags {
        context.insert(&format!("aws:RequestTag/{key}"), value);
        context.insert("aws:TagKeys", key);
    }
    context
}

/// An error in ECR's form.
pub(crate) fn invalid(at: &str, constraint: impl std::fmt::Display) -> ServiceError {
    ServiceError::Invalid(format!(
        "Invalid parameter at '{at}' failed to satisfy constraint: '{constraint}'"
    ))
}

/// Which filters go with which mode.
pub(crate) fn check_mutability(mutability: &Mutability) -> Result<(), ServiceError> {
    /// Stars in one filter.
    const STARS_MAX: usize = 2;
    let at = "imageTagMutabilityExclusionFilters";
    let filters = &mutability.filters;
    match mutability.mode {
        MutabilityMode::Mutable | MutabilityMode::Immutable if !filters.is_empty() => Err(invalid(
            at,
            "Exclusion filters can only be used with IMMUTABLE_WITH_EXCLUSION and \
             MUTABLE_WITH_EXCLUSION",
        )),
        MutabilityMode::ImmutableWithExclusion | MutabilityMode::MutableWithExclusion
            if filters.is_empty() =>
        {
            Err(invalid(
                at,
                "Exclusion filters are required with IMMUTABLE_WITH_EXCLUSION and \
                 MUTABLE_WITH_EXCLUSION",
            ))
        }
        _ if filters.iter().any(|it| it.matches('*').count() > STARS_MAX) => {
            Err(invalid(at, "A filter can have at most 2 wildcards"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_encryption(encryption: Option<&Encryption>) -> Result<(), ServiceError> {
    match encryption {
        Some(Encryption { kind, kms_key }) if kind == "AES256" && kms_key.is_some() => {
            Err(invalid(
                "encryptionConfiguration",
                "kmsKey can only be used with the encryption types KMS and KMS_DSSE",
            ))
        }
        _ => Ok(()),
    }
}

// === impl NewRepository ===

impl NewRepository {
    pub(crate) fn spec(self) -> RepositorySpec {
        let plain = self.mutability == Mutability::default();
        RepositorySpec {
            mutability: (!plain).then(|| self.mutability.into()),
            encryption: self.encryption.map(|encryption| EncryptionRecord {
                kind: encryption.kind,
                kms_key: encryption.kms_key.unwrap_or_default(),
            }),
            scan_on_push: self.scan_on_push,
            tags: self.tags,
            ..RepositorySpec::default()
        }
    }
}
