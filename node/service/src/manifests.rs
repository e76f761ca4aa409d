//! Manifests and tags.

use bytes::Bytes;
use entrepot_access::Principal;
use entrepot_metadata::command::{self, DeleteManifest, DeleteTag};
use entrepot_metadata::query::{self, StoredManifest};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{
    AccountId, Algorithm, Digest, MANIFEST_BYTES_MAX, Manifest, MediaType, Reference,
    RepositoryName, Tag,
};

use crate::metadata::refused;
use crate::{Registry, ServiceError};

/// The most tags in one page.
const TAGS_PAGE_MAX: usize = 10_000;

/// A manifest that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutManifest {
    pub digest: Digest,
    /// What it refers to, so that the client learns that this was understood.
    pub subject: Option<Digest>,
}

/// A manifest as it was pushed, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestContent {
    pub digest: Digest,
    pub media_type: String,
    pub content: Bytes,
}

/// A page of a repository's tags, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPage {
    pub tags: Vec<Tag>,
    pub more: bool,
}

impl Registry {
    /// Stores a manifest whose blobs are in the repository, and moves the tag
    /// of `reference` to it.
    pub async fn put_manifest(
        &self,
        who: &Principal,
        repository: &RepositoryName,
        reference: &Reference,
        content_type: Option<&MediaType>,
        content: Bytes,
    ) -> Result<PutManifest, ServiceError> {
        if content.len() > MANIFEST_BYTES_MAX {
            return Err(ServiceError::ManifestTooLarge {
                max: MANIFEST_BYTES_MAX,
            });
        }
        let manifest = Manifest::parse(&content, content_type)
            .map_err(|error| ServiceError::ManifestInvalid(error.to_string()))?;
        let digest = match reference {
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, &content),
            Reference::Digest(expected) => {
                let digest = Digest::of(expected.algorithm(), &content);
                if digest != *expected {
                    return Err(ServiceError::DigestInvalid(format!(
                        "the manifest's digest is {digest}, not {expected}"
                    )));
                }
                digest
            }
        };
        let tags = match reference {
            Reference::Tag(tag) => vec![tag.to_string()],
            Reference::Digest(_) => Vec::new(),
        };
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        let command = command::PutManifest {
            tags,
            create_repository: self.creates_on_push(&who.account)?,
            ..command::PutManifest::new(
                &who.account,
                repository,
                &digest,
                &manifest,
                content,
                self.clock.now_ms(),
            )
        };
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        Ok(PutManifest { digest, subject })
    }

    /// The manifest of a digest, or the one that a tag points to now.
    pub async fn get_manifest(
        &self,
        who: &Principal,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestContent, ServiceError> {
        let account = &who.account;
        let found = match reference {
            Reference::Digest(digest) => {
                self.find(|view| query::manifest(view, account, repository, digest))
                    .await?
            }
            Reference::Tag(tag) => {
                let view = self.current().await?;
                tagged(view.as_ref(), account, repository, tag)?
            }
        };
        let Some(manifest) = found else {
            self.existing(who, repository).await?;
            return Err(ServiceError::ManifestUnknown(reference.to_string()));
        };
        Ok(ManifestContent {
            digest: manifest.entry.digest,
            media_type: manifest.entry.media_type.to_string(),
            content: manifest.content,
        })
    }

    /// By digest: the manifest with all its tags. By tag: the tag alone.
    pub async fn delete_manifest(
        &self,
        who: &Principal,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(), ServiceError> {
        self.existing(who, repository).await?;
        let command = match reference {
            Reference::Tag(tag) => DeleteTag::new(&who.account, repository, tag).into(),
            Reference::Digest(digest) => {
                DeleteManifest::new(&who.account, repository, digest).into()
            }
        };
        let response = self.propose(command).await?;
        response.into_result().map(drop).map_err(refused)
    }

    /// At most `limit` tags behind `after`, in order.
    pub async fn list_tags(
        &self,
        who: &Principal,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<TagPage, ServiceError> {
        let view = self.current().await?;
        if query::repository(view.as_ref(), &who.account, repository)?.is_none() {
            return Err(ServiceError::NameUnknown(repository.clone()));
        }
        let limit = limit.min(TAGS_PAGE_MAX);
        let mut tags: Vec<Tag> =
            query::tags(view.as_ref(), &who.account, repository, after, limit + 1)?
                .into_iter()
                .map(|entry| entry.tag)
                .collect();
        let more = tags.len() > limit;
        tags.truncate(limit);
        Ok(TagPage { tags, more })
    }
}

/// The manifest that a tag points to. The view moves on between two reads: a
/// manifest that is not there any more was deleted, and its tags with it, unless
/// they had moved on.
fn tagged(
    view: &dyn KeyValue,
    account: &AccountId,
    repository: &RepositoryName,
    tag: &Tag,
) -> Result<Option<StoredManifest>, StorageError> {
    let mut last = None;
    while let Some(entry) = query::tag(view, account, repository, tag)? {
        let found = query::manifest(view, account, repository, &entry.digest)?;
        // The same tag as before and still nothing: no later look will differ.
        if found.is_some() || last == Some(entry.index) {
            return Ok(found);
        }
        last = Some(entry.index);
    }
    Ok(None)
}
