//! What the care for copies counts.
//!
//! Owns the counters and their names. The invariant: they only ever grow while
//! the process lives, but for those that are called what there is now.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct CopyMetrics {
    /// What the scrub has verified, and found wrong.
    pub scrubbed_blobs: Counter,
    pub scrubbed_bytes: Counter,
    pub scrub_damaged: Counter,
    /// Damaged copies that were replaced, whoever found them.
    pub repaired: Counter,
    /// Missing copies that were restored.
    pub fetched_blobs: Counter,
    pub fetched_bytes: Counter,
    pub fetch_failures: Counter,
    /// What there is now.
    pub missing_blobs: Gauge,
    pub missing_bytes: Gauge,
    pub surplus_dropped: Counter,
    pub cached_bytes: Gauge,
    /// Reads of blobs that this node had no copy of, and how many of those
    /// joined one that was under way.
    pub read_through: Counter,
    pub read_through_shared: Counter,
    /// Blobs that this node has read through from another region, and bytes that it
    /// has sent to regions that did.
    pub region_read_through: Counter,
    pub offered_bytes: Counter,
    /// Bytes that this node has brought on to regions near its own.
    pub passed_on_bytes: Counter,
    /// Groups of bytes that a peer sent and that proved wrong.
    pub peer_bytes_refused: Counter,
}

// === impl CopyMetrics ===

impl CopyMetrics {
    pub fn register(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter(
            "scrub_blobs",
            "Copies that the scrub has verified",
            &self.scrubbed_blobs,
        );
        counter(
            "scrub_bytes",
            "Bytes that the scrub has verified",
            &self.scrubbed_bytes,
        );
        counter(
            "scrub_damaged",
            "Damaged copies that the scrub has found",
            &self.scrub_damaged,
        );
        counter(
            "repair_damaged_replaced",
            "Damaged copies that were replaced by right ones from peers",
            &self.repaired,
        );
        counter(
            "repair_fetched_blobs",
            "Missing copies that were fetched",
            &self.fetched_blobs,
        );
        counter(
            "repair_fetched_bytes",
            "Bytes of missing copies that were fetched",
            &self.fetched_bytes,
        );
        counter(
            "repair_fetch_failures",
            "Times that a missing copy could not be fetched",
            &self.fetch_failures,
        );
        counter(
            "repair_surplus_dropped",
            "Copies beyond the placement that were dropped",
            &self.surplus_dropped,
        );
        counter(
            "read_through",
            "Reads of blobs that this node had no copy of",
            &self.read_through,
        );
        counter(
            "read_through_shared",
            "Reads through that joined a transfer that was under way",
            &self.read_through_shared,
        );
        counter(
            "region_read_through",
            "Blobs that were read through from another region",
            &self.region_read_through,
        );
        counter(
            "offered_bytes",
            "Bytes that other regions have read through from this node",
            &self.offered_bytes,
        );
        counter(
            "passed_on_bytes",
            "Bytes that this node has passed on to near regions for their source",
            &self.passed_on_bytes,
        );
        counter(
            "peer_bytes_refused",
            "Times that a peer sent bytes of a blob that proved wrong",
            &self.peer_bytes_refused,
        );
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        gauge(
            "repair_missing_blobs",
            "Copies that this node should have and lacks now",
            &self.missing_blobs,
        );
        gauge(
            "repair_missing_bytes",
            "Bytes of the copies that this node should have and lacks now",
            &self.missing_bytes,
        );
        gauge(
            "cache_bytes",
            "Bytes of the copies beyond the placement that this node has now",
            &self.cached_bytes,
        );
    }
}

/// A number as a gauge takes it.
pub(crate) fn level(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
