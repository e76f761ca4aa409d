//! The blobs of a node, and what keeps their copies where they belong.

use std::sync::Arc;

use entrepot_metadata::Metadata;
use entrepot_proto::peers::Peers;
use entrepot_replication::collection::{Orphans, RemovalMetrics, Removals};
use entrepot_replication::health::Health;
use entrepot_replication::outbox::Outbox;
use entrepot_replication::repair::Repair;
use entrepot_replication::scrub::{Scrub, ScrubSettings};
use entrepot_replication::{ClusterBlobs, CopyLimits};
use entrepot_service::Registry;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::node::Outside;
use crate::storage::Storage;

/// What brings and keeps the copies of blobs where they belong.
pub(crate) struct Care {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) repair: Repair,
    pub(crate) scrub: Scrub,
    pub(crate) removals: Removals,
    pub(crate) orphans: Orphans,
}

// === impl Care ===

impl Care {
    pub(crate) fn new(
        config: &Config,
        outside: &Outside,
        registry: &Registry,
        metadata: &Arc<dyn Metadata>,
        metrics: &mut Metrics,
    ) -> Self {
        let (storage, clock) = (&outside.storage, &outside.clock);
        let blobs = registry.copies();
        let parts = || (Arc::clone(blobs), Arc::clone(metadata), Arc::clone(clock));
        let (blobs, metadata, time) = parts();
        let outbox = Outbox::new(blobs, metadata, time);
        let (blobs, metadata, time) = parts();
        let repair = Repair::new(blobs, metadata, time);
        let removed = RemovalMetrics::default();
        removed.register(metrics.registry());
        let (blobs, metadata, _) = parts();
        let removals = Removals::new(blobs, metadata, removed);
        let (blobs, metadata, _) = parts();
        let clock = Arc::clone(registry.cluster_clock());
        let orphans = Orphans::new(blobs, metadata, clock).after(config.care.orphan_after);
        let (blobs, metadata, time) = parts();
        let note = storage.note(config);
        Self {
            outbox,
            repair,
            removals,
            orphans,
            scrub: Scrub::new(blobs, metadata, time, scrub_settings(config), note),
        }
    }
}

/// The blobs of this node, and through its peers those of the cluster.
pub(crate) async fn open_blobs(
    config: &Config,
    storage: &Storage,
    peers: &Arc<Peers>,
    health: &Arc<Health>,
    metrics: &mut Metrics,
) -> anyhow::Result<Arc<ClusterBlobs>> {
    let store = storage.blobs(config, metrics).await?;
    let (peers, health) = (Arc::clone(peers), Arc::clone(health));
    let blobs = ClusterBlobs::with_limits(store, peers, health, copy_limits(config));
    blobs.metrics().register(metrics.registry());
    blobs.tally().register(metrics.registry());
    Ok(blobs)
}

fn copy_limits(config: &Config) -> CopyLimits {
    CopyLimits {
        copies: config.copies,
        cache_bytes: config.care.cache_bytes,
        repair_bytes_per_s: config.care.repair_bytes_per_s,
        repair_after: config.care.repair_after,
    }
}

fn scrub_settings(config: &Config) -> ScrubSettings {
    ScrubSettings {
        every: config.care.scrub_every,
        bytes_per_s: config.care.scrub_bytes_per_s,
    }
}
