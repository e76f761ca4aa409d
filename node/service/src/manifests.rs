//! Manifests and tags.

use std::collections::BTreeSet;

use bytes::Bytes;
use entrepot_metadata::command::{self, DeleteManifest, DeleteTag};
use entrepot_metadata::limits::IMAGE_MANIFESTS_MAX;
use entrepot_metadata::query::{self, Cause, ServedManifest};
use entrepot_metadata::response::Refused;
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{
    Algorithm, Descriptor, Digest, MANIFEST_BYTES_MAX, Manifest, MediaType, Reference, RegistryId,
    RepositoryName, Tag,
};
use entrepot_proto::environment::Blocking;

use crate::metadata::{digests, refused};
use crate::{Caller, Registry, ServiceError, Target};

/// The most tags in one page.
const TAGS_PAGE_MAX: usize = 10_000;

/// From here on a manifest takes milliseconds to be read and hashed.
const READ_APART_BYTES_MIN: usize = 256 * 1024;

/// A manifest to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestPush {
    /// What the content has to hash to. None: to whatever it does, by sha256.
    pub digest: Option<Digest>,
    /// Tags that move to it, all of them or none.
    pub tags: Vec<Tag>,
    /// What each of `tags` must be like before.
    pub condition: TagCondition,
    /// What the client says that it is.
    pub content_type: Option<MediaType>,
    pub content: Bytes,
}

/// What a tag must be like for a request to change anything. Decided where the
/// change is: nothing comes in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TagCondition {
    /// Whatever it likes.
    #[default]
    None,
    /// It points to this digest.
    Is(Digest),
    /// It points to something.
    Present,
    /// There is no such tag.
    Absent,
}

/// A manifest that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutManifest {
    pub digest: Digest,
    /// What it refers to, so that the client learns that this was understood.
    pub subject: Option<Digest>,
    /// The tags that point to it now because this push wanted it.
    pub tags: Vec<Tag>,
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

// === impl ManifestPush ===

impl ManifestPush {
    /// Under the name `reference`, whatever that was before.
    pub fn new(reference: &Reference, content: Bytes) -> Self {
        let (digest, tags) = match reference {
            Reference::Tag(tag) => (None, vec![tag.clone()]),
            Reference::Digest(digest) => (Some(*digest), Vec::new()),
        };
        Self {
            digest,
            tags,
            condition: TagCondition::None,
            content_type: None,
            content,
        }
    }

    /// What the content says, and what it hashes to. Large content is looked at
    /// where it keeps no other request waiting.
    async fn read(&self, apart: Blocking) -> Result<(Manifest, Digest), ServiceError> {
        if self.content.len() < READ_APART_BYTES_MIN {
            return self.read_here();
        }
        let push = self.clone();
        let reading = apart.run(move || push.read_here());
        reading
            .await
            .map_err(|error| ServiceError::internal(&error))?
    }

    fn read_here(&self) -> Result<(Manifest, Digest), ServiceError> {
        let manifest = Manifest::parse(&self.content, self.content_type.as_ref())
            .map_err(|error| ServiceError::ManifestInvalid(error.detail()))?;
        Ok((manifest, self.digest()?))
    }

    /// What the content hashes to.
    pub(crate) fn digest(&self) -> Result<Digest, ServiceError> {
        let expected = self.digest.as_ref();
        let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = Digest::of(algorithm, &self.content);
        match expected.filter(|expected| **expected != digest) {
            None => Ok(digest),
            Some(expected) => Err(ServiceError::DigestInvalid(format!(
                "the manifest's digest is {digest}, not {expected}"
            ))),
        }
    }
}

// === impl TagCondition ===

impl TagCondition {
    pub(crate) fn command(self) -> Option<command::TagCondition> {
        match self {
            Self::None => None,
            Self::Is(digest) => Some(command::TagCondition::is(&digest)),
            Self::Present => Some(command::TagCondition::present()),
            Self::Absent => Some(command::TagCondition::absent()),
        }
    }

    /// Refuses to expect anything of what a digest names.
    fn without_tag(self) -> Result<(), ServiceError> {
        match self {
            Self::None => Ok(()),
            _ => Err(ServiceError::Invalid(
                "a condition is for a tag: what a digest names never changes".to_owned(),
            )),
        }
    }
}

impl Registry {
    /// Stores a manifest whose blobs are in the repository, and moves its tags
    /// to it.
    pub async fn put_manifest(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        push: ManifestPush,
    ) -> Result<PutManifest, ServiceError> {
        self.authorize(who, "ecr:PutImage", Target::Repository(repository))?;
        self.put_authorized(who, repository, push).await
    }

    /// The same for whoever was asked already.
    pub(crate) async fn put_authorized(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        push: ManifestPush,
    ) -> Result<PutManifest, ServiceError> {
        self.put_for(who, repository, push, Cause::Push).await
    }

    /// `cause`: what is remembered of the tags that it moves.
    pub(crate) async fn put_for(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        push: ManifestPush,
        cause: Cause,
    ) -> Result<PutManifest, ServiceError> {
        if push.content.len() > MANIFEST_BYTES_MAX {
            return Err(ServiceError::ManifestTooLarge {
                max: MANIFEST_BYTES_MAX,
            });
        }
        if push.tags.is_empty() {
            push.condition.without_tag()?;
        }
        let leave = self.budgets.work(push.content.len()).await?;
        let (manifest, digest) = push.read(self.blocking).await?;
        self.check_size(who, repository, &manifest).await?;
        let declared = push.content_type.as_ref();
        self.check_found(who, repository, (&digest, declared), &manifest)?;
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        let command = command::PutManifest {
            tags: push.tags.iter().map(Tag::to_string).collect(),
            condition: push.condition.command(),
            author: self.author_of_push(who, cause)?,
            create_repository: self.creates_for(who, repository).await?
                && self.creates_plain(&who.account, repository).await?,
            ..command::PutManifest::new(
                &who.account,
                repository,
                &digest,
                &manifest,
                push.content,
                self.cluster_clock.now_ms(),
            )
        };
        // The command has what it needs, and may have to wait for a quorum.
        drop(manifest);
        self.counted(&who.account).await?;
        self.put(who, repository, command).await?;
        // Whoever waits for other regions keeps nobody here from working.
        drop(leave);
        self.replicated(who, repository, &digest, &push.tags)
            .await?;
        Ok(PutManifest {
            digest,
            subject,
            tags: push.tags,
        })
    }

    async fn put(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        command: command::PutManifest,
    ) -> Result<(), ServiceError> {
        let response = self.propose(command.clone().into()).await?;
        let put = response.into_result();
        let Err(Refused::BlobsUnknown(unknown)) = &put else {
            return put.map(drop).map_err(refused);
        };
        // Those that are on their way from another region count as here.
        if !self
            .bring(who, repository, &digests(&unknown.digests))
            .await
        {
            return put.map(drop).map_err(refused);
        }
        let response = self.propose(command.into()).await?;
        response.into_result().map(drop).map_err(refused)
    }

    /// That an index, with all that it names, can be replicated. Here and not
    /// where the command is applied: what a digest names never changes.
    async fn check_size(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<(), ServiceError> {
        let children = manifest.children().iter().map(|child| child.digest);
        let children: Vec<Digest> = children.collect::<BTreeSet<_>>().into_iter().collect();
        if children.is_empty() {
            return Ok(());
        }
        let max = IMAGE_MANIFESTS_MAX;
        let size =
            |view: &dyn KeyValue| query::image_size(view, &who.account, repository, &children, max);
        let mut found = size(self.local()?.as_ref())?;
        if !found.complete {
            // Refused with the command, or a sparse index.
            found = size(self.current().await?.as_ref())?;
        }
        if found.manifests > max {
            return Err(ServiceError::ManifestInvalid(format!(
                "an image has at most {max} manifests, those of the indexes that it names included"
            )));
        }
        Ok(())
    }

    /// That what is here already is what the manifest, and the client that brings
    /// it, say that it is: whoever pulls it would refuse it. What is not here is
    /// the command's to judge.
    fn check_found(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        (digest, declared): (&Digest, Option<&MediaType>),
        manifest: &Manifest,
    ) -> Result<(), ServiceError> {
        let view = self.local()?;
        let entry = |digest: &Digest| {
            query::manifest_entry(view.as_ref(), &who.account, repository, digest)
        };
        if let (Some(_), Some(found)) = (declared, entry(digest)?)
            && found.media_type != manifest.media_type
        {
            return Err(ServiceError::ManifestInvalid(format!(
                "this repository has these bytes as {}, so they cannot be {} as well: let them \
                 say their mediaType",
                found.media_type, manifest.media_type
            )));
        }
        let account = &who.account;
        for blob in manifest.blobs() {
            // Of others' blobs nothing is told.
            if query::linked(view.as_ref(), account, repository, &blob.digest)?
                && let Some(found) = query::blob(view.as_ref(), &blob.digest)?
            {
                has_size(blob, found.size)?;
            }
        }
        for child in manifest.children() {
            let Some(found) = entry(&child.digest)? else {
                continue;
            };
            has_size(child, found.content_len)?;
            if found.media_type != child.media_type {
                return Err(ServiceError::ManifestInvalid(format!(
                    "{} is of type {}, not {}",
                    child.digest, found.media_type, child.media_type
                )));
            }
        }
        Ok(())
    }

    /// The manifest of a digest, or the one that a tag points to now.
    ///
    /// # Errors
    /// `ImageArchived` when it is in the archive, whatever another region could give.
    pub async fn get_manifest(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestContent, ServiceError> {
        self.authorize(who, "ecr:BatchGetImage", Target::Repository(repository))?;
        let mut found = self.manifest_here(who, repository, reference).await?;
        if found.is_none() {
            self.not_archived(who, repository, reference)?;
            found = self.manifest_elsewhere(who, repository, reference).await?;
            if found.is_none() {
                // It may have come meanwhile.
                found = self.manifest_here(who, repository, reference).await?;
            }
        }
        let Some(manifest) = found else {
            self.existing(who, repository).await?;
            return Err(ServiceError::ManifestUnknown(reference.to_string()));
        };
        Ok(ManifestContent {
            digest: manifest.digest,
            media_type: manifest.media_type,
            content: manifest.content,
        })
    }

    async fn manifest_here(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ServedManifest>, ServiceError> {
        let account = &who.account;
        Ok(match reference {
            Reference::Digest(digest) => {
                self.find(|view| query::served_manifest(view, account, repository, digest))
                    .await?
            }
            Reference::Tag(tag) => {
                let view = self.current().await?;
                let look = |digest: &Digest| {
                    query::served_manifest(view.as_ref(), account, repository, digest)
                };
                tagged(view.as_ref(), account, repository, tag, look)?
            }
        })
    }

    /// By digest: the manifest with all its tags. By tag: the tag alone, if it
    /// is as `condition` says.
    pub async fn delete_manifest(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        reference: &Reference,
        condition: TagCondition,
    ) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:BatchDeleteImage", Target::Repository(repository))?;
        self.existing(who, repository).await?;
        let command = match reference {
            Reference::Tag(tag) => DeleteTag {
                condition: condition.command(),
                at_ms: self.cluster_clock.now_ms(),
                author: self.author(who).await?,
                ..DeleteTag::new(&who.account, repository, tag)
            }
            .into(),
            Reference::Digest(digest) => {
                condition.without_tag()?;
                DeleteManifest {
                    at_ms: self.cluster_clock.now_ms(),
                    author: self.author(who).await?,
                    ..DeleteManifest::new(&who.account, repository, digest)
                }
                .into()
            }
        };
        let response = self.propose(command).await?;
        response.into_result().map(drop).map_err(refused)
    }

    /// At most `limit` tags behind `after`, in order.
    pub async fn list_tags(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<TagPage, ServiceError> {
        self.authorize(who, "ecr:ListImages", Target::Repository(repository))?;
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

fn has_size(named: &Descriptor, size: u64) -> Result<(), ServiceError> {
    if named.size == size {
        return Ok(());
    }
    Err(ServiceError::ManifestInvalid(format!(
        "{} has {size} bytes, not {}",
        named.digest, named.size
    )))
}

/// What `look` finds of the manifest that a tag points to. The view moves on between two reads: a
/// manifest that is not there any more was deleted, and its tags with it, unless
/// they had moved on.
pub(crate) fn tagged<T>(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    tag: &Tag,
    look: impl Fn(&Digest) -> Result<Option<T>, StorageError>,
) -> Result<Option<T>, StorageError> {
    let mut last = None;
    while let Some(entry) = query::tag(view, account, repository, tag)? {
        let found = look(&entry.digest)?;
        // The same tag as before and still nothing: no later look will differ.
        if found.is_some() || last == Some(entry.index) {
            return Ok(found);
        }
        last = Some(entry.index);
    }
    Ok(None)
}
