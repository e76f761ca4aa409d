//! Images go when somebody asks, and what that frees is told before.
//!
//! The plan is made once, for the look and for the deed. The invariant: whatever
//! changes between the plan and the deletion of one of its manifests keeps that one.

use std::collections::BTreeSet;

use entrepot_metadata::command::{DeleteManifest, ImageState};
use entrepot_metadata::query::{self, ManifestEntry, PlaceOf};
use entrepot_metadata::response::{Referenced, Refused};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{Digest, MediaType, Reference, RegistryId, RepositoryName, Tag};

use crate::collector::millis;
use crate::metadata::refused;
use crate::{Caller, Registry, ServiceError, Target};

/// Manifests of an index that one request takes with it.
const MANIFESTS_MAX: usize = 1_000;
/// Different blobs of them that are looked at.
const BLOBS_MAX: usize = 100_000;
/// Tags of an image that are told of.
const TAGS_MAX: usize = 1_000;

/// What somebody wants to go.
#[derive(Debug, Clone)]
pub struct ImageDeletionRequest {
    pub repository: RepositoryName,
    /// By tag: it goes, and the image with its last one, unless an index names it.
    pub reference: Reference,
    /// With the manifests of an index that nothing else names.
    pub with_children: bool,
    /// Nothing goes.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDeletion {
    pub digest: Digest,
    pub manifests: Vec<GoneManifest>,
    pub tags: Vec<Tag>,
    /// Manifests that stay without a tag and without an index.
    pub children_left: u64,
    /// That no image of the repository names any more then.
    pub blobs: u64,
    pub blob_bytes: u64,
    /// Those of them that no other repository has.
    pub unique_blobs: u64,
    pub unique_bytes: u64,
    /// Other repositories of the whole region; else of the caller's registry.
    pub of_region: bool,
    /// The blobs go so long after.
    pub unreferenced_after_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneManifest {
    pub digest: Digest,
    pub media_type: MediaType,
    /// Of the manifest itself.
    pub bytes: u64,
}

/// Where it happens.
struct Home<'a> {
    view: &'a dyn KeyValue,
    account: &'a RegistryId,
    repository: &'a RepositoryName,
    of_region: bool,
}

// === impl Home ===

impl Home<'_> {
    fn place(&self, digest: &Digest) -> PlaceOf {
        PlaceOf {
            account: self.account.clone(),
            repository: self.repository.clone(),
            digest: *digest,
        }
    }

    fn entry(&self, digest: &Digest) -> Result<Option<ManifestEntry>, StorageError> {
        query::manifest_entry(self.view, self.account, self.repository, digest)
    }

    fn tags(&self, digest: &Digest, limit: usize) -> Result<Vec<Tag>, StorageError> {
        query::tags_of(self.view, self.account, self.repository, digest, limit)
    }

    /// The manifests that nothing but those of `going` names, level by level: each is
    /// there after what names it.
    fn orphaned(&self, root: &ManifestEntry) -> Result<Vec<ManifestEntry>, StorageError> {
        let mut going = BTreeSet::from([root.digest]);
        let mut found: Vec<ManifestEntry> = Vec::new();
        let mut queue: Vec<Digest> = root.children.clone();
        while let Some(child) = queue.pop() {
            if found.len() >= MANIFESTS_MAX || going.contains(&child) {
                continue;
            }
            let parents = query::parents_of(self.view, &self.place(&child), going.len() + 1)?;
            if !parents.iter().all(|parent| going.contains(parent)) {
                continue;
            }
            if !self.tags(&child, 1)?.is_empty() {
                continue;
            }
            if let Some(entry) = self.entry(&child)? {
                going.insert(child);
                queue.extend(&entry.children);
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// Counts what is freed when these go.
    fn count(
        &self,
        going: &[&ManifestEntry],
        deletion: &mut ImageDeletion,
    ) -> Result<(), ServiceError> {
        let digests: BTreeSet<Digest> = going.iter().map(|entry| entry.digest).collect();
        let blobs: BTreeSet<Digest> = going
            .iter()
            .flat_map(|it| &it.blobs)
            .copied()
            .take(BLOBS_MAX)
            .collect();
        for digest in blobs {
            let place = self.place(&digest);
            let users = query::users_of(self.view, &place, digests.len() + 1)?;
            if !users.iter().all(|user| digests.contains(user)) {
                continue;
            }
            let Some(blob) = query::blob(self.view, &digest)? else {
                continue;
            };
            deletion.blobs += 1;
            deletion.blob_bytes = deletion.blob_bytes.saturating_add(blob.size);
            if self.is_only_here(&place)? {
                deletion.unique_blobs += 1;
                deletion.unique_bytes = deletion.unique_bytes.saturating_add(blob.size);
            }
        }
        Ok(())
    }

    /// Whether no other repository has a blob, as far as the caller may know.
    fn is_only_here(&self, place: &PlaceOf) -> Result<bool, StorageError> {
        if self.of_region {
            let homes = query::homes_of(self.view, &place.digest, None, 2)?;
            return Ok(homes.iter().all(|home| home == place));
        }
        let homes = query::links(self.view, self.account, &place.digest, 2)?;
        Ok(homes.iter().all(|home| home == self.repository))
    }
}

impl From<&ManifestEntry> for GoneManifest {
    fn from(entry: &ManifestEntry) -> Self {
        Self {
            digest: entry.digest,
            media_type: entry.media_type.clone(),
            bytes: entry.content_len,
        }
    }
}

impl Registry {
    /// Deletes an image, or one of its tags, or says what that would free.
    ///
    /// # Errors
    /// `ManifestUnknown`; `Referenced` when an index names what is to go by its digest.
    pub async fn remove_image(
        &self,
        who: &Caller,
        request: &ImageDeletionRequest,
    ) -> Result<ImageDeletion, ServiceError> {
        let repository = &request.repository;
        self.authorize(who, "ecr:BatchDeleteImage", Target::Repository(repository))?;
        let image = self
            .found_image(who, repository, &request.reference)
            .await?;
        let view = self.local()?;
        let home = Home {
            view: view.as_ref(),
            account: &who.account,
            repository,
            of_region: self.observes(who).is_ok(),
        };
        let unknown = || ServiceError::ManifestUnknown(request.reference.to_string());
        let root = home.entry(&image.digest)?.ok_or_else(unknown)?;
        let parents = query::parents_of(home.view, &home.place(&root.digest), 1)?;
        let mut deletion = ImageDeletion {
            digest: root.digest,
            manifests: Vec::new(),
            tags: Vec::new(),
            children_left: 0,
            blobs: 0,
            blob_bytes: 0,
            unique_blobs: 0,
            unique_bytes: 0,
            of_region: home.of_region,
            unreferenced_after_ms: millis(self.collecting().settings.unreferenced_after),
        };
        let tag = match &request.reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        if let (None, Some(parent)) = (tag, parents.first()) {
            return Err(refused(Refused::ManifestReferenced(Referenced {
                digest: root.digest.to_string(),
                by: parent.to_string(),
            })));
        }
        deletion.tags = match tag {
            Some(tag) => vec![tag.clone()],
            None => home.tags(&root.digest, TAGS_MAX)?,
        };
        let is_whole = match tag {
            // Another one keeps it.
            Some(_) => home.tags(&root.digest, 2)?.len() < 2 && parents.is_empty(),
            None => true,
        };
        let mut children = Vec::new();
        if is_whole {
            children = home.orphaned(&root)?;
            if !request.with_children {
                deletion.children_left = children.len() as u64;
                children.clear();
            }
            let mut going: Vec<&ManifestEntry> = vec![&root];
            going.extend(&children);
            deletion.manifests = going.iter().map(|it| GoneManifest::from(*it)).collect();
            home.count(&going, &mut deletion)?;
        }
        drop(view);
        if !request.dry_run {
            let deleted = self.delete_image(who, repository, &root.digest, tag);
            deletion.tags = deleted.await?;
            let stayed = self.remove_children(who, repository, &children).await?;
            deletion.manifests.retain(|it| !stayed.contains(&it.digest));
            deletion.children_left += stayed.len() as u64;
        }
        Ok(deletion)
    }

    /// Those that stayed, since somebody has named them meanwhile.
    async fn remove_children(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        children: &[ManifestEntry],
    ) -> Result<BTreeSet<Digest>, ServiceError> {
        let mut stayed = BTreeSet::new();
        for child in children {
            let command = DeleteManifest {
                at_ms: self.cluster_clock.now_ms(),
                expected: Some(ImageState {
                    index: child.index,
                    tags: Vec::new(),
                    archived_at_ms: child.archived_at_ms,
                }),
                author: self.author(who)?,
                ..DeleteManifest::new(&who.account, repository, &child.digest)
            };
            let response = self.propose(command.into()).await?;
            match response.into_result() {
                Ok(_) => {}
                Err(
                    Refused::ManifestUnknown(_)
                    | Refused::TagNotAsExpected(_)
                    | Refused::ManifestReferenced(_),
                ) => {
                    stayed.insert(child.digest);
                }
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(stayed)
    }
}
