//! Whether a history of one tag is linearizable: whether there is an order of
//! its operations that agrees with their times, in which each was told what it
//! had to be told.
//!
//! The search is Wing and Gong's with Lowe's memory of the configurations seen:
//! it takes next any operation that was called before every open one returned.
//! Two things keep it small. A read that is right where the search stands is
//! taken at once: an earlier read spoils nothing. A write of unknown outcome is
//! only taken right before an operation that needs it: before any other it
//! could come later, or not at all.
//!
//! The work is bounded. What could not be decided is never called right.

mod minimal;
mod search;
#[cfg(test)]
mod tests;

use crate::history::Operation;

pub use minimal::minimal;

/// Configurations that are tried for one history. A right history of 300
/// operations takes some hundred.
pub const STEPS_MAX: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Linearizable {
        /// Configurations that were tried.
        steps: u64,
    },
    Violation,
    /// More than [`STEPS_MAX`] steps did not decide it.
    Undecided,
}

/// Checks the history of one tag, which does not exist at first. The order of
/// `history` is of no meaning.
pub fn check(history: &[Operation]) -> Verdict {
    search::search(history, STEPS_MAX)
}
