//! Operations, some of them at a time, and how long each of them took.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};

/// How long many operations took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed {
    /// All of them, from the first's begin to the last's end.
    pub(crate) took_s: f64,
    pub(crate) p50_ms: f64,
    /// The longest, where there are fewer than a hundred.
    pub(crate) p99_ms: f64,
}

/// Does all of `operations`, `at_once` of them at any time.
///
/// # Errors
/// The first that fails ends it.
pub(crate) async fn timed<T>(
    operations: impl IntoIterator<Item = impl Future<Output = Result<T>>>,
    at_once: usize,
) -> Result<Timed> {
    let started = Instant::now();
    let mut latencies: Vec<Duration> = futures::stream::iter(operations)
        .map(async |operation| {
            let started = Instant::now();
            operation.await?;
            anyhow::Ok(started.elapsed())
        })
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    let took_s = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Ok(Timed {
        took_s,
        p50_ms: percentile_ms(&latencies, 50),
        p99_ms: percentile_ms(&latencies, 99),
    })
}

/// By nearest rank; NaN of nothing.
fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    let found = sorted.get(rank.saturating_sub(1));
    found.map_or(f64::NAN, |found| found.as_secs_f64() * 1e3)
}
