//! Who callers have proved to be, so that the same words need no second look
//! while nothing has changed: clients send theirs with every request.
//!
//! It holds for one state of the accounts and keys, and is empty with the next.
//! So nothing gets in whose proof ends otherwise, as a token's does with time.
//! What was sent is known by its mark alone ([`Verifier::mark`]), and only to
//! whom it came from: whoever guesses from elsewhere is counted as before. Nobody
//! who was refused is in here.
//!
//! [`Verifier::mark`]: entrepot_access::Verifier::mark

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use entrepot_access::Mark;

use crate::{Caller, Source};

/// Callers that are remembered; with one more it begins anew.
const PROVEN_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Proven(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The index of the state by which all of these were proved.
    applied: u64,
    callers: HashMap<(Mark, Source), Caller>,
}

// === impl Proven ===

impl Proven {
    /// Who proved it by what was sent from there, if that still holds: `applied` is
    /// the index of the state now.
    pub(crate) fn get(&self, mark: Mark, source: Source, applied: u64) -> Option<Caller> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let holds = known.applied == applied;
        let caller = known.callers.get(&(mark, source));
        caller.filter(|_| holds).cloned()
    }

    /// Notes who proved it, by a state of the index `applied` or a later one.
    pub(crate) fn insert(&self, mark: Mark, source: Source, applied: u64, caller: &Caller) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if applied < known.applied {
            return;
        }
        if applied > known.applied || known.callers.len() >= PROVEN_MAX {
            known.callers.clear();
        }
        known.applied = applied;
        known.callers.insert((mark, source), caller.clone());
    }
}

#[cfg(test)]
mod tests {
    use entrepot_access::{Mark, Principal, Verifier};

    use super::{PROVEN_MAX, Proven};
    use crate::{Caller, Source};

    fn caller(account: &str) -> Caller {
        Caller::of(Principal::root(account.parse().unwrap()))
    }

    fn from(address: &str) -> Source {
        Source::address(address.parse().unwrap())
    }

    #[test]
    fn what_was_proved_holds_for_one_state_and_one_source() {
        let verifier = Verifier::new().unwrap();
        let (one, other) = (verifier.mark("Basic b25l"), verifier.mark("Basic b3RoZXI="));
        let (here, there) = (from("10.0.0.1"), from("10.9.0.2"));
        let proven = Proven::default();
        let insert = |mark: Mark, applied, account| {
            proven.insert(mark, here, applied, &caller(account));
        };
        insert(one, 7, "000000000001");
        assert_eq!(proven.get(one, here, 7), Some(caller("000000000001")));
        assert_eq!(proven.get(one, there, 7), None);
        assert_eq!(proven.get(other, here, 7), None);
        assert_eq!(proven.get(one, here, 8), None);

        insert(other, 8, "000000000002");
        assert_eq!(proven.get(one, here, 8), None, "by an older state");
        // One that took long.
        insert(one, 7, "000000000001");
        assert_eq!(proven.get(one, here, 8), None);
        assert_eq!(proven.get(other, here, 8), Some(caller("000000000002")));
    }

    #[test]
    fn it_has_an_end() {
        let verifier = Verifier::new().unwrap();
        let proven = Proven::default();
        let here = Source::default();
        let mark = |number: usize| verifier.mark(&number.to_string());
        for number in 0..=PROVEN_MAX {
            proven.insert(mark(number), here, 1, &caller("000000000001"));
        }
        let found = |number: usize| proven.get(mark(number), here, 1).is_some();
        assert!(!found(0) && found(PROVEN_MAX));
    }
}
