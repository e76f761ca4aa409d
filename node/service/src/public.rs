//! Public registries: what people are told of them and of their repositories, and
//! where they are.
//!
//! Each account has one, all of them in one region. Everything else in them is done
//! by the same use cases as in private ones, on behalf of a [`Caller`] who means a
//! public registry.

use std::sync::Arc;

use bytes::Bytes;
use entrepot_access::Arn;
use entrepot_metadata::command::PutRepositoryText;
use entrepot_metadata::query::{self, ItemKind, Repository, TextKind};
use entrepot_oci::{Algorithm, Digest, RegionName, RepositoryName, Tag};
use serde::{Deserialize, Serialize};

use crate::images::{ImageInfo, info};
use crate::metadata::refused;
use crate::registry_items::Before;
use crate::sessions::Sessions;
use crate::upload::UploadChunk;
use crate::{Caller, NewRepository, Registry, ServiceError, Target};

/// Tags of one page.
const TAGS_PAGE_MAX: usize = 1_000;

/// What people are told of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Catalog {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operating_systems: Vec<String>,
    /// A blob of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
}

/// A tag, and the image that it points to, without that one's tags.
#[derive(Debug, Clone)]
pub struct TaggedImage {
    pub tag: Tag,
    /// When it came to point there.
    pub tagged_at_ms: i64,
    pub image: ImageInfo,
}

/// In the order of the tags.
#[derive(Debug, Clone)]
pub struct TaggedPage {
    pub images: Vec<TaggedImage>,
    /// The last tag that was looked at, if there are more.
    pub last: Option<Tag>,
}

// === impl Registry ===

impl Registry {
    /// The region that the public registries are in.
    ///
    /// # Errors
    /// `Unavailable` while this node does not know it.
    pub fn public_region(&self) -> Result<RegionName, ServiceError> {
        let view = self.metadata.view(&self.global)?;
        let region = query::public_region(view.as_ref())?;
        region.ok_or_else(|| {
            ServiceError::unavailable("this node has not learnt the cluster's nodes yet; try again")
        })
    }

    /// That `who` may be told which public registry they mean.
    pub fn describe_public_registry(&self, who: &Caller) -> Result<(), ServiceError> {
        self.authorize_registry(who, "ecr-public:DescribeRegistries")
    }

    /// The name that the registry is shown by; empty: none.
    pub async fn display_name(&self, who: &Caller) -> Result<String, ServiceError> {
        self.authorize_registry(who, "ecr-public:GetRegistryCatalogData")?;
        let found = self.item(who, ItemKind::CatalogData, "").await?;
        let body = found.map(|item| item.body).unwrap_or_default();
        String::from_utf8(body.into()).map_err(|error| ServiceError::internal(&error))
    }

    pub async fn put_display_name(&self, who: &Caller, name: &str) -> Result<(), ServiceError> {
        self.authorize_registry(who, "ecr-public:PutRegistryCatalogData")?;
        let (kind, body) = (ItemKind::CatalogData, name.as_bytes().to_vec());
        let put = self.put_item(who, kind, "", body, Before::Either).await;
        put.map(drop)
    }

    /// Makes a repository in a public registry; its catalog names `logo`.
    ///
    /// # Errors
    /// As [`create_described`](Self::create_described).
    pub async fn create_public(
        self: &Arc<Self>,
        who: &Caller,
        name: &RepositoryName,
        new: NewRepository,
        logo: Option<Bytes>,
    ) -> Result<Repository, ServiceError> {
        let made = self.create_described(who, name, new).await?;
        self.keep_logo(who, name, logo).await?;
        Ok(made)
    }

    /// What people are told of a repository.
    ///
    /// # Errors
    /// `NotFound`: nothing.
    pub async fn repository_catalog(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<Catalog, ServiceError> {
        let target = Target::Repository(name);
        self.authorize(who, "ecr-public:GetRepositoryCatalogData", target)?;
        let found = self.repository_text(who, name, TextKind::Catalog).await?;
        serde_json::from_str(&found.text).map_err(|error| ServiceError::internal(&error))
    }

    /// Makes it this, with `logo` if there is one; what it is then.
    pub async fn put_repository_catalog(
        self: &Arc<Self>,
        who: &Caller,
        name: &RepositoryName,
        catalog: Catalog,
        logo: Option<Bytes>,
    ) -> Result<Catalog, ServiceError> {
        let target = Target::Repository(name);
        self.authorize(who, "ecr-public:PutRepositoryCatalogData", target)?;
        self.repository_now(who, name).await?;
        let catalog = catalog.with_logo(logo.as_deref());
        self.keep_logo(who, name, logo).await?;
        let (kind, text) = (TextKind::Catalog, catalog.text()?);
        let command = PutRepositoryText::new(&who.account, name, kind, &text, self.clock.now_ms());
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        Ok(catalog)
    }

    /// A page of a repository's tags behind `after`, with their images.
    pub async fn tagged_images(
        &self,
        who: &Caller,
        name: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<TaggedPage, ServiceError> {
        let target = Target::Repository(name);
        self.authorize(who, "ecr-public:DescribeImageTags", target)?;
        let view = self.current().await?;
        let (view, registry) = (view.as_ref(), &who.account);
        if query::repository(view, registry, name)?.is_none() {
            return Err(ServiceError::NameUnknown(name.clone()));
        }
        let limit = limit.clamp(1, TAGS_PAGE_MAX);
        let mut tags = query::tags(view, registry, name, after, limit + 1)?;
        let more = tags.len() > limit;
        tags.truncate(limit);
        let last = tags.last().filter(|_| more).map(|entry| entry.tag.clone());
        let mut images = Vec::with_capacity(tags.len());
        for entry in tags {
            // One that went since the tags were read took them with it.
            if let Some(found) = query::manifest_entry(view, registry, name, &entry.digest)? {
                images.push(TaggedImage {
                    tag: entry.tag,
                    tagged_at_ms: entry.updated_at_ms,
                    image: info(found, Vec::new()),
                });
            }
        }
        Ok(TaggedPage { images, last })
    }

    fn authorize_registry(&self, who: &Caller, action: &str) -> Result<(), ServiceError> {
        let arn = Arn::public_registry(&who.account.account());
        let arn = arn.map_err(|error| ServiceError::internal(&error))?;
        self.authorize(who, action, Target::Named(&arn))
    }

    /// Makes a logo part of its repository, where everybody may read it.
    async fn keep_logo(
        self: &Arc<Self>,
        who: &Caller,
        name: &RepositoryName,
        logo: Option<Bytes>,
    ) -> Result<(), ServiceError> {
        let Some(logo) = logo else { return Ok(()) };
        let digest = logo_digest(&logo);
        let session = Sessions::unnamed(self.peers.own().id, who, name, digest.algorithm())?;
        let chunk = UploadChunk {
            offset: None,
            length: Some(logo.len() as u64),
            body: Box::pin(futures::stream::iter([Ok(logo)])),
        };
        self.finish_owned(session, chunk, digest).await.map(drop)
    }
}

/// Under which a logo is kept.
fn logo_digest(logo: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, logo)
}

// === impl Catalog ===

impl Catalog {
    /// The same, with `logo`.
    #[must_use]
    pub fn with_logo(self, logo: Option<&[u8]>) -> Self {
        Self {
            logo: logo.map(logo_digest),
            ..self
        }
    }

    pub(crate) fn text(&self) -> Result<String, ServiceError> {
        serde_json::to_string(self).map_err(|error| ServiceError::internal(&error))
    }
}
