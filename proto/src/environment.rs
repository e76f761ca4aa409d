//! The world outside a node, passed in so that a simulation can replace it.
//!
//! Durations and timers come from `tokio::time`, which a simulation pauses;
//! the wall clock comes from [`Clock`]; connections come from
//! [`Dial`](crate::peers::Dial).

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock. Only for what people and policies read (creation times,
/// expiry); nothing may depend on it for safety.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
