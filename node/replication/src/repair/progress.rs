//! What others see of the repair of a node.

use std::sync::{Mutex, MutexGuard, PoisonError};

use entrepot_proto::peer::{RangeSummary, RepairState};
use tokio::time::Instant;

/// Shared by who repairs and who asks how it stands.
#[derive(Debug, Default)]
pub(crate) struct RepairProgress(Mutex<Progress>);

#[derive(Debug, Default)]
struct Progress {
    state: RepairState,
    /// Of the last look.
    summaries: Vec<RangeSummary>,
    /// When the fetching of what was found missing began, and how many bytes had
    /// been fetched before.
    since: Option<(Instant, u64)>,
}

// === impl RepairProgress ===

impl RepairProgress {
    /// After a look at all copies.
    pub(crate) fn looked(&self, blobs: u64, bytes: u64) {
        let mut progress = self.lock();
        progress.state.missing_blobs = blobs;
        progress.state.missing_bytes = bytes;
        progress.state.failing_blobs = 0;
        progress.since = Some((Instant::now(), progress.state.fetched_bytes));
    }

    pub(crate) fn summed(&self, summaries: Vec<RangeSummary>) {
        self.lock().summaries = summaries;
    }

    pub(crate) fn fetched(&self, bytes: u64) {
        let state = &mut self.lock().state;
        state.fetched_blobs += 1;
        state.fetched_bytes += bytes;
        state.missing_blobs = state.missing_blobs.saturating_sub(1);
        state.missing_bytes = state.missing_bytes.saturating_sub(bytes);
    }

    pub(crate) fn failed(&self) {
        self.lock().state.failing_blobs += 1;
    }

    /// Nothing was missing.
    pub(crate) fn whole(&self, at_ms: i64) {
        self.lock().state.whole_at_ms = at_ms;
    }

    pub(crate) fn dropped(&self) {
        self.lock().state.surplus_dropped += 1;
    }

    pub(crate) fn summaries(&self) -> Vec<RangeSummary> {
        self.lock().summaries.clone()
    }

    /// What is missing now: blobs, bytes.
    pub(crate) fn missing(&self) -> (u64, u64) {
        let state = &self.lock().state;
        (state.missing_blobs, state.missing_bytes)
    }

    pub(crate) fn state(&self) -> RepairState {
        let progress = self.lock();
        let mut state = progress.state.clone();
        if let Some((since, before)) = progress.since
            && state.missing_bytes > 0
        {
            let done = state.fetched_bytes.saturating_sub(before);
            let ms = since.elapsed().as_millis() * u128::from(state.missing_bytes);
            let ms = ms.checked_div(u128::from(done)).unwrap_or(0);
            state.remaining_ms = u64::try_from(ms).unwrap_or(u64::MAX);
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
