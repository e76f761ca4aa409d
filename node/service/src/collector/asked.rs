//! What operators ask of collection: how it stands, and a step of it now.
//!
//! The invariant: a request takes seconds, however slow collection is set to be. What
//! does not fit comes with the next.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::query::{self, Waiting};
use entrepot_metadata::response::Collected;
use entrepot_proto::peer::CollectionState;
use tokio::time::Instant;

use super::{Collector, CollectorMetrics, CollectorSettings, PAGE, millis};
use crate::{Caller, Registry, ServiceError};

/// Steps are repeated for so long within one request.
const REPEATED: Duration = Duration::from_secs(1);
/// Of what waits no more is counted than this of each kind.
const COUNTED_MAX: usize = 10_000;
/// For the links, and for the blobs, of a step that somebody waits for, at the rate at
/// which collection is set to go.
const STEP_TIME: Duration = Duration::from_secs(4);

/// How collection is set up on this node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collecting {
    pub(crate) settings: CollectorSettings,
    pub(crate) metrics: CollectorMetrics,
}

/// How collection stands in this region.
#[derive(Debug, Clone)]
pub struct CollectionStanding {
    pub nodes: Vec<NodeStanding>,
    /// None: it has not begun.
    pub begun: Option<query::Collection>,
    pub waiting: Waiting,
    /// None: no link waits.
    pub oldest_goes_at_ms: Option<i64>,
    pub counted_max: usize,
    pub unreferenced_after_ms: i64,
    /// The cluster's clock.
    pub at_ms: i64,
}

#[derive(Debug, Clone)]
pub struct NodeStanding {
    pub node: u64,
    /// None: it did not answer.
    pub state: Option<CollectionState>,
    pub files_pending: usize,
}

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectionStep {
    pub links: u64,
    pub blobs: u64,
    pub bytes: u64,
    /// There may be more to collect.
    pub more: bool,
    /// Files that nodes have still to delete, as far as they were counted.
    pub files_pending: usize,
}

impl Registry {
    /// How collection stands in this region.
    pub async fn collection_standing(
        &self,
        who: &Caller,
    ) -> Result<CollectionStanding, ServiceError> {
        self.observes(who)?;
        let upkeep = self.blobs.upkeep_of_all().await;
        let view = self.current().await?;
        let mut nodes = Vec::with_capacity(upkeep.len());
        for node in upkeep {
            let state = node.upkeep.map(|it| it.collection.unwrap_or_default());
            nodes.push(NodeStanding {
                node: node.node,
                state,
                files_pending: query::count_to_delete(view.as_ref(), node.node, COUNTED_MAX)?,
            });
        }
        let waiting = query::waiting(view.as_ref(), COUNTED_MAX)?;
        let unreferenced_after_ms = millis(self.collecting().settings.unreferenced_after);
        let oldest = waiting.oldest_since_ms;
        Ok(CollectionStanding {
            nodes,
            begun: query::collection(view.as_ref())?,
            waiting,
            oldest_goes_at_ms: oldest.map(|it| it.saturating_add(unreferenced_after_ms)),
            counted_max: COUNTED_MAX,
            unreferenced_after_ms,
            at_ms: self.cluster_clock.now_ms(),
        })
    }

    /// Collects some of what is due, whichever node's turn it is: to be repeated while
    /// there is more. `unreferenced_after`: in the place of what is set.
    ///
    /// # Errors
    /// `Unavailable` while collection has not begun.
    pub async fn collect_now(
        self: &Arc<Self>,
        who: &Caller,
        unreferenced_after: Option<Duration>,
    ) -> Result<CollectionStep, ServiceError> {
        self.operates(who)?;
        let view = self.current().await?;
        if query::collection(view.as_ref())?.is_none() {
            return Err(ServiceError::unavailable(
                "collection has not begun: that needs all nodes of the cluster to know of it",
            ));
        }
        let Collecting { settings, metrics } = self.collecting();
        let settings = CollectorSettings {
            unreferenced_after: unreferenced_after.unwrap_or(settings.unreferenced_after),
            ..settings
        };
        let collector = Collector {
            page: page(settings.per_second),
            ..Collector::of(Arc::clone(self), metrics, settings)
        };
        let start = Instant::now();
        let mut done = CollectionStep {
            more: true,
            ..CollectionStep::default()
        };
        while done.more && start.elapsed() < REPEATED {
            match collector.once().await {
                Ok(step) => done.add(&step),
                // What went is told; the next to ask hears of the failure, if it lasts.
                Err(_) if done.links + done.blobs > 0 => break,
                Err(error) => return Err(error),
            }
        }
        let view = self.local()?;
        for node in self.peers.in_region(self.region()) {
            done.files_pending += query::count_to_delete(view.as_ref(), node, COUNTED_MAX)?;
        }
        Ok(done)
    }

    pub(crate) fn collecting(&self) -> Collecting {
        self.collecting.get().cloned().unwrap_or_default()
    }
}

// === impl CollectionStep ===

impl CollectionStep {
    fn add(&mut self, next: &Self) {
        self.links += next.links;
        self.blobs += next.blobs;
        self.bytes += next.bytes;
        self.more = next.more;
    }
}

// === impl Collector ===

impl Collector {
    /// One step of links and of blobs, which takes as long as they may take.
    async fn once(&self) -> Result<CollectionStep, ServiceError> {
        let start = Instant::now();
        let (links, named_links) = self.links().await?;
        // The state was slow to take them: the blobs are for the next step.
        let is_late = start.elapsed() > 2 * STEP_TIME;
        let (blobs, named_blobs) = if is_late {
            (Collected::default(), 0)
        } else {
            self.blobs().await?
        };
        let time = self.time_of(named_links + named_blobs);
        tokio::time::sleep(time.saturating_sub(start.elapsed())).await;
        Ok(CollectionStep {
            links: links.links,
            blobs: links.blobs + blobs.blobs,
            bytes: links.bytes + blobs.bytes,
            more: is_late || named_links + named_blobs > 0,
            files_pending: 0,
        })
    }
}

/// As many as have their time within a step, and at least one.
fn page(per_second: u32) -> usize {
    let within = u64::from(per_second) * STEP_TIME.as_secs();
    usize::try_from(within).unwrap_or(PAGE).clamp(1, PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_as_large_as_its_time_allows() {
        let pages = [0, 1, 10, 20_000, u32::MAX].map(page);
        assert_eq!(pages, [1, 4, 40, PAGE, PAGE]);
    }
}
