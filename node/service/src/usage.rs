//! How much a registry holds: images, the bytes that they have each by itself, and
//! the bytes that are kept for them, where a blob counts once.
//!
//! It is counted when it is asked for, in steps that leave the node to others. What
//! is pushed or deleted meanwhile may be in it or not. The invariant: what is held in
//! memory is bounded, and a registry that is too large is refused, not told wrongly.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use entrepot_metadata::limits::UNBOUNDED;
use entrepot_metadata::query::{self, Held, ManifestEntry};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{Digest, RegistryId, RepositoryName};

use crate::{Caller, Registry, ServiceError, Target};

/// Different blobs of a registry: as many as are held in memory, 32 bytes each.
const BLOBS_MAX: usize = 2_000_000;
/// Repositories that are told of: those that hold most.
pub(crate) const REPOSITORIES_TOLD_MAX: usize = 10_000;
/// Images looked at in one step, and read at a time.
const STEP_IMAGES: usize = 1_000;
const PAGE: usize = 50;

/// How much something holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub images: u64,
    /// Manifests, configs and layers, each as often as an image names it.
    pub logical_bytes: u64,
    /// The same with every blob once: what is kept, on each node that keeps it.
    pub unique_bytes: u64,
}

/// How much there is of each storage class. What images of both share counts as
/// standard: it would be kept without the archive, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassAmounts {
    pub standard: Amount,
    pub archive: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUsage {
    /// What several repositories share counts once.
    pub total: ClassAmounts,
    /// Those that keep most, those first. What they share counts in each.
    pub repositories: Vec<(RepositoryName, ClassAmounts)>,
    pub repositories_left_out: u64,
    /// Of the deleted images that can be restored: unique is what nothing else of the
    /// registry needs. Not in the total.
    pub restorable: Amount,
    /// As quotas count it; none: not all of it is counted.
    pub held: Option<Held>,
    /// The most that it may hold of that.
    pub bytes_max: u64,
}

/// By the beginnings of their digests, whether all images so far that name them are
/// in the archive.
type Blobs = HashMap<u128, bool>;

/// What one more image that names a blob changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    New,
    /// It was counted as the archive's alone.
    Shared,
}

/// A count under way.
struct Counting {
    registry: RegistryId,
    /// The repository that was looked at last.
    repository: Option<RepositoryName>,
    /// It is being looked at, behind this image.
    is_within: bool,
    after: Option<Digest>,
    /// The beginnings are as hard to make twice as 64 bits are to count.
    blobs: Blobs,
    blobs_here: Blobs,
    here: ClassAmounts,
    /// All that is there was looked at: now what was deleted.
    is_of_deleted: bool,
    usage: RegistryUsage,
}

// === impl Amount ===

impl Amount {
    fn add(&mut self, image: &ManifestEntry) {
        self.images += 1;
        let bytes = image.size.saturating_add(image.content_len);
        self.logical_bytes = self.logical_bytes.saturating_add(bytes);
        // A manifest is kept in each repository that has it.
        self.keep(image.content_len);
    }

    fn keep(&mut self, bytes: u64) {
        self.unique_bytes = self.unique_bytes.saturating_add(bytes);
    }
}

// === impl ClassAmounts ===

impl ClassAmounts {
    fn of(&mut self, is_archived: bool) -> &mut Amount {
        if is_archived {
            &mut self.archive
        } else {
            &mut self.standard
        }
    }

    fn keep(&mut self, step: Step, is_archived: bool, bytes: u64) {
        match step {
            Step::Nothing => {}
            Step::New => self.of(is_archived).keep(bytes),
            Step::Shared => {
                let archive = &mut self.archive.unique_bytes;
                *archive = archive.saturating_sub(bytes);
                self.standard.keep(bytes);
            }
        }
    }

    fn unique_bytes(&self) -> u64 {
        let archive = self.archive.unique_bytes;
        self.standard.unique_bytes.saturating_add(archive)
    }
}

// === impl Step ===

impl Step {
    fn of(blobs: &mut Blobs, start: u128, is_archived: bool) -> Self {
        match blobs.insert(start, is_archived) {
            None => Self::New,
            Some(true) if !is_archived => Self::Shared,
            Some(before) => {
                blobs.insert(start, before);
                Self::Nothing
            }
        }
    }
}

// === impl Counting ===

impl Counting {
    fn new(registry: &RegistryId) -> Self {
        Self {
            registry: registry.clone(),
            repository: None,
            is_within: false,
            after: None,
            blobs: Blobs::new(),
            blobs_here: Blobs::new(),
            here: ClassAmounts::default(),
            is_of_deleted: false,
            usage: RegistryUsage {
                total: ClassAmounts::default(),
                repositories: Vec::new(),
                repositories_left_out: 0,
                restorable: Amount::default(),
                held: None,
                bytes_max: UNBOUNDED,
            },
        }
    }

    /// Whether there is more to look at.
    fn step(&mut self, view: &dyn KeyValue) -> Result<bool, ServiceError> {
        let mut looked_at = 0;
        while looked_at < STEP_IMAGES {
            if !self.is_within && !self.next(view)? {
                if self.is_of_deleted {
                    return Ok(false);
                }
                // Whatever is not counted by now is kept for deleted images alone.
                self.is_of_deleted = true;
                self.repository = None;
                continue;
            }
            let Some(repository) = self.repository.clone() else {
                return Ok(false);
            };
            let after = self.after.as_ref();
            let page = if self.is_of_deleted {
                let deleted = query::deleted_images(view, &self.registry, &repository, after, PAGE);
                let images = deleted?.into_iter().map(|image| image.manifest);
                images.collect()
            } else {
                query::manifests(view, &self.registry, &repository, after, PAGE)?
            };
            for image in &page {
                if self.is_of_deleted {
                    self.deleted(view, image)?;
                } else {
                    self.image(view, image)?;
                }
            }
            looked_at += PAGE;
            match page.last() {
                Some(last) if page.len() == PAGE => self.after = Some(last.digest),
                _ if self.is_of_deleted => {
                    self.is_within = false;
                    self.after = None;
                }
                _ => self.end(repository),
            }
            if self.blobs.len() > BLOBS_MAX {
                return Err(ServiceError::LimitExceeded(format!(
                    "what a registry uses is counted up to {BLOBS_MAX} different blobs"
                )));
            }
        }
        Ok(true)
    }

    /// Goes on to the next repository, if there is one.
    fn next(&mut self, view: &dyn KeyValue) -> Result<bool, StorageError> {
        let after = self.repository.as_ref().map(RepositoryName::as_str);
        let found = query::repositories(view, &self.registry, after, 1)?.pop();
        self.is_within = found.is_some();
        self.repository = found.map(|found| found.name);
        Ok(self.is_within)
    }

    fn image(&mut self, view: &dyn KeyValue, image: &ManifestEntry) -> Result<(), StorageError> {
        let is_archived = image.archived_at_ms.is_some();
        self.here.of(is_archived).add(image);
        self.usage.total.of(is_archived).add(image);
        for digest in &image.blobs {
            let start = beginning(digest);
            let here = Step::of(&mut self.blobs_here, start, is_archived);
            if here == Step::Nothing {
                continue;
            }
            // What is elsewhere, such as a layer that is only linked to, takes no room.
            let size = query::blob(view, digest)?.map_or(0, |blob| blob.size);
            self.here.keep(here, is_archived, size);
            let everywhere = Step::of(&mut self.blobs, start, is_archived);
            self.usage.total.keep(everywhere, is_archived, size);
        }
        Ok(())
    }

    fn deleted(&mut self, view: &dyn KeyValue, image: &ManifestEntry) -> Result<(), StorageError> {
        self.usage.restorable.add(image);
        for digest in &image.blobs {
            if self.blobs.insert(beginning(digest), false).is_none() {
                let size = query::blob(view, digest)?.map_or(0, |blob| blob.size);
                self.usage.restorable.keep(size);
            }
        }
        Ok(())
    }

    fn end(&mut self, repository: RepositoryName) {
        let here = std::mem::take(&mut self.here);
        self.usage.repositories.push((repository, here));
        if self.usage.repositories.len() >= 2 * REPOSITORIES_TOLD_MAX {
            self.leave_out();
        }
        self.is_within = false;
        self.after = None;
        self.blobs_here.clear();
    }

    /// The smallest are counted and not told of.
    fn leave_out(&mut self) {
        let all = &mut self.usage.repositories;
        all.sort_by_key(|(_, amounts)| Reverse(amounts.unique_bytes()));
        let left_out = all.len().saturating_sub(REPOSITORIES_TOLD_MAX);
        all.truncate(REPOSITORIES_TOLD_MAX);
        self.usage.repositories_left_out += left_out as u64;
    }

    fn ended(mut self) -> RegistryUsage {
        self.leave_out();
        self.usage
    }
}

/// The first 16 bytes of the hash.
fn beginning(digest: &Digest) -> u128 {
    let bytes = digest.bytes().iter().take(16);
    bytes.fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

impl Registry {
    /// How much the registry in this region holds that the caller means: their own,
    /// or, of operators of the cluster, anybody's.
    ///
    /// # Errors
    /// `LimitExceeded` when it has too many blobs to be counted.
    pub async fn usage(&self, who: &Caller) -> Result<RegistryUsage, ServiceError> {
        if who.is_at_home() {
            self.authorize(who, "ecr:DescribeRegistry", Target::Any)?;
            self.authorize(who, "ecr:DescribeRepositories", Target::Any)?;
        } else {
            self.observes(who)?;
            self.existing_account(&who.account.account())?;
        }
        let turn = Arc::clone(&self.backfill_counts).acquire_owned().await;
        let _turn = turn.map_err(|error| ServiceError::internal(&error))?;
        let view = self.current().await?;
        let mut counting = Counting::new(&who.account);
        loop {
            let view = Arc::clone(&view);
            let step = self.blocking.run(move || {
                let more = counting.step(view.as_ref());
                (counting, more)
            });
            let stepped = step.await;
            let (counted, more) = stepped.map_err(|error| ServiceError::internal(&error))?;
            if !more? {
                let mut usage = counted.ended();
                let held = query::held(self.local()?.as_ref(), &who.account)?;
                usage.held = held.filter(|held| held.is_whole);
                usage.bytes_max = self.quotas(&who.account)?.bytes;
                return Ok(usage);
            }
            counting = counted;
        }
    }
}
