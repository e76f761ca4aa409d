//! Whether copies arrive as soon as their rules promise: what Prometheus makes burn
//! rates of.
//!
//! The invariant: what is counted as in time is counted as a copy too, so that a part
//! is never more than the whole.

use std::sync::atomic::AtomicU64;

use entrepot_metadata::query::Objective;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Way;

const MILLION: f64 = 1_000_000.0;

/// Of rules that promise something; what a rule no longer promises is told no more.
#[derive(Debug, Default)]
pub(super) struct Objectives {
    images: Family<Way, Counter>,
    good: Family<Way, Counter>,
    ratio: Family<Way, Gauge<f64, AtomicU64>>,
}

// === impl Objectives ===

impl Objectives {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "replication_slo_images",
            "Copies that have ended, of rules with an objective",
            self.images.clone(),
        );
        registry.register(
            "replication_slo_good",
            "Copies that were at the destination as soon as their rule promises",
            self.good.clone(),
        );
        registry.register(
            "replication_slo_objective_ratio",
            "How many of all copies the rule promises to be there in time",
            self.ratio.clone(),
        );
    }

    /// A copy has ended; `lag_ms`: none if it was refused.
    pub(super) fn ended(&self, way: &Way, objective: Option<Objective>, lag_ms: Option<i64>) {
        let Some(objective) = objective else {
            self.images.remove(way);
            self.good.remove(way);
            self.ratio.remove(way);
            return;
        };
        let within_ms = i64::try_from(objective.within_ms).unwrap_or(i64::MAX);
        let is_good = lag_ms.is_some_and(|lag_ms| lag_ms <= within_ms);
        self.images.get_or_create(way).inc();
        // Zero is told too: of nothing there would be no rate.
        self.good.get_or_create(way).inc_by(u64::from(is_good));
        let ratio = f64::from(objective.per_million) / MILLION;
        self.ratio.get_or_create(way).set(ratio);
    }
}
