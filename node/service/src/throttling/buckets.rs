//! Token buckets, each kept as one number: the moment at which it would be full
//! again (the generic cell rate algorithm). A full one need not be kept at all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Buckets that are told apart. Beyond, new ones share one for each operation.
pub(super) const BUCKETS_MAX: usize = 65_536;
/// Parts with a lock of their own.
const SHARDS: usize = 16;
const SHARD_MAX: usize = BUCKETS_MAX / SHARDS;
/// How much may be taken at once by whoever has taken nothing for that long.
const BURST: Duration = Duration::from_secs(1);
/// From one search for full buckets to the next, in a shard without room.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SECOND_NS: u64 = 1_000_000_000;

/// What is counted: of whom, as a hash with a key of this node's, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Bucket {
    pub(super) of: u64,
    pub(super) operation: u8,
}

#[derive(Debug)]
pub(super) struct Buckets {
    start: Instant,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    /// When each is full, in nanoseconds since the start.
    full_at: HashMap<Bucket, u64>,
    swept_at: u64,
}

// === impl Bucket ===

impl Bucket {
    /// What all count on for whom there is no room.
    fn of_others(self) -> Self {
        Self { of: 0, ..self }
    }
}

// === impl Buckets ===

impl Default for Buckets {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            shards: Default::default(),
        }
    }
}

impl Buckets {
    /// Takes one of a bucket that is filled with `rate` a second.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn take(&self, bucket: Bucket, rate: u32) -> Result<(), Duration> {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let each = SECOND_NS / u64::from(rate.max(1));
        let burst = u64::try_from(BURST.as_nanos())
            .unwrap_or(u64::MAX)
            .max(each);
        let shard = &self.shards[usize::try_from(bucket.of % SHARDS as u64).unwrap_or(0)];
        // Whole between any two statements that hold it.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = shard.room_for(bucket, now);
        let full_at = shard.full_at.get(&bucket).copied();
        let then = full_at.unwrap_or(now).max(now).saturating_add(each);
        let ahead = then - now;
        if ahead > burst {
            return Err(Duration::from_nanos(ahead - burst));
        }
        shard.full_at.insert(bucket, then);
        Ok(())
    }
}

// === impl Shard ===

impl Shard {
    /// The bucket to take from: its own, if it has one or can have one.
    fn room_for(&mut self, bucket: Bucket, now: u64) -> Bucket {
        if self.full_at.len() < SHARD_MAX || self.full_at.contains_key(&bucket) {
            return bucket;
        }
        let interval = u64::try_from(SWEEP_INTERVAL.as_nanos()).unwrap_or(u64::MAX);
        if now.saturating_sub(self.swept_at) >= interval {
            self.swept_at = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if self.full_at.len() < SHARD_MAX {
            bucket
        } else {
            bucket.of_others()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(buckets: &Buckets) -> usize {
        let shards = buckets.shards.iter();
        shards.map(|it| it.lock().unwrap().full_at.len()).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn no_crowd_takes_more_than_its_memory_and_those_beyond_share() {
        let buckets = Buckets::default();
        tokio::time::advance(SWEEP_INTERVAL).await;
        let bucket = |of| Bucket { of, operation: 1 };
        let crowd = 2 * BUCKETS_MAX as u64;
        let taken = (1..=crowd).filter(|of| buckets.take(bucket(*of), 1).is_ok());
        let taken = taken.count();
        // Each shard has one more, which the rest share.
        assert_eq!(taken, BUCKETS_MAX + SHARDS);
        assert_eq!(kept(&buckets), BUCKETS_MAX + SHARDS);
        // Who was there before goes on.
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(buckets.take(bucket(1), 1).is_err());
        tokio::time::advance(SWEEP_INTERVAL).await;
        assert!(buckets.take(bucket(crowd + 1), 1).is_ok());
        assert!(kept(&buckets) <= BUCKETS_MAX + SHARDS - SHARD_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn over_time_it_is_the_rate() {
        let buckets = Buckets::default();
        let bucket = Bucket {
            of: 7,
            operation: 0,
        };
        let mut taken = 0;
        for _ in 0..1_000 {
            taken += usize::from(buckets.take(bucket, 10).is_ok());
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        // What was in it, and ten seconds' worth.
        assert!((108..=110).contains(&taken), "{taken}");
    }
}
