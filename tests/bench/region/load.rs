//! A steady load: so many requests a second, whatever else goes on.
//!
//! Each is timed from the moment when it was due, so that a server which stands
//! still is charged for all that had to wait.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// More on their way say that the rate is too high for the machine.
const AT_ONCE_MAX: usize = 2_000;

/// How long each request took.
#[derive(Debug)]
pub(crate) struct Latencies(Vec<Duration>);

// === impl Latencies ===

impl Latencies {
    pub(crate) fn new(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// By nearest rank, in ms; NaN of nothing.
    pub(crate) fn ms(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        let found = self.0.get(rank.saturating_sub(1));
        found.map_or(f64::NAN, |found| found.as_secs_f64() * 1e3)
    }
}

/// Sends `per_s` requests a second until `work` is done. Each is told its number.
///
/// # Errors
/// The first request that fails ends it.
pub(crate) async fn during<T>(
    per_s: u32,
    request: impl AsyncFn(u64) -> Result<()>,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Latencies)> {
    let mut work = pin!(work);
    let mut due = interval(Duration::from_secs(1) / per_s);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = FuturesUnordered::new();
    let mut latencies = Vec::new();
    let mut number = 0;
    let done = loop {
        tokio::select! {
            biased;
            done = &mut work => break done?,
            Some(took) = running.next(), if !running.is_empty() => latencies.push(took?),
            at = due.tick() => {
                ensure!(running.len() < AT_ONCE_MAX, "{per_s} requests a second are too many");
                running.push(timed(at, request(number)));
                number += 1;
            }
        }
    };
    while let Some(took) = running.next().await {
        latencies.push(took?);
    }
    Ok((done, Latencies::new(latencies)))
}

/// The same for so many seconds.
pub(crate) async fn for_seconds(
    seconds: u64,
    per_s: u32,
    request: impl AsyncFn(u64) -> Result<()>,
) -> Result<Latencies> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let work = async {
        tokio::time::sleep_until(end).await;
        Ok(())
    };
    Ok(during(per_s, request, work).await?.1)
}

async fn timed(due: Instant, request: impl Future<Output = Result<()>>) -> Result<Duration> {
    request.await?;
    Ok(due.elapsed())
}

/// The lines of a table of what each stage's `requests` took; the first stage is
/// what the others are held against.
pub(crate) fn table(requests: &str, stages: &[(&str, &Latencies)]) -> Vec<String> {
    let before = stages.first().map_or(f64::NAN, |(_, before)| before.ms(99));
    let mut lines = vec![
        format!("| {requests} | count | p50, ms | p99, ms | p99 to that before |"),
        "|---|---:|---:|---:|---:|".to_owned(),
    ];
    lines.extend(stages.iter().map(|(what, latencies)| {
        let (p50, p99) = (latencies.ms(50), latencies.ms(99));
        let count = latencies.count();
        format!(
            "| {what} | {count} | {p50:.2} | {p99:.2} | {:.2} |",
            p99 / before
        )
    }));
    lines
}
