//! Images as ECR has them: manifests with their tags.
//!
//! The invariant: an image that is named by its last tag goes with that tag, in
//! one step; a tag that comes at the same moment keeps it.

use entrepot_metadata::command::{DeleteManifest, DeleteTag};
use entrepot_metadata::response::Outcome;
use entrepot_metadata::{KeyValue, query};
use entrepot_oci::{Digest, MediaType, Reference, RepositoryName, Tag};

use crate::admin::page;
use crate::manifests::tagged;
use crate::metadata::refused;
use crate::{Caller, ManifestPush, Registry, ServiceError, TagCondition, Target};

/// Tags of one image that are told of.
const TAGS_PER_IMAGE_MAX: usize = 1_000;

/// A manifest and its tags.
#[derive(Debug, Clone)]
pub struct ImageInfo {
    pub digest: Digest,
    pub tags: Vec<Tag>,
    pub media_type: String,
    pub artifact_type: Option<MediaType>,
    pub subject: Option<Digest>,
    /// Config and layers, bytes.
    pub size: u64,
    pub pushed_at_ms: i64,
    /// As far as it is recorded.
    pub pulled_at_ms: Option<i64>,
    /// It is in the archive, and cannot be pulled.
    pub is_archived: bool,
    /// When it last went into the archive, and when it last came back.
    pub last_archived_at_ms: Option<i64>,
    pub last_activated_at_ms: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct ImagePage {
    pub images: Vec<ImageInfo>,
    pub more: bool,
}

/// An image that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    pub digest: Digest,
    pub media_type: String,
}

impl Registry {
    /// A page of a repository's manifests, in order of digest.
    pub async fn list_images(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: Option<usize>,
    ) -> Result<ImagePage, ServiceError> {
        self.images_for(who, "ecr:DescribeImages", repository, after, limit)
            .await
    }

    /// The same on the way to `action`, which is what the caller has to be
    /// allowed.
    pub async fn images_for(
        &self,
        who: &Caller,
        action: &str,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: Option<usize>,
    ) -> Result<ImagePage, ServiceError> {
        self.authorize(who, action, Target::Repository(repository))?;
        let limit = page(limit);
        let view = self.current().await?;
        if query::repository(view.as_ref(), &who.account, repository)?.is_none() {
            return Err(ServiceError::NameUnknown(repository.clone()));
        }
        let mut found =
            query::manifests(view.as_ref(), &who.account, repository, after, limit + 1)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let mut images = Vec::with_capacity(found.len());
        for entry in found {
            images.push(image(view.as_ref(), who, repository, entry)?);
        }
        Ok(ImagePage { images, more })
    }

    /// The same as [`image_info`](Self::image_info), for a use case that has an
    /// `action` of its own.
    pub async fn image_for(
        &self,
        who: &Caller,
        action: &str,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<ImageInfo, ServiceError> {
        self.authorize(who, action, Target::Repository(repository))?;
        self.found_image(who, repository, reference).await
    }

    /// The image of a digest, or the one that a tag points to now.
    pub async fn image_info(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<ImageInfo, ServiceError> {
        self.image_for(who, "ecr:DescribeImages", repository, reference)
            .await
    }

    pub(crate) async fn found_image(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<ImageInfo, ServiceError> {
        let view = self.current().await?;
        let view = view.as_ref();
        let account = &who.account;
        let look = |digest: &Digest| query::manifest_entry(view, account, repository, digest);
        let found = match reference {
            Reference::Digest(digest) => look(digest)?,
            Reference::Tag(tag) => tagged(view, account, repository, tag, look)?,
        };
        if let Some(entry) = found {
            return image(view, who, repository, entry);
        }
        self.existing(who, repository).await?;
        Err(ServiceError::ManifestUnknown(reference.to_string()))
    }

    /// Like [`put_manifest`](Self::put_manifest), into a repository that exists.
    ///
    /// # Errors
    /// `ImageExists` when the repository has the manifest and not in the archive, with
    /// that tag if one is given.
    pub async fn put_image(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        push: ManifestPush,
    ) -> Result<StoredImage, ServiceError> {
        self.authorize(who, "ecr:PutImage", Target::Repository(repository))?;
        self.existing(who, repository).await?;
        let digest = push.digest()?;
        let reference = match push.tags.first() {
            Some(tag) => Reference::Tag(tag.clone()),
            None => Reference::Digest(digest),
        };
        match self.found_image(who, repository, &reference).await {
            // A push brings back what is in the archive.
            Ok(found) if found.digest == digest && !found.is_archived => {
                return Err(ServiceError::ImageExists(digest));
            }
            Ok(_) | Err(ServiceError::ManifestUnknown(_)) => {}
            Err(error) => return Err(error),
        }
        let stored = self.put_authorized(who, repository, push).await?;
        let stored = Reference::Digest(stored.digest);
        let image = self.found_image(who, repository, &stored).await?;
        Ok(StoredImage {
            digest: image.digest,
            media_type: image.media_type,
        })
    }

    /// Deletes an image with all its tags, or one of them, and the image with its
    /// last one unless an index names it. Returns the tags that went.
    ///
    /// # Errors
    /// `TagNotAsExpected` when `tag` does not point to the image.
    pub async fn delete_image(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
        tag: Option<&Tag>,
    ) -> Result<Vec<Tag>, ServiceError> {
        self.authorize(who, "ecr:BatchDeleteImage", Target::Repository(repository))?;
        self.existing(who, repository).await?;
        let command = match tag {
            Some(tag) => DeleteTag {
                condition: TagCondition::Is(*digest).command(),
                with_manifest: true,
                at_ms: self.cluster_clock.now_ms(),
                author: self.author(who).await?,
                ..DeleteTag::new(&who.account, repository, tag)
            }
            .into(),
            None => DeleteManifest {
                at_ms: self.cluster_clock.now_ms(),
                author: self.author(who).await?,
                ..DeleteManifest::new(&who.account, repository, digest)
            }
            .into(),
        };
        let response = self.propose(command).await?;
        Ok(match response.into_result().map_err(refused)? {
            Outcome::ManifestDeleted(deleted) => {
                let tags = deleted.tags.iter();
                tags.filter_map(|tag| tag.parse().ok()).collect()
            }
            _ => tag.cloned().into_iter().collect(),
        })
    }
}

fn image(
    view: &dyn KeyValue,
    who: &Caller,
    repository: &RepositoryName,
    entry: query::ManifestEntry,
) -> Result<ImageInfo, ServiceError> {
    let tags = query::tags_of(
        view,
        &who.account,
        repository,
        &entry.digest,
        TAGS_PER_IMAGE_MAX,
    )?;
    let pulled_at_ms = query::pulled_at_ms(view, &who.account, repository, &entry.digest)?;
    Ok(ImageInfo {
        pulled_at_ms,
        ..info(entry, tags)
    })
}

pub(crate) fn info(entry: query::ManifestEntry, tags: Vec<Tag>) -> ImageInfo {
    ImageInfo {
        digest: entry.digest,
        tags,
        media_type: entry.media_type.to_string(),
        artifact_type: entry.artifact_type,
        subject: entry.subject,
        size: entry.size,
        pushed_at_ms: entry.pushed_at_ms,
        pulled_at_ms: None,
        is_archived: entry.archived_at_ms.is_some(),
        last_archived_at_ms: entry.last_archived_at_ms,
        last_activated_at_ms: entry.activated_at_ms,
    }
}
