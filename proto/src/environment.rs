//! The world outside a node, passed in so that a simulation can replace it.
//!
//! Durations and timers come from `tokio::time`, which a simulation pauses;
//! the wall clock comes from [`Clock`]; connections come from
//! [`Dial`](crate::peers::Dial); work that may block goes where [`Blocking`]
//! says.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinError;

/// The wall clock. Only for what people and policies read (creation times,
/// expiry); nothing may depend on it for safety.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}

/// Where work is done that takes long or waits for a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Blocking {
    /// On threads that may block.
    #[default]
    Threads,
    /// Where the caller stands. A simulation has one thread, so that it repeats
    /// itself bit by bit, and nothing there waits for a disk.
    Inline,
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Blocking {
    /// Does `work` and waits for it.
    ///
    /// # Errors
    /// [`JoinError`] when it panicked on a thread of its own.
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await,
            Self::Inline => Ok(work()),
        }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
