//! Background work at a bounded rate, so that clients do not notice it.
//!
//! The invariant: over any while longer than a second, no more bytes pass than
//! the rate allows, however many tasks share the pace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use entrepot_metadata::query::Destination;
use tokio::time::Instant;

/// What was not used for this long may be used at once.
const SLACK: Duration = Duration::from_secs(1);

/// Bytes a second, shared by all who hold it.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_s: u64,
    /// When the bytes that were let pass have had their time.
    paid_until: Mutex<Option<Instant>>,
}

/// The paces of destinations that have a limit.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<BTreeMap<Destination, Arc<Pace>>>);

// === impl Paces ===

impl Paces {
    /// What all who send to `destination` share while its limit is this one; none:
    /// it has none.
    pub(crate) fn of(&self, destination: &Destination, limit: Option<u64>) -> Option<Arc<Pace>> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(limit) = limit else {
            paces.remove(destination);
            return None;
        };
        let new = || Arc::new(Pace::new(limit));
        let pace = paces.entry(destination.clone()).or_insert_with(new);
        if pace.bytes_per_s != limit.max(1) {
            *pace = new();
        }
        Some(Arc::clone(pace))
    }
}

// === impl Pace ===

impl Pace {
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s: bytes_per_s.max(1),
            paid_until: Mutex::default(),
        }
    }

    /// Returns when `bytes` more have had their time.
    pub(crate) async fn spend(&self, bytes: u64) {
        tokio::time::sleep_until(self.book(bytes)).await;
    }

    fn book(&self, bytes: u64) -> Instant {
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_s);
        let time = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        let now = Instant::now();
        let mut paid_until = self
            .paid_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let start = paid_until.map_or(now, |until| {
            until.max(now.checked_sub(SLACK).unwrap_or(now))
        });
        let end = start + time;
        *paid_until = Some(end);
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_to_one_destination_shares_its_pace() {
        let paces = Paces::default();
        let to = |region: &str| Destination {
            region: region.parse().unwrap(),
            account: "111111111111".parse().unwrap(),
        };
        let first = paces.of(&to("eu-west-1"), Some(1_000)).unwrap();
        let same = |other: Option<Arc<Pace>>| Arc::ptr_eq(&first, &other.unwrap());
        assert!(same(paces.of(&to("eu-west-1"), Some(1_000))));
        assert!(!same(paces.of(&to("us-west-2"), Some(1_000))));
        assert!(!same(paces.of(&to("eu-west-1"), Some(2_000))));
        assert!(paces.of(&to("eu-west-1"), None).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_passes_than_the_rate_allows() {
        let pace = Pace::new(1_000);
        let start = Instant::now();
        let spend = |times: u64| {
            let pace = &pace;
            async move {
                for _ in 0..times {
                    pace.spend(100).await;
                }
            }
        };
        // However many share it.
        tokio::join!(spend(20), spend(20));
        assert_eq!(start.elapsed(), Duration::from_secs(4));
        // A pause saves up a second, and no more.
        tokio::time::sleep(Duration::from_mins(1)).await;
        let start = Instant::now();
        spend(30).await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }
}
