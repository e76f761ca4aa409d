//! The way back for deleted images: who deletes says so, and what is kept of it is
//! listed, restored, or let go at once.
//!
//! Whether there is still something to restore is decided by the state machine alone,
//! when the command is applied.

use entrepot_metadata::command::{
    Author, ExpireDeleted, ExpiredImage, RestoreImage, UNDELETE_LEVEL,
};
use entrepot_metadata::query::{self, Cause, DeletedImage};
use entrepot_metadata::response::{ImageRestored, Outcome};
use entrepot_oci::{Digest, Reference, RepositoryName, Tag};

use crate::admin::page;
use crate::metadata::refused;
use crate::{Caller, Registry, ServiceError, Target};

/// Deleted images of a repository that are looked through for a tag, and read at a
/// time.
const LOOKED_THROUGH_MAX: usize = 10_000;
const LOOK_PAGE: usize = 500;

#[derive(Debug, Clone)]
pub struct DeletedPage {
    pub images: Vec<DeletedImage>,
    pub more: bool,
}

/// An image that came back.
#[derive(Debug, Clone)]
pub struct RestoredImage {
    pub digest: Digest,
    pub restored: ImageRestored,
}

impl Registry {
    /// What says that a deletion is this caller's; none while a node of the cluster
    /// runs a version that would not understand it: then nothing is kept of what is
    /// deleted.
    ///
    /// # Errors
    /// `Unavailable` where that is not known in time: nothing is deleted for good
    /// because a cluster is young.
    pub(crate) async fn author(&self, who: &Caller) -> Result<Option<Author>, ServiceError> {
        self.author_named(&who.principal.arn(), Cause::Client).await
    }

    /// # Errors
    /// As [`Registry::author`].
    pub(crate) async fn author_named(
        &self,
        by: &str,
        cause: Cause,
    ) -> Result<Option<Author>, ServiceError> {
        let understands = self.understands_in_time(UNDELETE_LEVEL).await?;
        Ok(understands.then(|| Author::new(by, cause)))
    }

    /// What says that a push is this caller's; none as long as it is not known that every
    /// node of the cluster would understand it: no push waits for that.
    pub(crate) fn author_of_push(
        &self,
        who: &Caller,
        cause: Cause,
    ) -> Result<Option<Author>, ServiceError> {
        let understands = self.metadata.understands(UNDELETE_LEVEL)?;
        Ok(understands.then(|| Author::new(&who.principal.arn(), cause)))
    }

    /// A page of the deleted images of a repository that can be restored, in order of
    /// digest.
    pub async fn deleted_images(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: Option<usize>,
    ) -> Result<DeletedPage, ServiceError> {
        self.authorize(who, "ecr:DescribeImages", Target::Repository(repository))?;
        let limit = page(limit);
        let view = self.current().await?;
        let account = &who.account;
        if query::repository(view.as_ref(), account, repository)?.is_none() {
            return Err(ServiceError::NameUnknown(repository.clone()));
        }
        let mut images =
            query::deleted_images(view.as_ref(), account, repository, after, limit + 1)?;
        let more = images.len() > limit;
        images.truncate(limit);
        Ok(DeletedPage { images, more })
    }

    /// Puts a deleted image back: of a tag, the one that had it and was deleted last.
    /// `without_tags`: by its digest alone.
    ///
    /// # Errors
    /// `NotFound` when it is not among those that can be restored, `Conflict` when its
    /// time is over or a manifest that it needs is gone.
    pub async fn restore_image(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        reference: &Reference,
        without_tags: bool,
    ) -> Result<RestoredImage, ServiceError> {
        self.authorize(who, "ecr:PutImage", Target::Repository(repository))?;
        self.existing(who, repository).await?;
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => self.deleted_by_tag(who, repository, tag).await?,
        };
        self.restore_authorized(who, repository, &digest, without_tags)
            .await
    }

    /// The same for whoever was asked already.
    pub(crate) async fn restore_authorized(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
        without_tags: bool,
    ) -> Result<RestoredImage, ServiceError> {
        let command = RestoreImage {
            without_tags,
            author: self
                .author_named(&who.principal.arn(), Cause::Restore)
                .await?,
            ..RestoreImage::new(
                &who.account,
                repository,
                digest,
                self.cluster_clock.now_ms(),
            )
        };
        let response = self.propose(command.into()).await?;
        match response.into_result().map_err(refused)? {
            Outcome::ImageRestored(restored) => Ok(RestoredImage {
                digest: *digest,
                restored,
            }),
            _ => Err(ServiceError::unavailable(
                "what became of it was not told; look whether the image is there",
            )),
        }
    }

    /// The image that was deleted last of those that had a tag.
    async fn deleted_by_tag(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Digest, ServiceError> {
        let view = self.current().await?;
        let mut newest: Option<DeletedImage> = None;
        let mut after = None;
        for _ in 0..LOOKED_THROUGH_MAX / LOOK_PAGE {
            let page = query::deleted_images(
                view.as_ref(),
                &who.account,
                repository,
                after.as_ref(),
                LOOK_PAGE,
            )?;
            let is_last = page.len() < LOOK_PAGE;
            after = page.last().map(|image| image.manifest.digest);
            for image in page {
                let is_newer = newest.as_ref().is_none_or(|it| it.index < image.index);
                if is_newer && image.tags.contains(tag) {
                    newest = Some(image);
                }
            }
            if is_last {
                return newest.map(|image| image.manifest.digest).ok_or_else(|| {
                    let why = format!("no deleted image of {repository} had the tag {tag}");
                    ServiceError::NotFound(why)
                });
            }
        }
        Err(ServiceError::LimitExceeded(format!(
            "{repository} has more than {LOOKED_THROUGH_MAX} deleted images: name the one to \
             restore by its digest"
        )))
    }

    /// Lets a deleted image go for good before its time is over.
    ///
    /// # Errors
    /// `NotFound` when it is not among those that can be restored.
    pub async fn purge_image(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:BatchDeleteImage", Target::Repository(repository))?;
        self.existing(who, repository).await?;
        let account = &who.account;
        let view = self.current().await?;
        let found = query::deleted_image(view.as_ref(), account, repository, digest)?;
        drop(view);
        let unknown = || {
            let why = format!("no image {digest} of {repository} can be restored");
            ServiceError::NotFound(why)
        };
        let found = found.ok_or_else(unknown)?;
        let command = ExpireDeleted {
            images: vec![ExpiredImage::new(account, repository, digest, found.index)],
            cutoff_ms: self.cluster_clock.now_ms(),
            now: true,
        };
        let response = self.propose(command.into()).await?;
        match response.into_result().map_err(refused)? {
            Outcome::DeletedExpired(expired) if expired.images == 0 => Err(unknown()),
            _ => Ok(()),
        }
    }
}
