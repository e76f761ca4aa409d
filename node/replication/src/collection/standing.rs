//! How collection stands on this node, for those who ask.
//!
//! Nothing is decided by it: whoever does the work notes it here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use entrepot_proto::peer::CollectionState;

/// What was counted since the node was started.
#[derive(Debug, Default)]
pub struct Standing(Mutex<CollectionState>);

// === impl Standing ===

impl Standing {
    pub fn note(&self, change: impl FnOnce(&mut CollectionState)) {
        change(&mut self.lock());
    }

    pub(crate) fn state(&self) -> CollectionState {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, CollectionState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
