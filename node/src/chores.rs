//! What the use cases leave to be done later, for as long as the node runs.

use std::sync::Arc;

use entrepot_service::{
    Backfills, Collector, CollectorMetrics, HoldingMetrics, HoldingWatch, LifecycleMetrics,
    Lifecycles, PullTimes, Registry, TagHistories, WebhookMetrics, Webhooks,
};
use futures::FutureExt as _;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::tasks::Failures;

/// What is to be started with the node.
pub(crate) struct Chores {
    backfills: Backfills,
    webhooks: Webhooks,
    lifecycles: Lifecycles,
    pull_times: PullTimes,
    collector: Collector,
    holdings: HoldingWatch,
    tag_histories: TagHistories,
}

// === impl Chores ===

impl Chores {
    pub(crate) fn new(registry: &Arc<Registry>, metrics: &mut Metrics, config: &Config) -> Self {
        registry.throttling_metrics().register(metrics.registry());
        let told = WebhookMetrics::default();
        told.register(metrics.registry());
        let done = LifecycleMetrics::default();
        done.register(metrics.registry());
        let collected = CollectorMetrics::default();
        collected.register(metrics.registry());
        let held = HoldingMetrics::default();
        held.register(metrics.registry());
        Self {
            backfills: Backfills::new(Arc::clone(registry)),
            webhooks: Webhooks::new(Arc::clone(registry), told),
            lifecycles: Lifecycles::new(Arc::clone(registry), done),
            pull_times: PullTimes::new(Arc::clone(registry)),
            collector: Collector::new(Arc::clone(registry), collected, config.care.collector),
            holdings: HoldingWatch::new(Arc::clone(registry), held),
            tag_histories: TagHistories::new(Arc::clone(registry)),
        }
    }

    /// The end of one of them is the node's.
    pub(crate) fn spawn(self, work: &mut JoinSet<()>, failures: &Failures) {
        work.spawn(failures.vital("collector", self.collector.run().map(Ok)));
        let forgotten = self.tag_histories.run().map(Ok);
        work.spawn(failures.vital("forgetting of deleted tags", forgotten));
        work.spawn(failures.vital("backfills", self.backfills.run().map(Ok)));
        work.spawn(failures.vital("webhooks", self.webhooks.run().map(Ok)));
        work.spawn(failures.vital("lifecycle policies", self.lifecycles.run().map(Ok)));
        work.spawn(failures.vital("watch over quotas", self.holdings.run().map(Ok)));
        work.spawn(failures.vital("times of pulls", self.pull_times.run().map(Ok)));
    }
}
