//! Evaluates lifecycle policies, and lets go, or into the archive, what is due.
//!
//! One node of a region does it for a repository: the one that its name ranks first
//! among those that answer. The invariant: an image only goes if it is what the
//! policy was held against, with the same tags; who pushed, tagged or named it since
//! has won. Two nodes that disagree on whose turn it is do the same, which is
//! harmless.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::KeyValue;
use entrepot_metadata::command::{
    Author, DeleteManifest, ImageState, PutRepositoryText, SetStorageClass,
};
use entrepot_metadata::limits::QUOTA_TAGS_MAX;
use entrepot_metadata::query::{self, Cause, ManifestEntry, TextKind, TextOf};
use entrepot_metadata::response::{Outcome, Refused};
use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};
use entrepot_replication::placement;
use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{info, warn};

use super::evaluate::{Candidate, Doing, Verdict, evaluate};
use super::grammar;
use super::look::{Known, policies};
use super::preview::PreviewedImage;
use super::rule::Policy;
use crate::feed::Home;
use crate::metadata::refused;
use crate::{Caller, Registry, ServiceError, Target};

/// What a state machine has to understand for images to go only as expected.
const LEVEL: u32 = 9;
/// From one look at which policies there are to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// From one evaluation of a repository to the next.
const INTERVAL_MS: i64 = 5 * 60 * 1_000;
/// Policies read at a time, and a breath between two pages.
pub(super) const POLICIES_PAGE: usize = 200;
pub(super) const PAGE_REST: Duration = Duration::from_millis(20);
/// Images of a repository whose policy is evaluated, and what they name and are
/// named by: as many as are held in memory for it at a time.
const IMAGES_MAX: usize = 1_000_000;
const LINKS_MAX: usize = 4_000_000;
/// Images read at a time: each may name as much as its manifest has room for.
const IMAGES_PAGE: usize = 50;
/// Tags of one image; one that has more stays.
const TAGS_MAX: usize = 10_000;
const _: () = assert!(QUOTA_TAGS_MAX <= TAGS_MAX as u64);
/// Images that go, or go into the archive, before the policy is looked at again, and
/// before all are looked at again: what a rule counts changes meanwhile.
const GOING_AT_ONCE: usize = 20;
const GOING_MAX: u64 = 500;
/// A rest after each evaluation, as a multiple of the time that it took: so that
/// policies take little of a node.
const REST_FACTOR: u32 = 9;
const REST_MAX: Duration = Duration::from_mins(1);

/// What an evaluation did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleRun {
    pub evaluated_at_ms: i64,
    pub images: u64,
    pub expired: u64,
    /// Not what they had been any more, or named by an index that stayed.
    pub kept: u64,
    /// Went into the archive.
    #[serde(default)]
    pub archived: u64,
    /// Others are due that the next evaluation lets go, at once.
    #[serde(default)]
    pub more: bool,
    /// It ended before its time: what is left is for the next. Empty: it did not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure: String,
}

/// What an evaluation did, and with which images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluatedLifecycle {
    pub run: LifecycleRun,
    /// In the order in which it was done.
    pub images: Vec<PreviewedImage>,
    /// What it ended with before its time. With the image at which it ended it is not
    /// known whether it is done.
    pub failed: Option<ServiceError>,
}

/// Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct LifecycleMetrics {
    pub evaluations: Counter,
    pub failures: Counter,
    pub expired: Counter,
    pub archived: Counter,
}

/// Evaluates this node's share of its region's lifecycle policies.
#[derive(Debug)]
pub struct Lifecycles {
    registry: Arc<Registry>,
    metrics: LifecycleMetrics,
}

/// A repository whose policy is evaluated.
struct Evaluated<'a> {
    registry: &'a Registry,
    account: &'a RegistryId,
    repository: &'a RepositoryName,
    /// The policy as it is kept.
    text: &'a str,
    run: LifecycleRun,
    /// What was done.
    images: Vec<PreviewedImage>,
    /// What had to stay, and with it what refers to it.
    stayed: HashSet<Digest>,
    /// The rules that look at when images were pulled here.
    by_pulls: BTreeSet<i64>,
    /// Of rules that say for how long what they delete can be restored.
    windows_ms: BTreeMap<i64, u64>,
}

// === impl LifecycleMetrics ===

impl LifecycleMetrics {
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        registry.register(
            "lifecycle_evaluations",
            "Evaluations of lifecycle policies",
            self.evaluations.clone(),
        );
        registry.register(
            "lifecycle_failures",
            "Evaluations of lifecycle policies that failed, and are made again",
            self.failures.clone(),
        );
        registry.register(
            "lifecycle_expired",
            "Images that went because a lifecycle policy said so",
            self.expired.clone(),
        );
        registry.register(
            "lifecycle_archived",
            "Images that went into the archive because a lifecycle policy said so",
            self.archived.clone(),
        );
    }
}

// === impl Lifecycles ===

impl Lifecycles {
    pub fn new(registry: Arc<Registry>, metrics: LifecycleMetrics) -> Self {
        Self { registry, metrics }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        let mut known = Known::default();
        loop {
            if let Err(error) = self.round(&mut known).await {
                warn!(%error, "lifecycle policies cannot be read");
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// A look at all that is this node's.
    async fn round(&self, known: &mut Known) -> Result<(), ServiceError> {
        let registry = &self.registry;
        if !registry.metadata.understands(LEVEL)? {
            return Ok(());
        }
        known.renew(registry).await?;
        let mut page = known.page(None);
        while let Some(last) = page.last().cloned() {
            page.retain(|home| self.is_mine(home));
            let view = registry.local()?;
            let reading = registry.blocking.run(move || policies(view.as_ref(), page));
            let found = reading.await;
            for one in found.map_err(|error| ServiceError::internal(&error))?? {
                if self.is_due(&one)? {
                    self.carry_out(&one).await;
                }
            }
            tokio::time::sleep(PAGE_REST).await;
            page = known.page(Some(&last));
        }
        Ok(())
    }

    /// Evaluates one, and rests.
    async fn carry_out(&self, one: &TextOf) {
        let began = Instant::now();
        let (account, repository) = (&one.registry, &one.repository);
        let now_ms = self.registry.cluster_clock.now_ms();
        let evaluated = self.registry.evaluate(account, repository, now_ms).await;
        let failed = match evaluated {
            Ok(EvaluatedLifecycle { run, failed, .. }) => {
                self.metrics.expired.inc_by(run.expired);
                self.metrics.archived.inc_by(run.archived);
                failed
            }
            Err(error) => Some(error),
        };
        match failed {
            None => {
                self.metrics.evaluations.inc();
            }
            Some(error) => {
                self.metrics.failures.inc();
                warn!(%account, %repository, %error, "a lifecycle policy was not evaluated");
            }
        }
        tokio::time::sleep((began.elapsed() * REST_FACTOR).min(REST_MAX)).await;
    }

    fn is_mine(&self, (registry, repository): &Home) -> bool {
        let health = self.registry.blobs.health();
        let alive = health.alive_in(self.registry.region());
        let name = format!("{registry}/{repository}");
        placement::first(name.as_bytes(), alive) == Some(health.own())
    }

    /// Whether it was evaluated too long ago, or not as it is now. Those of accounts
    /// that are disabled wait.
    fn is_due(&self, one: &TextOf) -> Result<bool, ServiceError> {
        if !self.registry.serves_others(&one.registry.account())? {
            return Ok(false);
        }
        let last = self.registry.last_run(&one.registry, &one.repository)?;
        let now_ms = self.registry.cluster_clock.now_ms();
        Ok(last.is_none_or(|last| {
            let since_ms = now_ms.saturating_sub(last.evaluated_at_ms);
            // A clock that was set back must not stop it for long.
            let is_fresh = (0..INTERVAL_MS).contains(&since_ms);
            !is_fresh || last.more || last.evaluated_at_ms < one.text.updated_at_ms
        }))
    }

    /// Evaluates a repository's policy now, and lets go what is due.
    ///
    /// # Errors
    /// `NotFound` when it has none, `LimitExceeded` with too many images, and what it
    /// ended with before its time.
    pub async fn evaluate(
        &self,
        account: &RegistryId,
        repository: &RepositoryName,
    ) -> Result<LifecycleRun, ServiceError> {
        let now_ms = self.registry.cluster_clock.now_ms();
        let evaluated = self.registry.evaluate(account, repository, now_ms).await?;
        evaluated.failed.map_or(Ok(evaluated.run), Err)
    }
}

// === impl Registry ===

impl Registry {
    /// Evaluates a repository's lifecycle policy now, and does what is due, or the
    /// first part of it. Whoever may say what the policy is may say when.
    ///
    /// # Errors
    /// `NotFound` when there is no policy, `LimitExceeded` with too many images.
    pub async fn run_lifecycle(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<EvaluatedLifecycle, ServiceError> {
        self.authorize(who, "ecr:PutLifecyclePolicy", Target::Repository(name))?;
        if !self.metadata.understands(LEVEL)? {
            return Err(ServiceError::Unsupported(
                "not every node of the region is new enough to carry out lifecycle policies"
                    .to_owned(),
            ));
        }
        self.existing(who, name).await?;
        let _turn = self.previews.turn().await?;
        let now_ms = self.cluster_clock.now_ms();
        self.evaluate(&who.account, name, now_ms).await
    }

    /// What the last evaluation of a repository's policy did, as far as this node
    /// knows.
    pub(super) fn last_run(
        &self,
        account: &RegistryId,
        repository: &RepositoryName,
    ) -> Result<Option<LifecycleRun>, ServiceError> {
        let (view, kind) = (self.local()?, TextKind::LifecycleRun);
        let found = query::repository_text(view.as_ref(), account, repository, kind)?;
        let run = found.map(|found| serde_json::from_str(&found.text));
        run.transpose()
            .map_err(|error| ServiceError::internal(&error))
    }

    async fn evaluate(
        &self,
        account: &RegistryId,
        repository: &RepositoryName,
        now_ms: i64,
    ) -> Result<EvaluatedLifecycle, ServiceError> {
        let view = self.current().await?;
        let text = policy_text(view.as_ref(), account, repository)?;
        let text = text.ok_or_else(|| {
            ServiceError::NotFound(format!("{repository} has no lifecycle policy"))
        })?;
        let policy = parsed(&text)?;
        let (by_pulls, windows_ms) = (policy.by_pulls(), policy.windows_ms());
        let (count, due) = {
            let (account, repository) = (account.clone(), repository.clone());
            let evaluating = self.blocking.run(move || {
                let images = candidates(view.as_ref(), &account, &repository)?;
                let verdicts = evaluate(&policy, &images, now_ms);
                Ok::<_, ServiceError>((images.len(), only(images, verdicts)))
            });
            let evaluated = evaluating.await;
            evaluated.map_err(|error| ServiceError::internal(&error))??
        };
        let mut evaluated = Evaluated {
            registry: self,
            account,
            repository,
            text: &text,
            run: LifecycleRun {
                evaluated_at_ms: now_ms,
                images: count as u64,
                ..LifecycleRun::default()
            },
            images: Vec::new(),
            stayed: HashSet::new(),
            by_pulls,
            windows_ms,
        };
        // What was done before a failure is told, and noted.
        let failed = evaluated.carry_out_all(&due).await.err();
        evaluated.noted(failed).await
    }
}

// === impl Evaluated ===

impl Evaluated<'_> {
    async fn is_in_force(&self) -> Result<bool, ServiceError> {
        let view = self.registry.current().await?;
        let text = policy_text(view.as_ref(), self.account, self.repository)?;
        Ok(text.as_deref() == Some(self.text))
    }

    async fn carry_out_all(&mut self, due: &[(Candidate, Verdict)]) -> Result<(), ServiceError> {
        for some in due.chunks(GOING_AT_ONCE) {
            // What has to stay does not count: it must not keep the others.
            let done = self.run.expired + self.run.archived;
            self.run.more = done >= GOING_MAX;
            if self.run.more || !self.is_in_force().await? {
                break;
            }
            for (image, verdict) in some {
                self.carry_out(image, *verdict).await?;
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, image: &Candidate, verdict: Verdict) -> Result<(), ServiceError> {
        let stays = image.subject.is_some_and(|it| self.stayed.contains(&it));
        if stays || image.tags.len() > TAGS_MAX {
            self.stay(image);
            return Ok(());
        }
        let command = match verdict.action {
            Doing::Expire => self.deletion(image, verdict.priority).await?.into(),
            Doing::Archive => self.archiving(image).into(),
        };
        let response = self.registry.propose(command).await?;
        match response.into_result() {
            Ok(outcome) => self.done(image, verdict, &outcome),
            Err(
                Refused::ManifestUnknown(_)
                | Refused::TagNotAsExpected(_)
                | Refused::ManifestReferenced(_),
            ) => self.stay(image),
            Err(error) => return Err(refused(error)),
        }
        Ok(())
    }

    async fn deletion(
        &self,
        image: &Candidate,
        priority: i64,
    ) -> Result<DeleteManifest, ServiceError> {
        let author = self.registry.author_named("", Cause::Lifecycle).await?;
        let window_ms = self.windows_ms.get(&priority).copied();
        let author = author.map(|author| Author {
            window_ms,
            ..author
        });
        Ok(DeleteManifest {
            at_ms: self.registry.cluster_clock.now_ms(),
            expected: Some(image.state()),
            // What nobody pulls here may be pulled elsewhere every day.
            here_only: self.by_pulls.contains(&priority),
            author,
            ..DeleteManifest::new(self.account, self.repository, &image.digest)
        })
    }

    fn archiving(&self, image: &Candidate) -> SetStorageClass {
        let (account, repository, digest) = (self.account, self.repository, &image.digest);
        let at_ms = self.registry.cluster_clock.now_ms();
        SetStorageClass {
            expected: Some(image.state()),
            ..SetStorageClass::new(account, repository, digest, true, at_ms)
        }
    }

    fn done(&mut self, image: &Candidate, verdict: Verdict, outcome: &Outcome) {
        let (account, repository, digest) = (self.account, self.repository, &image.digest);
        let priority = verdict.priority;
        let to_archive = verdict.action == Doing::Archive;
        if let Outcome::StorageClassSet(set) = outcome {
            // With its subject it may have gone already.
            self.run.archived += 1;
            info!(
                %account, %repository, %digest, priority, images = set.images,
                "an image goes into the archive, as its lifecycle policy says"
            );
        } else {
            self.run.expired += 1;
            info!(
                %account, %repository, %digest, priority,
                "an image goes, as its lifecycle policy says"
            );
        }
        self.images.push(PreviewedImage {
            digest: image.digest,
            tags: image.tags.clone(),
            pushed_at_ms: image.pushed_at_ms,
            priority,
            to_archive,
            is_archived: image.archived_at_ms.is_some(),
        });
    }

    fn stay(&mut self, image: &Candidate) {
        self.run.kept += 1;
        self.stayed.insert(image.digest);
    }

    /// Notes what was done, and what it `failed` with. That it cannot be noted is an
    /// error only if nothing was done: it may be that there is no such repository any
    /// more.
    async fn noted(
        mut self,
        failed: Option<ServiceError>,
    ) -> Result<EvaluatedLifecycle, ServiceError> {
        if let Some(error) = &failed {
            // What fails at once waits for its time.
            self.run.more = !self.images.is_empty();
            self.run.failure = error.to_string();
        }
        let noted = self.note().await;
        let failed = match (failed, noted) {
            (None, Err(error)) if self.images.is_empty() => return Err(error),
            (None, Err(error)) => {
                self.run.failure = error.to_string();
                Some(error)
            }
            (failed, _) => failed,
        };
        match failed {
            // Nothing was done that would have to be told.
            Some(error) if self.images.is_empty() && self.run.kept == 0 => Err(error),
            failed => Ok(EvaluatedLifecycle {
                run: self.run,
                images: self.images,
                failed,
            }),
        }
    }

    async fn note(&self) -> Result<(), ServiceError> {
        let text = serde_json::to_string(&self.run);
        let text = text.map_err(|error| ServiceError::internal(&error))?;
        let (kind, at_ms) = (TextKind::LifecycleRun, self.run.evaluated_at_ms);
        let command = PutRepositoryText::new(self.account, self.repository, kind, &text, at_ms);
        let response = self.registry.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        Ok(())
    }
}

/// # Errors
/// When it is none: what is kept was checked when it came.
pub(super) fn parsed(text: &str) -> Result<Policy, ServiceError> {
    grammar::parse(text).map_err(|problem| {
        ServiceError::internal(&std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            problem,
        ))
    })
}

fn policy_text(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<Option<String>, ServiceError> {
    let found = query::repository_text(view, account, repository, TextKind::Lifecycle)?;
    Ok(found.map(|found| found.text))
}

/// All images of a repository.
///
/// # Errors
/// `LimitExceeded` when there are too many.
pub(super) fn candidates(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<Vec<Candidate>, ServiceError> {
    let since_ms = query::pulls_since_ms(view)?;
    let mut images = Vec::new();
    let mut links = 0;
    let mut after = None;
    loop {
        let page = query::manifests(view, account, repository, after.as_ref(), IMAGES_PAGE)?;
        let more = page.len() == IMAGES_PAGE;
        after = page.last().map(|last| last.digest);
        for entry in page {
            let tags = query::tags_of(view, account, repository, &entry.digest, TAGS_MAX + 1)?;
            links += entry.children.len() + tags.len();
            let pulled_at_ms = query::pulled_at_ms(view, account, repository, &entry.digest)?;
            images.push(Candidate {
                pulled_at_ms: Some(last_pull_ms(since_ms, pulled_at_ms)),
                ..candidate(entry, tags)
            });
        }
        if images.len() > IMAGES_MAX || links > LINKS_MAX {
            return Err(ServiceError::LimitExceeded(format!(
                "lifecycle policies are evaluated for repositories of at most {IMAGES_MAX} images \
                 with {LINKS_MAX} tags and entries of indexes"
            )));
        }
        if !more {
            return Ok(images);
        }
    }
}

/// What something is done with, in the order of the verdicts.
fn only(images: Vec<Candidate>, verdicts: Vec<Verdict>) -> Vec<(Candidate, Verdict)> {
    let mut images: Vec<Option<Candidate>> = images.into_iter().map(Some).collect();
    let due = verdicts.into_iter();
    due.filter_map(|verdict| Some((images[verdict.image].take()?, verdict)))
        .collect()
}

/// When an image may last have been pulled: of the time before pulls were recorded,
/// which may be all of it, nobody knows that it was not.
fn last_pull_ms(since_ms: Option<i64>, pulled_at_ms: Option<i64>) -> i64 {
    pulled_at_ms.max(since_ms).unwrap_or(i64::MAX)
}

fn candidate(entry: ManifestEntry, tags: Vec<Tag>) -> Candidate {
    Candidate {
        digest: entry.digest,
        index: entry.index,
        tags,
        pushed_at_ms: entry.pushed_at_ms,
        pulled_at_ms: None,
        age_index: entry.age_index,
        activated_at_ms: entry.activated_at_ms,
        archived_at_ms: entry.archived_at_ms,
        children: entry.children,
        subject: entry.subject,
    }
}

// === impl Candidate ===

impl Candidate {
    /// As it was looked at.
    fn state(&self) -> ImageState {
        ImageState {
            index: self.index,
            tags: self.tags.iter().map(Tag::to_string).collect(),
            archived_at_ms: self.archived_at_ms,
        }
    }
}
