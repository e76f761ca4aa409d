//! What a lifecycle policy would do, without doing it.
//!
//! Kept is the policy that was asked about and when; what it would do is worked out
//! by whichever node is asked, with the images that were there by then, and
//! remembered while its pages are read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use entrepot_metadata::command::PutRepositoryText;
use entrepot_metadata::query::TextKind;
use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::evaluate::{Candidate, Doing, Verdict, evaluate};
use super::{normalized, run};
use crate::metadata::refused;
use crate::{Caller, Registry, ServiceError, Target};

/// For how long a preview can be read.
const KEPT_MS: i64 = 24 * 60 * 60 * 1_000;
/// Previews that are remembered.
const REMEMBERED_MAX: usize = 4;
/// Images of one that is remembered; a larger one is worked out for each page.
const REMEMBERED_IMAGES_MAX: usize = 200_000;

/// What a lifecycle policy would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecyclePreview {
    /// The policy.
    pub text: String,
    pub as_of_ms: i64,
    /// It is too old to say anything: `images` is empty.
    pub has_expired: bool,
    /// In order of digest.
    pub images: Arc<Vec<PreviewedImage>>,
}

/// An image that something would be done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewedImage {
    pub digest: Digest,
    pub tags: Vec<Tag>,
    pub pushed_at_ms: i64,
    /// Of the rule.
    pub priority: i64,
    /// Into the archive; else it would go for good.
    pub to_archive: bool,
    /// It is there now.
    pub is_archived: bool,
}

/// Previews that were read lately.
#[derive(Debug)]
pub(crate) struct Previews {
    /// One is worked out at a time, or a policy carried out because somebody asked.
    turn: Semaphore,
    remembered: Mutex<VecDeque<(Key, Arc<Vec<PreviewedImage>>)>>,
}

/// Whose preview, and as of when.
type Key = (RegistryId, RepositoryName, i64);

// === impl LifecyclePreview ===

impl LifecyclePreview {
    /// How many images would go for good.
    pub fn expiring(&self) -> usize {
        self.images.iter().filter(|it| !it.to_archive).count()
    }

    /// How many would go into the archive.
    pub fn archiving(&self) -> usize {
        self.images.len() - self.expiring()
    }
}

// === impl Previews ===

impl Default for Previews {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            remembered: Mutex::default(),
        }
    }
}

impl Previews {
    /// Whoever has it may hold the images of a repository in memory.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, ServiceError> {
        let turn = self.turn.acquire().await;
        turn.map_err(|error| ServiceError::internal(&error))
    }

    fn find(&self, key: &Key) -> Option<Arc<Vec<PreviewedImage>>> {
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut all = remembered.iter();
        all.find(|(known, _)| known == key)
            .map(|(_, images)| Arc::clone(images))
    }

    fn remember(&self, key: Key, images: &Arc<Vec<PreviewedImage>>) {
        if images.len() > REMEMBERED_IMAGES_MAX {
            return;
        }
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered.push_back((key, Arc::clone(images)));
        if remembered.len() > REMEMBERED_MAX {
            remembered.pop_front();
        }
    }
}

// === impl Registry ===

impl Registry {
    /// Begins a preview of `text`, or of the policy that the repository has; the
    /// policy that is previewed.
    ///
    /// # Errors
    /// `Invalid`, in ECR's words; `NotFound` when there is no policy.
    pub async fn start_lifecycle_preview(
        &self,
        who: &Caller,
        name: &RepositoryName,
        text: Option<&str>,
    ) -> Result<String, ServiceError> {
        let action = "ecr:StartLifecyclePolicyPreview";
        self.authorize(who, action, Target::Repository(name))?;
        let text = if let Some(text) = text {
            normalized(text)?.text
        } else {
            let found = self.repository_text(who, name, TextKind::Lifecycle).await?;
            found.text
        };
        let (kind, at_ms) = (TextKind::LifecyclePreview, self.clock.now_ms());
        let command = PutRepositoryText::new(&who.account, name, kind, &text, at_ms);
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        Ok(text)
    }

    /// What the last preview of a repository says.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn lifecycle_preview(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<LifecyclePreview, ServiceError> {
        let action = "ecr:GetLifecyclePolicyPreview";
        self.authorize(who, action, Target::Repository(name))?;
        let kind = TextKind::LifecyclePreview;
        let found = self.repository_text(who, name, kind).await?;
        let as_of_ms = found.updated_at_ms;
        let has_expired = self.clock.now_ms().saturating_sub(as_of_ms) > KEPT_MS;
        let images = if has_expired {
            Arc::default()
        } else {
            self.previewed(&who.account, name, &found.text, as_of_ms)
                .await?
        };
        Ok(LifecyclePreview {
            text: found.text,
            as_of_ms,
            has_expired,
            images,
        })
    }

    async fn previewed(
        &self,
        account: &RegistryId,
        repository: &RepositoryName,
        text: &str,
        as_of_ms: i64,
    ) -> Result<Arc<Vec<PreviewedImage>>, ServiceError> {
        let key = (account.clone(), repository.clone(), as_of_ms);
        let _turn = self.previews.turn().await?;
        if let Some(found) = self.previews.find(&key) {
            return Ok(found);
        }
        let (policy, view) = (run::parsed(text)?, self.local()?);
        let (account, repository) = (account.clone(), repository.clone());
        let working = self.blocking.run(move || {
            let mut images = run::candidates(view.as_ref(), &account, &repository)?;
            images.retain(|image| image.pushed_at_ms <= as_of_ms);
            let verdicts = evaluate(&policy, &images, as_of_ms);
            Ok::<_, ServiceError>(told(images, &verdicts))
        });
        let images = working.await;
        let images = Arc::new(images.map_err(|error| ServiceError::internal(&error))??);
        self.previews.remember(key, &images);
        Ok(images)
    }
}

fn told(images: Vec<Candidate>, verdicts: &[Verdict]) -> Vec<PreviewedImage> {
    let mut by_image: Vec<Option<&Verdict>> = vec![None; images.len()];
    for verdict in verdicts {
        by_image[verdict.image] = Some(verdict);
    }
    let found = images.into_iter().zip(by_image);
    found
        .filter_map(|(image, verdict)| {
            let verdict = verdict?;
            Some(PreviewedImage {
                digest: image.digest,
                tags: image.tags,
                pushed_at_ms: image.pushed_at_ms,
                priority: verdict.priority,
                to_archive: verdict.action == Doing::Archive,
                is_archived: image.archived_at_ms.is_some(),
            })
        })
        .collect()
}
