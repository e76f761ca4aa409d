//! Reading and changing the region's metadata on behalf of the use cases.
//!
//! What this node's copy shows may be served: it is a prefix of the truth. That
//! something is *not* there is only said after a linearizable look.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::command::Command;
use entrepot_metadata::query;
use entrepot_metadata::response::{Refused, Response};
use entrepot_metadata::{GroupId, KeyValue, MetadataError, StorageError};
use entrepot_oci::{Digest, RegistryId, RepositoryName};
use tokio::time::Instant;

use crate::{Caller, Registry, ServiceError, Target};

/// For the nodes of a new cluster to tell what they understand.
const LEVELS_TOLD_WITHIN: Duration = Duration::from_secs(10);
const LEVELS_LOOK: Duration = Duration::from_millis(50);

impl Registry {
    /// This node's copy of the region's metadata, as it is.
    pub(crate) fn local(&self) -> Result<Arc<dyn KeyValue>, ServiceError> {
        Ok(self.metadata.view(&self.group)?)
    }

    /// The same, with everything that was acknowledged before this call.
    pub(crate) async fn current(&self) -> Result<Arc<dyn KeyValue>, ServiceError> {
        self.metadata.linearize(&self.group).await?;
        self.local()
    }

    /// Looks in this node's copy, and again after a linearizable read if there
    /// was nothing.
    pub(crate) async fn find<T>(
        &self,
        look: impl Fn(&dyn KeyValue) -> Result<Option<T>, StorageError>,
    ) -> Result<Option<T>, ServiceError> {
        if let Some(found) = look(self.local()?.as_ref())? {
            return Ok(Some(found));
        }
        Ok(look(self.current().await?.as_ref())?)
    }

    pub(crate) async fn propose(&self, command: Command) -> Result<Response, ServiceError> {
        Ok(self.propose_to(&self.group, command).await?)
    }

    /// Proposes to `group`. The nodes of a cluster that has just been made tell
    /// within seconds what they understand: that is waited for, since nobody has to
    /// upgrade anything.
    ///
    /// # Errors
    /// [`MetadataError::NotYetKnown`] at once where a node has told that it does not
    /// understand the command.
    pub(crate) async fn propose_to(
        &self,
        group: &GroupId,
        command: Command,
    ) -> Result<Response, MetadataError> {
        let deadline = Instant::now() + LEVELS_TOLD_WITHIN;
        loop {
            let proposed = self.metadata.propose(group, command.clone()).await;
            let is_not_yet_known = matches!(proposed, Err(MetadataError::NotYetKnown { .. }));
            if !is_not_yet_known || Instant::now() >= deadline || self.has_told_levels()? {
                return proposed;
            }
            tokio::time::sleep(LEVELS_LOOK).await;
        }
    }

    /// Whether every node of the cluster has told what it understands, but for those
    /// that are about to join.
    fn has_told_levels(&self) -> Result<bool, MetadataError> {
        Ok(query::level(self.metadata.view(&self.global)?.as_ref())? > 0)
    }

    /// Whether every node understands a level: where some have not told yet, that is
    /// waited for as in [`Registry::propose_to`].
    ///
    /// # Errors
    /// `Unavailable` when they do not tell in time.
    pub(crate) async fn understands_in_time(&self, level: u32) -> Result<bool, ServiceError> {
        let deadline = Instant::now() + LEVELS_TOLD_WITHIN;
        loop {
            if let Some(understands) = self.metadata.understands_or_unknown(level)? {
                return Ok(understands);
            }
            if Instant::now() >= deadline {
                return Err(ServiceError::unavailable(
                    "a node of the cluster has not told yet which version it runs: try again \
                     when it is up",
                ));
            }
            tokio::time::sleep(LEVELS_LOOK).await;
        }
    }

    /// That `repository` exists.
    pub(crate) async fn existing(
        &self,
        who: &Caller,
        repository: &RepositoryName,
    ) -> Result<(), ServiceError> {
        self.find(|view| query::repository(view, &who.account, repository))
            .await?
            .map(drop)
            .ok_or_else(|| ServiceError::NameUnknown(repository.clone()))
    }

    /// Whether a push of `who` to `repository` is one that creates it, and may.
    ///
    /// # Errors
    /// As [`Registry::creates`]; `Denied` to whoever may push and not create.
    pub(crate) async fn creates_for(
        &self,
        who: &Caller,
        repository: &RepositoryName,
    ) -> Result<bool, ServiceError> {
        let creates = self.creates(&who.account, repository).await?;
        if creates {
            self.authorize(who, "ecr:CreateRepository", Target::Repository(repository))?;
            self.counted(&who.account).await?;
        }
        Ok(creates)
    }

    /// Whether a push to `repository` is one that creates it.
    ///
    /// # Errors
    /// `CreationOff` when it does not exist and no push may create it. That,
    /// and that it may be created, is only said after a linearizable look: a
    /// setting counts for every push that begins after it was changed.
    /// `RepositoryDeleting` when it is on its way out.
    pub(crate) async fn creates(
        &self,
        account: &RegistryId,
        repository: &RepositoryName,
    ) -> Result<bool, ServiceError> {
        let exists = |view: &dyn KeyValue| query::repository(view, account, repository);
        let mut found = self.find(exists).await?;
        if found.as_ref().is_some_and(|found| found.deleting) {
            // It may be gone by now, or there again.
            found = exists(self.current().await?.as_ref())?;
        }
        match found {
            Some(found) if found.deleting => {
                return Err(ServiceError::RepositoryDeleting(repository.clone()));
            }
            Some(_) => return Ok(false),
            None => {}
        }
        // The look that found none has brought this node's copy up to date.
        let settings = query::registry_settings(self.local()?.as_ref(), account)?;
        if settings.create_on_push {
            Ok(true)
        } else {
            Err(ServiceError::CreationOff(repository.clone()))
        }
    }
}

/// What a refused command means to a client.
pub(crate) fn refused(refused: Refused) -> ServiceError {
    match refused {
        Refused::RepositoryUnknown(name) => named(&name, ServiceError::NameUnknown),
        Refused::RepositoryNotEmpty(name) => named(&name, ServiceError::RepositoryNotEmpty),
        Refused::RepositoryDeleting(name) => named(&name, ServiceError::RepositoryDeleting),
        Refused::BlobsUnknown(unknown) | Refused::ManifestsUnknown(unknown) => {
            ServiceError::ManifestBlobsUnknown(digests(&unknown.digests))
        }
        Refused::ManifestUnknown(digest) => ServiceError::ManifestUnknown(digest),
        Refused::TagUnknown(tag) => ServiceError::ManifestUnknown(tag),
        Refused::RuleUnknown(id) => ServiceError::NotFound(format!("rule {id} does not exist")),
        Refused::BlobReferenced(by) | Refused::ManifestReferenced(by) => {
            ServiceError::Referenced(by.to_string())
        }
        Refused::TagNotAsExpected(found) => ServiceError::TagNotAsExpected(found),
        Refused::TagImmutable(fixed) => ServiceError::TagImmutable(fixed),
        other @ (Refused::Invalid(_)
        | Refused::RuleLimit(_)
        | Refused::MemberLimit(_)
        | Refused::RegionLimit(_)
        | Refused::TokenLimit(_)
        | Refused::AccountLimit(_)) => ServiceError::Invalid(other.to_string()),
        Refused::EntityLimit(limit) => ServiceError::LimitExceeded(limit.to_string()),
        other @ (Refused::BackfillLimit(_) | Refused::RestoreTooLarge(_)) => {
            ServiceError::LimitExceeded(other.to_string())
        }
        Refused::QuotaReached(reached) => ServiceError::LimitExceeded(reached.to_string()),
        other @ (Refused::MemberUnknown(_)
        | Refused::RegionUnknown(_)
        | Refused::AccountUnknown(_)
        | Refused::NoSuchEntity(_)
        | Refused::DestinationUnknown(_)
        | Refused::BackfillUnknown(_)
        | Refused::DeletedUnknown(_)
        | Refused::ItemUnknown(_)) => ServiceError::NotFound(other.to_string()),
        other @ (Refused::AccountExists(_)
        | Refused::BlobMismatch(_)
        | Refused::AddressInUse(_)
        | Refused::MemberInState(_)
        | Refused::FolderDiffers(_)
        | Refused::LastMember(_)
        | Refused::RegionInUse(_)
        | Refused::AuthorityExists(_)
        | Refused::FirstAccount(_)
        | Refused::EntityExists(_)
        | Refused::DeleteConflict(_)
        | Refused::Unmodifiable(_)
        | Refused::BackfillRunning(_)
        | Refused::BackfillOver(_)
        | Refused::RepositoryExists(_)
        | Refused::NotDeleted(_)
        | Refused::WindowPassed(_)
        | Refused::ChildrenGone(_)
        | Refused::ItemExists(_)) => ServiceError::Conflict(other.to_string()),
        other @ (Refused::TokenUnknown(_)
        | Refused::TokenUsed(_)
        | Refused::TokenExpired(_)
        | Refused::TokenRegion(_)
        | Refused::NodeRevoked(_)) => ServiceError::Denied(other.to_string()),
        later @ (Refused::Late(_)
        | Refused::ClusterNotFormed(_)
        | Refused::CollectedMeanwhile(_)) => ServiceError::unavailable(later.to_string()),
    }
}

/// The error of a repository that the state machine has named.
fn named(name: &str, error: fn(RepositoryName) -> ServiceError) -> ServiceError {
    match name.parse() {
        Ok(name) => error(name),
        Err(_) => ServiceError::NotFound(format!("repository {name} does not exist")),
    }
}

pub(crate) fn digests(texts: &[String]) -> Vec<Digest> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}
