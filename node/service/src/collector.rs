//! Collects what nothing refers to: deleted images whose time is over, links that no
//! image names, then blobs that no repository has.
//!
//! One node of a region drives it, in bounded steps, and the next one goes on where
//! that stopped: what is to be done stands in the region's state. The invariant:
//! nothing is decided here. Each step names candidates, and the state machine looks
//! at each of them again; two nodes that both drive it do no harm.

mod asked;
mod preview;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_metadata::command::{
    BeginCollection, CollectBlobs, CollectLinks, CollectedBlob, Command, ConfirmCollected,
    ExpireDeleted, ExpiredImage, ForgetCollected,
};
use entrepot_metadata::limits::{COLLECTED_AT_ONCE_MAX, HOLDERS_MAX};
use entrepot_metadata::query::{self, Blob};
use entrepot_metadata::records::collection::Why;
use entrepot_metadata::response::{Collected, Outcome};
use entrepot_oci::Digest;
use entrepot_replication::collection::COLLECTION_LEVEL;
use entrepot_replication::placement;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;
use tracing::{info, warn};

pub(crate) use self::asked::Collecting;
pub use self::asked::{CollectionStanding, CollectionStep, NodeStanding};
pub use self::preview::{Collectable, CollectionPreview, PreviewCursor};
use crate::metadata::refused;
use crate::{Registry, ServiceError, audit};

/// From one look at what there is to collect to the next.
const INTERVAL: Duration = Duration::from_secs(2);
/// Things of one step: so few that whoever reads meanwhile waits for some
/// milliseconds until it is applied.
const PAGE: usize = 50;
const _: () = assert!(PAGE <= COLLECTED_AT_ONCE_MAX);
/// Deleted images of one step, each of which may be about many blobs.
const EXPIRED_PAGE: usize = 50;
/// Pages of what is remembered that are looked through in one interval, for what may
/// be forgotten.
const FORGET_PAGES: usize = 200;
/// Between two of these pages.
const FORGET_REST: Duration = Duration::from_millis(2);
/// Between two steps of the look at what was there before collection began.
const WALK_REST: Duration = Duration::from_millis(20);
/// What was collected is remembered for so long at least: a push that looked at its
/// copies before has to look again.
const REMEMBERED_MS: i64 = 60 * 60 * 1_000;
/// What ranks the nodes that may drive it.
const TURN: &[u8] = b"collection";

/// What an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectorSettings {
    /// A blob that no image of its repository names goes after so long.
    pub unreferenced_after: Duration,
    /// Links and blobs that are collected in a second, each.
    pub per_second: u32,
}

/// Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct CollectorMetrics {
    pub images: Counter,
    pub links: Counter,
    pub blobs: Counter,
    pub bytes: Counter,
    pub failures: Counter,
}

/// What became of one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Of the step that had most of them.
    pub candidates: usize,
    /// Of all steps.
    pub total: usize,
    /// A step of it, or more.
    pub has_failed: bool,
}

/// Drives the collection of a region while it is this node's turn.
#[derive(Debug)]
pub struct Collector {
    registry: Arc<Registry>,
    metrics: CollectorMetrics,
    settings: CollectorSettings,
    /// Links, and blobs, of one step.
    page: usize,
    /// Up to where what is remembered was looked through.
    looked_to: Mutex<Option<(u64, Digest)>>,
}

// === impl CollectorSettings ===

impl Default for CollectorSettings {
    fn default() -> Self {
        Self {
            unreferenced_after: Duration::from_hours(24),
            per_second: 2_000,
        }
    }
}

// === impl CollectorMetrics ===

impl CollectorMetrics {
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        registry.register(
            "gc_expired_images",
            "Deleted images that went for good because their time was over",
            self.images.clone(),
        );
        registry.register(
            "gc_collected_links",
            "Blobs taken out of repositories in which no image names them",
            self.links.clone(),
        );
        registry.register(
            "gc_collected_blobs",
            "Blobs that no repository had any more and that were collected",
            self.blobs.clone(),
        );
        registry.register(
            "gc_collected_bytes",
            "Bytes of the blobs that were collected, each counted once",
            self.bytes.clone(),
        );
        registry.register(
            "gc_failures",
            "Steps of collection that failed, and are made again",
            self.failures.clone(),
        );
    }
}

// === impl Collector ===

impl Collector {
    pub fn new(
        registry: Arc<Registry>,
        metrics: CollectorMetrics,
        settings: CollectorSettings,
    ) -> Self {
        let collecting = Collecting {
            settings,
            metrics: metrics.clone(),
        };
        // There is one of a node; others are those of tests.
        let _ = registry.collecting.set(collecting);
        Self::of(registry, metrics, settings)
    }

    fn of(registry: Arc<Registry>, metrics: CollectorMetrics, settings: CollectorSettings) -> Self {
        Self {
            registry,
            metrics,
            settings,
            page: PAGE,
            looked_to: Mutex::default(),
        }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        let mut last_tidy: Option<Instant> = None;
        loop {
            let began = Instant::now();
            let tidies = last_tidy.is_none_or(|at| at.elapsed() >= INTERVAL);
            if tidies {
                last_tidy = Some(began);
            }
            let round = self.steps(tidies).await;
            // What the steps took counts: the rate is what was asked for, not less.
            let rest = self.time_of(round.total).saturating_sub(began.elapsed());
            let is_behind = !round.has_failed && round.candidates >= PAGE;
            tokio::time::sleep(if is_behind { rest } else { rest.max(INTERVAL) }).await;
        }
    }

    /// Takes one step of each kind, if it is this node's turn. One that fails keeps
    /// none of the others from being taken.
    pub async fn round(&self) -> Round {
        self.steps(true).await
    }

    /// `tidies`: looks through what is remembered as well, which is much while there is
    /// much to collect.
    async fn steps(&self, tidies: bool) -> Round {
        let mut round = Round::default();
        let (is_mine, now_ms) = (self.is_mine(), self.registry.cluster_clock.now_ms());
        self.registry.blobs.collection().note(|it| {
            it.driving_since_ms = match it.driving_since_ms {
                _ if !is_mine => 0,
                0 => now_ms,
                since_ms => since_ms,
            };
        });
        let is_understood = self.registry.metadata.understands(COLLECTION_LEVEL);
        let is_understood = is_understood.map_err(ServiceError::from);
        let is_understood = self.tried("look at the level", is_understood, &mut round);
        if !is_mine || is_understood != Some(true) {
            return round;
        }
        self.tried("beginning", self.begin().await, &mut round);
        let images = self.images().await;
        let images = self.tried("deleted images", images, &mut round);
        let links = self.links().await;
        let links = self.tried("links", links, &mut round);
        let blobs = self.blobs().await;
        let blobs = self.tried("blobs", blobs, &mut round);
        if tidies {
            let gone = self.confirm_for_the_gone(&mut round).await;
            self.tried("nodes that are gone", gone, &mut round);
            let forgotten = self.forget().await;
            self.tried("what is remembered", forgotten, &mut round);
        }
        let found =
            [images, links.map(|it| it.1), blobs.map(|it| it.1)].map(Option::unwrap_or_default);
        round.candidates = found.into_iter().max().unwrap_or_default();
        round.total = found.into_iter().sum();
        round
    }

    /// What a step brought; none: it failed, which is noted.
    fn tried<T>(
        &self,
        step: &'static str,
        outcome: Result<T, ServiceError>,
        round: &mut Round,
    ) -> Option<T> {
        outcome
            .inspect_err(|error| {
                round.has_failed = true;
                self.metrics.failures.inc();
                self.registry.blobs.collection().note(|it| {
                    it.failures += 1;
                    it.last_failure = format!("{step}: {error}");
                });
                warn!(step, %error, "a step of collection failed, and is made again");
            })
            .ok()
    }

    fn is_mine(&self) -> bool {
        let health = self.registry.blobs.health();
        let alive = health.alive_in(self.registry.region());
        placement::first(TURN, alive) == Some(health.own())
    }

    /// Has what was there before collection began looked through.
    async fn begin(&self) -> Result<(), ServiceError> {
        let known = query::collection(self.registry.local()?.as_ref())?;
        if known.is_some_and(|known| known.walked) {
            return Ok(());
        }
        while self.collect(BeginCollection {}).await?.0.more {
            tokio::time::sleep(WALK_REST).await;
        }
        info!("what nothing refers to is collected from now on");
        Ok(())
    }

    /// Lets deleted images go for good whose time is over.
    async fn images(&self) -> Result<usize, ServiceError> {
        let cutoff_ms = self.registry.cluster_clock.now_ms();
        let due = query::due_images(self.registry.local()?.as_ref(), cutoff_ms, EXPIRED_PAGE)?;
        if due.is_empty() {
            return Ok(0);
        }
        let images = due.iter().map(|it| {
            let digest = &it.image.manifest.digest;
            ExpiredImage::new(&it.account, &it.repository, digest, it.image.index)
        });
        let command = ExpireDeleted {
            images: images.collect(),
            cutoff_ms,
            now: false,
        };
        let (outcome, index) = self.propose(command).await?;
        let Outcome::DeletedExpired(expired) = outcome else {
            return Ok(0);
        };
        self.metrics.images.inc_by(expired.images);
        let view = self.registry.local()?;
        let node = self.registry.blobs.health().own();
        for it in &due {
            let digest = &it.image.manifest.digest;
            let left = query::deleted_image(view.as_ref(), &it.account, &it.repository, digest)?;
            let manifest =
                query::manifest_entry(view.as_ref(), &it.account, &it.repository, digest)?;
            if left.is_none() && manifest.is_none() {
                audit::expired(&it.account, &it.repository, &it.image, index, node);
            }
        }
        // What there was no room for comes next.
        let more = expired.more || due.len() == EXPIRED_PAGE;
        Ok(if more && expired.images > 0 {
            PAGE
        } else {
            due.len()
        })
    }

    /// What went, of so many candidates.
    async fn links(&self) -> Result<(Collected, usize), ServiceError> {
        let after_ms = millis(self.settings.unreferenced_after);
        let cutoff_ms = self
            .registry
            .cluster_clock
            .now_ms()
            .saturating_sub(after_ms);
        let view = self.registry.local()?;
        let links = query::unused_links(view.as_ref(), cutoff_ms, None, self.page)?;
        drop(view);
        if links.is_empty() {
            return Ok((Collected::default(), 0));
        }
        let number = links.len();
        let digests = links.iter().filter_map(|link| link.digest.parse().ok());
        let there = self.there(digests)?;
        let command = CollectLinks {
            links,
            cutoff_ms,
            nodes: self.nodes(),
            at_ms: self.registry.cluster_clock.now_ms(),
        };
        let (collected, index) = self.collect(command).await?;
        self.metrics.links.inc_by(collected.links);
        let standing = self.registry.blobs.collection();
        standing.note(|it| it.links += collected.links);
        self.note(&there, &collected, index)?;
        Ok((collected, number))
    }

    /// What went, of so many candidates.
    async fn blobs(&self) -> Result<(Collected, usize), ServiceError> {
        let found = query::unlinked_blobs(self.registry.local()?.as_ref(), self.page)?;
        if found.is_empty() {
            return Ok((Collected::default(), 0));
        }
        let there = self.there(found.iter().copied())?;
        let command = CollectBlobs {
            digests: found.iter().map(Digest::to_string).collect(),
            nodes: self.nodes(),
            at_ms: self.registry.cluster_clock.now_ms(),
        };
        let (collected, index) = self.collect(command).await?;
        self.note(&there, &collected, index)?;
        Ok((collected, found.len()))
    }

    /// Who may have files: copies that repair made are not known to the state.
    fn nodes(&self) -> Vec<u64> {
        let mut nodes = self.registry.peers.in_region(self.registry.region());
        nodes.truncate(HOLDERS_MAX);
        nodes
    }

    fn there(&self, digests: impl Iterator<Item = Digest>) -> Result<Vec<Blob>, ServiceError> {
        let view = self.registry.local()?;
        let mut there = Vec::new();
        // Two repositories may let go of the same one.
        for digest in digests.collect::<BTreeSet<_>>() {
            there.extend(query::blob(view.as_ref(), &digest)?);
        }
        Ok(there)
    }

    /// Counts what a step collected, and notes which of the blobs that were there have
    /// gone.
    fn note(&self, there: &[Blob], collected: &Collected, index: u64) -> Result<(), ServiceError> {
        self.metrics.blobs.inc_by(collected.blobs);
        self.metrics.bytes.inc_by(collected.bytes);
        let standing = self.registry.blobs.collection();
        standing.note(|it| {
            it.blobs += collected.blobs;
            it.bytes += collected.bytes;
        });
        if collected.blobs == 0 {
            return Ok(());
        }
        let view = self.registry.local()?;
        let node = self.registry.blobs.health().own();
        for blob in there {
            let digest = &blob.digest;
            let entry = query::collected(view.as_ref(), digest)?;
            let why = match entry {
                Some(entry) if entry.index == index => entry.why.name(),
                // Of one that is so small that no node had a file nothing is kept.
                None if query::blob(view.as_ref(), digest)?.is_none() => Why::Unreferenced.name(),
                // It is there, or another one has collected it.
                _ => continue,
            };
            audit::collected(digest, why, blob.size, index, node);
        }
        Ok(())
    }

    /// Nodes that left the cluster delete nothing any more.
    async fn confirm_for_the_gone(&self, round: &mut Round) -> Result<(), ServiceError> {
        let registry = &self.registry;
        let view = registry.local()?;
        let waited = query::nodes_to_delete(view.as_ref(), HOLDERS_MAX)?;
        let here: BTreeSet<u64> = registry
            .peers
            .in_region(registry.region())
            .into_iter()
            .collect();
        for node in waited.into_iter().filter(|node| !here.contains(node)) {
            let global = registry.metadata.view(&registry.global)?;
            let members = query::all_members(global.as_ref())?;
            let is_gone = members.iter().any(|it| it.node == node && it.is_removed());
            if !is_gone {
                continue;
            }
            let found = query::all_to_delete(view.as_ref(), node, None, PAGE)?;
            let collected = found.iter().map(|it| CollectedBlob {
                digest: it.digest.to_string(),
                index: it.index,
            });
            let collected = collected.collect();
            let confirmed = self.propose(ConfirmCollected { node, collected }).await;
            self.tried("a node that is gone", confirmed, round);
        }
        Ok(())
    }

    /// What every node has confirmed is forgotten in its time.
    async fn forget(&self) -> Result<(), ServiceError> {
        let until_ms = self
            .registry
            .cluster_clock
            .now_ms()
            .saturating_sub(REMEMBERED_MS);
        for _ in 0..FORGET_PAGES {
            let after = *self.looked_to();
            let view = self.registry.local()?;
            let found = query::collections(view.as_ref(), after, PAGE)?;
            drop(view);
            // What waits for a node that is away, or was done by a clock that was ahead,
            // holds up none of the others.
            let done = found
                .iter()
                .filter(|it| it.at_ms <= until_ms && it.pending.is_empty());
            let done: Vec<_> = done.collect();
            if let Some(floor) = done.iter().map(|it| it.index).max() {
                let digests = done.iter().map(|it| it.digest.to_string()).collect();
                self.propose(ForgetCollected { floor, digests }).await?;
            }
            let last = found.last().map(|last| (last.index, last.digest));
            // They come by their log index, which is nearly by age.
            let is_young = found.iter().all(|it| it.at_ms > until_ms);
            let more = found.len() == PAGE && !is_young;
            *self.looked_to() = last.filter(|_| more);
            if !more {
                break;
            }
            tokio::time::sleep(FORGET_REST).await;
        }
        Ok(())
    }

    fn looked_to(&self) -> MutexGuard<'_, Option<(u64, Digest)>> {
        // It is whole between any two statements that hold it.
        self.looked_to
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// In how long so many may be collected.
    fn time_of(&self, number: usize) -> Duration {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let rate = self.settings.per_second.max(1);
        Duration::from_secs(1) * number / rate
    }

    /// What was collected, and at which log index.
    async fn collect(&self, command: impl Into<Command>) -> Result<(Collected, u64), ServiceError> {
        let (outcome, index) = self.propose(command).await?;
        match outcome {
            Outcome::Collected(collected) => Ok((collected, index)),
            _ => Ok((Collected::default(), index)),
        }
    }

    async fn propose(&self, command: impl Into<Command>) -> Result<(Outcome, u64), ServiceError> {
        let response = self.registry.propose(command.into()).await?;
        let index = response.index;
        let outcome = response.into_result().map_err(refused)?;
        Ok((outcome, index))
    }
}

pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
