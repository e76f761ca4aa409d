//! A long line between two regions: it delays, has a rate, and counts what it
//! carries.
//!
//! It stands behind the [`Links`](crate::Links) of a cluster, so it can be cut
//! and broken as they can. Bytes pass through here, from one TCP connection into
//! another: time and rate are those of a long line, while loss and the slow start
//! of TCP are not. The invariant: bytes come out in order, no sooner than the
//! delay after they went in and no faster than the rate, however many connections
//! share the line.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::cluster::Cluster;

/// What may wait for its turn at the start of a line; then senders are held up.
const QUEUE: Duration = Duration::from_millis(20);

/// One direction of a line, shared by all connections that use it.
#[derive(Debug)]
pub struct Line {
    delay: Duration,
    /// None: as fast as this machine is.
    bytes_per_s: Option<u64>,
    carried: AtomicU64,
    free_at: Mutex<Option<Instant>>,
}

/// Both directions between two regions.
#[derive(Debug, Clone)]
pub struct Wan {
    there: Arc<Line>,
    back: Arc<Line>,
}

// === impl Line ===

impl Line {
    pub fn new(delay: Duration, bytes_per_s: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            delay,
            bytes_per_s,
            carried: AtomicU64::new(0),
            free_at: Mutex::default(),
        })
    }

    /// When there is room for more at the start of the line; none: there is.
    pub(crate) fn room_at(&self) -> Option<Instant> {
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        free_at.and_then(|free_at| free_at.checked_sub(QUEUE))
    }

    /// When `bytes` that go in `now` come out.
    pub(crate) fn send(&self, bytes: usize, now: Instant) -> Instant {
        self.carried.fetch_add(bytes as u64, Ordering::Relaxed);
        let Some(bytes_per_s) = self.bytes_per_s else {
            return now + self.delay;
        };
        let takes = Duration::from_nanos(bytes as u64 * 1_000_000_000 / bytes_per_s.max(1));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let end = free_at.map_or(now, |free_at| free_at.max(now)) + takes;
        *free_at = Some(end);
        end + self.delay
    }

    /// Bytes that went in so far.
    pub fn carried_bytes(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

// === impl Wan ===

impl Wan {
    /// Puts a line between two regions of a cluster that has links. From now on
    /// everything between their nodes shares it, also on connections that are
    /// there already.
    ///
    /// # Errors
    /// When the cluster has no links.
    pub fn between(
        cluster: &Cluster,
        (from, to): (&str, &str),
        round_trip: Duration,
        bytes_per_s: Option<u64>,
    ) -> Result<Self> {
        let wan = Self {
            there: Line::new(round_trip / 2, bytes_per_s),
            back: Line::new(round_trip / 2, bytes_per_s),
        };
        let links = cluster.links()?;
        for source in cluster.ids_in(from) {
            for target in cluster.ids_in(to) {
                links.lay(source, target, &wan.there);
                links.lay(target, source, &wan.back);
            }
        }
        Ok(wan)
    }

    /// Bytes from the first region to the second so far.
    pub fn there_bytes(&self) -> u64 {
        self.there.carried_bytes()
    }

    /// Bytes from the second region to the first so far.
    pub fn back_bytes(&self) -> u64 {
        self.back.carried_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn bytes_come_out_after_their_delay_and_no_faster_than_the_rate() {
        let line = Line::new(40 * MS, Some(1_000_000));
        let start = Instant::now();
        assert_eq!(line.send(10_000, start), start + 50 * MS);
        assert_eq!(line.send(30_000, start), start + 80 * MS);
        // 40 ms of bytes are in: there is room again when 20 ms are left.
        assert_eq!(line.room_at(), Some(start + 20 * MS));
        // An idle line saves nothing up.
        let later = start + 1_000 * MS;
        assert_eq!(line.send(1_000, later), later + 41 * MS);
        assert_eq!(line.carried_bytes(), 41_000);
    }

    #[test]
    fn a_line_without_a_rate_only_delays() {
        let line = Line::new(40 * MS, None);
        let start = Instant::now();
        for _ in 0..100 {
            assert_eq!(line.room_at(), None);
            assert_eq!(line.send(1 << 20, start), start + 40 * MS);
        }
    }
}
