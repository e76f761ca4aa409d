//! What clients were told, and what has to be true because of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_harness::Operation;

/// A tag of one region's registry.
pub(crate) type TagName = (String, String, String);

/// Something that a client was told is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) region: String,
    pub(crate) repository: String,
    pub(crate) kind: Kind,
    pub(crate) digest: String,
    pub(crate) content: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob,
    Manifest,
}

/// All that clients know.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) acknowledged: Vec<Stored>,
    pub(crate) histories: BTreeMap<TagName, Vec<Operation>>,
    /// Manifests that were sent, whatever became of them, by their digests.
    sent: BTreeMap<String, u64>,
    violations: Vec<String>,
    pub(crate) operations: u64,
    pub(crate) unknown: u64,
}

// === impl Oracle ===

impl Oracle {
    /// The number that stands for a manifest in a history.
    pub(crate) fn value(&mut self, digest: &str) -> u64 {
        let next = self.sent.len() as u64 + 1;
        *self.sent.entry(digest.to_owned()).or_insert(next)
    }

    /// The same, if anybody sent it.
    pub(crate) fn known(&self, digest: &str) -> Option<u64> {
        self.sent.get(digest).copied()
    }

    pub(crate) fn record(&mut self, tag: &TagName, operation: Operation) {
        self.operations += 1;
        self.unknown += u64::from(operation.is_unknown());
        self.histories
            .entry(tag.clone())
            .or_default()
            .push(operation);
    }

    /// A client was told that this is stored.
    pub(crate) fn acknowledge(&mut self, stored: Stored) {
        self.operations += 1;
        self.acknowledged.push(stored);
    }

    pub(crate) fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    pub(crate) fn violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }
}
