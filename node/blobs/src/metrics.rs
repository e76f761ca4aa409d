//! What a store counts.
//!
//! Owns the counters and their names. The invariant: they only ever grow while
//! the process lives, so that two looks can be compared.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

/// Counters of a store. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct StoreMetrics {
    /// Copies that proved damaged and were moved aside.
    pub quarantined: Counter,
    /// Bytes of blobs that were proven right, by readers or by a scrub.
    pub verified_bytes: Counter,
    /// Hash trees that were missing or damaged and were made again.
    pub trees_made: Counter,
}

// === impl StoreMetrics ===

impl StoreMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "blobs_quarantined",
            "Copies that proved damaged and were moved aside",
            self.quarantined.clone(),
        );
        registry.register(
            "blobs_verified_bytes",
            "Bytes of blobs on the disk that were proven right, by readers or by a scrub",
            self.verified_bytes.clone(),
        );
        registry.register(
            "blobs_trees_made",
            "Hash trees of large blobs that were missing or damaged and were made again",
            self.trees_made.clone(),
        );
    }
}
