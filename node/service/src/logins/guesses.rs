//! Wrong guesses at one principal, wherever they come from.
//!
//! The invariants: who has logged in from a source is never kept out there by
//! what others guess; and a principal that does not exist is counted like one
//! that does.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::{Source, lock};
use crate::ServiceError;
use crate::memory::Memory;

/// Wrong guesses in a row that may be made at one principal; then one for each
/// `GUESS_TIME`.
const GUESSES_MAX: u32 = 100;
const GUESS_TIME: Duration = Duration::from_secs(1);
/// Principals that are told apart; beyond, guesses count for their sources alone.
const PRINCIPALS_MAX: usize = 16_384;
/// Sources from which somebody has logged in that are remembered.
const FAMILIAR_MAX: usize = 16_384;

/// A name that credentials claimed: hashed, because it is as long as it likes.
type Claimed = [u8; 16];

/// The guesses at everybody.
#[derive(Debug)]
pub(super) struct Guesses {
    /// When all wrong guesses are made up for; each adds a `GUESS_TIME`.
    even_at: Mutex<HashMap<Claimed, Instant>>,
    familiar: Memory<(Source, Claimed), ()>,
}

// === impl Guesses ===

impl Default for Guesses {
    fn default() -> Self {
        Self {
            even_at: Mutex::default(),
            familiar: Memory::new(FAMILIAR_MAX),
        }
    }
}

impl Guesses {
    /// # Errors
    /// `LoginsTooMany` from where nobody has logged in as `claimed`.
    pub(super) fn may_guess(&self, source: Source, claimed: &str) -> Result<(), ServiceError> {
        let claimed = hash(claimed);
        let even_at = lock(&self.even_at).get(&claimed).copied();
        let ahead = even_at.map(|at| at.saturating_duration_since(Instant::now()));
        let is_over = ahead.is_some_and(|ahead| ahead > GUESS_TIME * (GUESSES_MAX - 1));
        if is_over && !self.is_familiar(source, claimed) {
            return Err(ServiceError::LoginsTooMany);
        }
        Ok(())
    }

    pub(super) fn knows(&self, source: Source, claimed: &str) -> bool {
        self.is_familiar(source, hash(claimed))
    }

    pub(super) fn right(&self, source: Source, claimed: &str) {
        let claimed = hash(claimed);
        if !self.is_familiar(source, claimed) {
            self.familiar.insert((source, claimed), ());
        }
    }

    pub(super) fn wrong(&self, claimed: &str) {
        let now = Instant::now();
        let mut all = lock(&self.even_at);
        if all.len() >= PRINCIPALS_MAX {
            all.retain(|_, even_at| *even_at > now);
        }
        let claimed = hash(claimed);
        if all.len() < PRINCIPALS_MAX || all.contains_key(&claimed) {
            let even_at = all.entry(claimed).or_insert(now);
            *even_at = (*even_at).max(now) + GUESS_TIME;
        }
    }

    fn is_familiar(&self, source: Source, claimed: Claimed) -> bool {
        self.familiar.get(&(source, claimed)).is_some()
    }
}

fn hash(claimed: &str) -> Claimed {
    let mut hash = Claimed::default();
    let mut output = blake3::Hasher::new()
        .update(claimed.as_bytes())
        .finalize_xof();
    output.fill(&mut hash);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Source::address(std::net::Ipv4Addr::new(192, 0, 2, last).into())
    }

    #[tokio::test(start_paused = true)]
    async fn many_sources_guess_at_one_principal_no_faster_than_one() {
        let guesses = Guesses::default();
        guesses.right(source(250), "ann");
        for last in 0..100 {
            assert_eq!(guesses.may_guess(source(last), "ann"), Ok(()));
            guesses.wrong("ann");
        }
        let refused = Err(ServiceError::LoginsTooMany);
        assert_eq!(guesses.may_guess(source(101), "ann"), refused);
        // Others, and whoever logged in from there before, notice nothing.
        assert_eq!(guesses.may_guess(source(101), "bob"), Ok(()));
        assert_eq!(guesses.may_guess(source(250), "ann"), Ok(()));
        tokio::time::advance(GUESS_TIME).await;
        assert_eq!(guesses.may_guess(source(101), "ann"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_crowd_of_names_takes_more_than_its_memory() {
        let guesses = Guesses::default();
        for nth in 0..PRINCIPALS_MAX + 10 {
            guesses.wrong(&nth.to_string());
        }
        assert_eq!(lock(&guesses.even_at).len(), PRINCIPALS_MAX);
        tokio::time::advance(GUESS_TIME * 2).await;
        guesses.wrong("ann");
        assert_eq!(lock(&guesses.even_at).len(), 1);
    }
}
