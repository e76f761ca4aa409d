//! Waiting for a condition, with a deadline. Tests never sleep for a guessed
//! time: they say what they wait for, and how long that may take at most.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const POLL_FIRST: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_millis(250);

/// Calls `check` until it returns `Ok(Some(value))`.
///
/// # Errors
/// When `deadline` has passed: says what was waited for and what the last call
/// answered. An `Err` of `check` counts as "not yet".
pub async fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut check: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut pause = POLL_FIRST;
    loop {
        let last = match check().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if started.elapsed() >= deadline {
            bail!(
                "waited {:.1} s for {what}; last answer: {last}",
                started.elapsed().as_secs_f64()
            );
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}
