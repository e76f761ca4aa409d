//! What deleted tags pointed to is forgotten once they have been gone for long.
//!
//! One node of a region drives it, in bounded steps. The invariant: nothing is decided
//! here. The state machine looks at each tag again.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::command::{ForgetTags, ForgottenTag, UNDELETE_LEVEL};
use entrepot_metadata::limits::{FORGOTTEN_AT_ONCE_MAX, GONE_TAG_KEPT_MS};
use entrepot_metadata::query;
use entrepot_replication::placement;
use tracing::warn;

use crate::metadata::refused;
use crate::{Registry, ServiceError};

/// From one look to the next.
const INTERVAL: Duration = Duration::from_mins(10);
/// Between two steps of one look.
const REST: Duration = Duration::from_millis(100);
/// Steps of one look: what is more goes with the next one.
const STEPS_MAX: usize = 1_000;
/// Tags of one step, each of which may be about as many pairs as a tag has moves.
const PAGE: usize = 200;
const _: () = assert!(PAGE <= FORGOTTEN_AT_ONCE_MAX);
/// What ranks the nodes that may drive it.
const TURN: &[u8] = b"tag history";

/// Forgets what deleted tags pointed to, while it is this node's turn.
#[derive(Debug)]
pub struct TagHistories {
    registry: Arc<Registry>,
}

// === impl TagHistories ===

impl TagHistories {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Err(error) = self.round().await {
                warn!(%error, "what deleted tags pointed to could not be forgotten; it is tried again");
            }
        }
    }

    /// Forgets what is due, if it is this node's turn.
    ///
    /// # Errors
    /// When the region's metadata cannot be changed.
    pub async fn round(&self) -> Result<(), ServiceError> {
        for _ in 0..STEPS_MAX {
            if !self.is_mine() || !self.registry.metadata.understands(UNDELETE_LEVEL)? {
                return Ok(());
            }
            if self.step().await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(REST).await;
        }
        Ok(())
    }

    /// Of how many tags there was something to forget.
    async fn step(&self) -> Result<usize, ServiceError> {
        let now_ms = self.registry.cluster_clock.now_ms();
        let cutoff_ms = now_ms.saturating_sub(GONE_TAG_KEPT_MS);
        let due = query::gone_tags(self.registry.local()?.as_ref(), cutoff_ms, PAGE)?;
        if due.is_empty() {
            return Ok(0);
        }
        let tags = due
            .iter()
            .map(|it| ForgottenTag::new(&it.account, &it.repository, &it.tag));
        let command = ForgetTags {
            tags: tags.collect(),
            cutoff_ms,
        };
        let response = self.registry.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        Ok(due.len())
    }

    fn is_mine(&self) -> bool {
        let health = self.registry.blobs.health();
        let alive = health.alive_in(self.registry.region());
        placement::first(TURN, alive) == Some(health.own())
    }
}
