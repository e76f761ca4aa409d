//! How long the tests of reliability go on: as long as a commit can wait for,
//! or as long as `./tests/run --soak MINUTES` asks for.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

const MINUTES: &str = "ENTREPOT_SOAK_MINUTES";

/// A number out of the environment.
pub(crate) fn number(variable: &str) -> Result<Option<u64>> {
    let Some(text) = std::env::var_os(variable) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    let number = text.parse();
    number
        .map(Some)
        .with_context(|| format!("{variable}={text}: a number is wanted"))
}

/// When to end; `None`: this is no soak.
pub(crate) fn deadline() -> Result<Option<Instant>> {
    let minutes = number(MINUTES)?;
    Ok(minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes)))
}

/// `many` in a soak, else `few`.
pub(crate) fn rounds(few: usize, many: usize) -> Result<usize> {
    Ok(if number(MINUTES)?.is_some() {
        many
    } else {
        few
    })
}

/// Another one each time; whoever draws from it prints it.
pub(crate) fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |now| {
        u64::try_from(now.as_millis()).unwrap_or(1) % 1_000_000_000
    })
}
