//! Images go when somebody asks, and what that frees is told before.
//!
//! The plan is made once, for the look and for the deed. The invariant: whatever
//! changes between the plan and the deletion of one of its manifests keeps that one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
/// Records that a plan looks at: some seconds.
const LOOKS_MAX: usize = 500_000;
/// Of those that name something, at first: most often one of them decides.
const NAMING_PAGE: usize = 8;
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
    /// The blobs go so long after: when the image can no longer be restored, and
    /// nothing has named them for as long as is set.
    pub unreferenced_after_ms: i64,
    /// None: all went that was to go. Else the blobs and bytes are those of all that
    /// was to go.
    pub failed: Option<FailedChild>,
}

/// Where the deletion of an index's manifests ended before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedChild {
    /// It may have gone: that is not known.
    pub digest: Digest,
    pub error: ServiceError,
    /// Those behind it, which stay: without a tag and without an index.
    pub untried: Vec<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneManifest {
    pub digest: Digest,
    pub media_type: MediaType,
    /// Of the manifest itself.
    pub bytes: u64,
}

/// Where it happens, and what has been seen of it. It blocks the thread.
struct Home {
    view: Arc<dyn KeyValue>,
    account: RegistryId,
    repository: RepositoryName,
    of_region: bool,
    /// Records that may still be looked at.
    looks_left: usize,
    /// Whether manifests are there, or were deleted and can be restored.
    is_there: BTreeMap<Digest, bool>,
}

/// What is decided before anything goes.
struct Plan {
    deletion: ImageDeletion,
    /// They go after the image, each after what names it.
    children: Vec<ManifestEntry>,
}

/// What names something.
type Naming = fn(&dyn KeyValue, &PlaceOf, usize) -> Result<Vec<Digest>, StorageError>;

// === impl Home ===

impl Home {
    fn place(&self, digest: &Digest) -> PlaceOf {
        PlaceOf {
            account: self.account.clone(),
            repository: self.repository.clone(),
            digest: *digest,
        }
    }

    fn entry(&mut self, digest: &Digest) -> Result<Option<ManifestEntry>, ServiceError> {
        let view = self.view.as_ref();
        let entry = query::manifest_entry(view, &self.account, &self.repository, digest)?;
        let blobs = entry.as_ref().map_or(0, |entry| entry.blobs.len());
        self.looked(1 + blobs)?;
        Ok(entry)
    }

    fn tags(&self, digest: &Digest, limit: usize) -> Result<Vec<Tag>, StorageError> {
        let view = self.view.as_ref();
        query::tags_of(view, &self.account, &self.repository, digest, limit)
    }

    fn looked(&mut self, records: usize) -> Result<(), ServiceError> {
        let left = self.looks_left.checked_sub(records);
        self.looks_left = left.ok_or_else(|| {
            ServiceError::Invalid(format!(
                "more than {LOOKS_MAX} records say what else has what this image names: what its \
                 deletion frees cannot be told; a deletion over /v2/ does not ask"
            ))
        })?;
        Ok(())
    }

    /// Whether nothing names `digest` but what is `going`, and what has gone.
    fn is_named_within(
        &mut self,
        naming: Naming,
        digest: &Digest,
        going: &BTreeSet<Digest>,
    ) -> Result<bool, ServiceError> {
        let place = self.place(digest);
        let mut limit = NAMING_PAGE;
        loop {
            let found = naming(self.view.as_ref(), &place, limit)?;
            self.looked(1 + found.len())?;
            for name in &found {
                if !going.contains(name) && self.is_there(name)? {
                    return Ok(false);
                }
            }
            if found.len() < limit {
                return Ok(true);
            }
            limit = limit.saturating_mul(8);
        }
    }

    /// A deleted image that can be restored still names its blobs.
    fn is_there(&mut self, digest: &Digest) -> Result<bool, ServiceError> {
        if let Some(is_there) = self.is_there.get(digest) {
            return Ok(*is_there);
        }
        let is_there = self.entry(digest)?.is_some();
        self.is_there.insert(*digest, is_there);
        Ok(is_there)
    }

    /// The manifests that nothing but those of `going` names, level by level: each is
    /// there after what names it. Of more than go with one request, one more.
    fn orphaned(&mut self, root: &ManifestEntry) -> Result<Vec<ManifestEntry>, ServiceError> {
        let mut going = BTreeSet::from([root.digest]);
        let mut found: Vec<ManifestEntry> = Vec::new();
        let mut queue: Vec<Digest> = root.children.clone();
        while let Some(child) = queue.pop() {
            if found.len() > MANIFESTS_MAX {
                break;
            }
            if going.contains(&child) {
                continue;
            }
            if !self.is_named_within(query::parents_of, &child, &going)? {
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
        &mut self,
        going: &[&ManifestEntry],
        deletion: &mut ImageDeletion,
    ) -> Result<(), ServiceError> {
        let digests: BTreeSet<Digest> = going.iter().map(|entry| entry.digest).collect();
        let blobs: BTreeSet<Digest> = going.iter().flat_map(|it| &it.blobs).copied().collect();
        for digest in blobs {
            if !self.is_named_within(query::users_of, &digest, &digests)? {
                continue;
            }
            let Some(blob) = query::blob(self.view.as_ref(), &digest)? else {
                continue;
            };
            deletion.blobs += 1;
            deletion.blob_bytes = deletion.blob_bytes.saturating_add(blob.size);
            if self.is_only_here(&self.place(&digest))? {
                deletion.unique_blobs += 1;
                deletion.unique_bytes = deletion.unique_bytes.saturating_add(blob.size);
            }
        }
        Ok(())
    }

    /// Whether no other repository has a blob, as far as the caller may know.
    fn is_only_here(&self, place: &PlaceOf) -> Result<bool, StorageError> {
        let view = self.view.as_ref();
        if self.of_region {
            let homes = query::homes_of(view, &place.digest, None, 2)?;
            return Ok(homes.iter().all(|home| home == place));
        }
        let homes = query::links(view, &self.account, &place.digest, 2)?;
        Ok(homes.iter().all(|home| *home == self.repository))
    }

    /// `after_ms`: for how long nothing has to name what goes.
    fn plan(
        mut self,
        request: &ImageDeletionRequest,
        digest: &Digest,
        after_ms: i64,
    ) -> Result<Plan, ServiceError> {
        let unknown = || ServiceError::ManifestUnknown(request.reference.to_string());
        let root = self.entry(digest)?.ok_or_else(unknown)?;
        let parents = query::parents_of(self.view.as_ref(), &self.place(digest), 1)?;
        let mut plan = Plan {
            deletion: ImageDeletion {
                digest: root.digest,
                manifests: Vec::new(),
                tags: Vec::new(),
                children_left: 0,
                blobs: 0,
                blob_bytes: 0,
                unique_blobs: 0,
                unique_bytes: 0,
                of_region: self.of_region,
                unreferenced_after_ms: after_ms,
                failed: None,
            },
            children: Vec::new(),
        };
        let is_whole = match &request.reference {
            Reference::Tag(tag) => {
                plan.deletion.tags = vec![tag.clone()];
                // Another one keeps it.
                self.tags(digest, 2)?.len() < 2 && parents.is_empty()
            }
            Reference::Digest(_) => {
                if let Some(parent) = parents.first() {
                    return Err(refused(Refused::ManifestReferenced(Referenced {
                        digest: root.digest.to_string(),
                        by: parent.to_string(),
                    })));
                }
                plan.deletion.tags = self.tags(digest, TAGS_MAX)?;
                true
            }
        };
        if !is_whole {
            return Ok(plan);
        }
        let children = self.orphaned(&root)?;
        if !request.with_children {
            plan.deletion.children_left = children.len().min(MANIFESTS_MAX) as u64;
        } else if children.len() > MANIFESTS_MAX {
            return Err(ServiceError::Invalid(format!(
                "more than {MANIFESTS_MAX} manifests would go with this index, and nothing has \
                 gone: delete it without its children, and those by their digests"
            )));
        } else {
            plan.children = children;
        }
        let mut going: Vec<&ManifestEntry> = vec![&root];
        going.extend(&plan.children);
        plan.deletion.manifests = going.iter().map(|it| GoneManifest::from(*it)).collect();
        self.count(&going, &mut plan.deletion)?;
        Ok(plan)
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
        let plan = self.deletion_plan(who, request, image.digest).await?;
        let Plan {
            mut deletion,
            children,
        } = plan;
        if !request.dry_run {
            let tag = match &request.reference {
                Reference::Tag(tag) => Some(tag),
                Reference::Digest(_) => None,
            };
            let deleted = self.delete_image(who, repository, &deletion.digest, tag);
            deletion.tags = deleted.await?;
            let (stayed, failed) = self.remove_children(who, repository, &children).await;
            let left = failed
                .iter()
                .flat_map(|it| it.untried.iter().chain([&it.digest]));
            let left: BTreeSet<Digest> = left.chain(&stayed).copied().collect();
            deletion.manifests.retain(|it| !left.contains(&it.digest));
            deletion.children_left += stayed.len() as u64;
            deletion.failed = failed;
        }
        Ok(deletion)
    }

    async fn deletion_plan(
        &self,
        who: &Caller,
        request: &ImageDeletionRequest,
        digest: Digest,
    ) -> Result<Plan, ServiceError> {
        let home = Home {
            view: self.local()?,
            account: who.account.clone(),
            repository: request.repository.clone(),
            // They asked for no such thing, so it is in no log.
            of_region: self.may_observe(who)?,
            looks_left: LOOKS_MAX,
            is_there: BTreeMap::new(),
        };
        let mut after_ms = millis(self.collecting().settings.unreferenced_after);
        if self.author(who).await?.is_some() {
            let settings = query::registry_settings(home.view.as_ref(), &who.account)?;
            let window_ms = i64::try_from(settings.undelete_window_ms).unwrap_or(i64::MAX);
            after_ms = after_ms.saturating_add(window_ms);
        }
        let request = request.clone();
        let planning = self
            .blocking
            .run(move || home.plan(&request, &digest, after_ms));
        planning
            .await
            .map_err(|error| ServiceError::internal(&error))?
    }

    /// Those that stayed, since somebody has named them meanwhile; and the first that
    /// fails, which ends it: what went is gone, and has to be told.
    async fn remove_children(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        children: &[ManifestEntry],
    ) -> (BTreeSet<Digest>, Option<FailedChild>) {
        let mut stayed = BTreeSet::new();
        for (nth, child) in children.iter().enumerate() {
            match self.remove_child(who, repository, child).await {
                Ok(true) => {}
                Ok(false) => {
                    stayed.insert(child.digest);
                }
                Err(error) => {
                    let untried = children[nth + 1..].iter().map(|it| it.digest);
                    let failed = FailedChild {
                        digest: child.digest,
                        error,
                        untried: untried.collect(),
                    };
                    return (stayed, Some(failed));
                }
            }
        }
        (stayed, None)
    }

    /// Whether it is gone; it stays if somebody has named it meanwhile.
    async fn remove_child(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        child: &ManifestEntry,
    ) -> Result<bool, ServiceError> {
        let command = DeleteManifest {
            at_ms: self.cluster_clock.now_ms(),
            expected: Some(ImageState {
                index: child.index,
                tags: Vec::new(),
                archived_at_ms: child.archived_at_ms,
            }),
            author: self.author(who).await?,
            ..DeleteManifest::new(&who.account, repository, &child.digest)
        };
        let response = self.propose(command.into()).await?;
        match response.into_result() {
            Ok(_) => Ok(true),
            Err(
                Refused::ManifestUnknown(_)
                | Refused::TagNotAsExpected(_)
                | Refused::ManifestReferenced(_),
            ) => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }
}
