//! Background work at a bounded rate, so that clients do not notice it.
//!
//! The invariant: over any while longer than a second, no more bytes pass than
//! the rate allows, however many tasks share the pace.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
