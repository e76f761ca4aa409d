//! Which repositories have a lifecycle policy, as this node remembers.
//!
//! A repository's texts of all kinds are kept side by side, so whoever wants to know
//! which ones have a policy reads them all. That is done now and then; in between the
//! policies alone are read. The invariant: nothing is decided by what is remembered.
//! A repository that is, without cause, costs one read that finds nothing; one that is
//! not yet waits for the next walk.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, TextKind, TextOf};
use tokio::time::Instant;

use super::run::{PAGE_REST, POLICIES_PAGE};
use crate::feed::Home;
use crate::{Registry, ServiceError};

/// From one walk through the texts of all repositories to the next.
const WALK_INTERVAL: Duration = Duration::from_secs(30);
/// Repositories that are remembered: some 100 MB. Those behind them wait until others
/// have no policy any more.
const KNOWN_MAX: usize = 1_000_000;

/// The repositories that had a policy at the last walk.
#[derive(Debug, Default)]
pub(super) struct Known {
    homes: BTreeSet<Home>,
    /// None: there was no walk yet.
    walked_at: Option<Instant>,
}

// === impl Known ===

impl Known {
    /// Walks through all texts again, if that was not done just now.
    pub(super) async fn renew(&mut self, registry: &Registry) -> Result<(), ServiceError> {
        let is_fresh = |at: Instant| at.elapsed() < WALK_INTERVAL;
        if self.walked_at.is_some_and(is_fresh) {
            return Ok(());
        }
        let mut homes = BTreeSet::new();
        let mut after: Option<Home> = None;
        loop {
            let (view, from) = (registry.local()?, after.take());
            let reading = registry.blocking.run(move || {
                let kind = TextKind::Lifecycle;
                query::texts_of_all(view.as_ref(), kind, from.as_ref(), POLICIES_PAGE)
            });
            let page = reading.await;
            let page = page.map_err(|error| ServiceError::internal(&error))??;
            let is_last = page.len() < POLICIES_PAGE;
            for it in page {
                let home = (it.registry, it.repository);
                after = Some(home.clone());
                homes.insert(home);
            }
            if is_last || homes.len() >= KNOWN_MAX {
                break;
            }
            tokio::time::sleep(PAGE_REST).await;
        }
        self.homes = homes;
        self.walked_at = Some(Instant::now());
        Ok(())
    }

    /// As many as are looked at at a time, behind `after`.
    pub(super) fn page(&self, after: Option<&Home>) -> Vec<Home> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.homes.range((start, Bound::Unbounded));
        behind.take(POLICIES_PAGE).cloned().collect()
    }
}

/// The policies of those of `homes` that have one.
pub(super) fn policies(view: &dyn KeyValue, homes: Vec<Home>) -> Result<Vec<TextOf>, ServiceError> {
    let mut found = Vec::with_capacity(homes.len());
    for (registry, repository) in homes {
        let text = query::repository_text(view, &registry, &repository, TextKind::Lifecycle)?;
        found.extend(text.map(|text| TextOf {
            registry,
            repository,
            text,
        }));
    }
    Ok(found)
}
