//! Who may pass blobs on at the same time.
//!
//! A rule with little bandwidth, or a destination that takes bytes slowly, holds its
//! places for minutes. They are shared twice, so that only those wait for it who made it:
//!
//! - Among the accounts of the source's regions. One that holds places takes another
//!   only while more are left than it holds, [`RESERVED`] not counted: these are for
//!   accounts that hold none. So an account takes at most half of the others, and all
//!   are taken only while more than [`RESERVED`] accounts hold some, whatever many rules
//!   and destinations each of them has.
//! - What an account may hold, among its rules, each to one destination, in the same
//!   way: a part of it, one in [`NEW_PART`], is for those of them that hold none.
//!
//! The invariant: an account that holds no place finds one unless all are taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_metadata::query::Destination;
use entrepot_oci::{RegionName, RegistryId};

/// Blobs that a node passes on, or waits for, at the same time: for all.
const AT_ONCE: usize = 128;
/// Of these, those that only accounts take that hold none.
const RESERVED: usize = 16;
/// Of what an account may hold, one in so many is for its rules and destinations that
/// hold none.
const NEW_PART: usize = 4;

/// Who shares places: a rule of a registry, to one destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sharer {
    pub(super) region: RegionName,
    pub(super) account: RegistryId,
    pub(super) rule: String,
    pub(super) to: Destination,
}

/// The places that are taken: no more sharers than places.
#[derive(Debug, Default)]
pub(in crate::replica) struct Places(Mutex<BTreeMap<Sharer, usize>>);

/// One of them; dropped, it is free.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    sharer: Sharer,
}

/// How many places are taken as somebody asks for one more.
#[derive(Debug)]
struct Held {
    all: usize,
    /// Of these, by their account.
    account: usize,
    /// Of these, by themselves.
    own: usize,
}

// === impl Places ===

impl Places {
    /// None: there is no room for this one now.
    pub(super) fn take(self: &Arc<Self>, sharer: Sharer) -> Option<Place> {
        let mut taken = self.taken();
        let own = taken.get(&sharer).copied().unwrap_or_default();
        let of_account =
            |other: &Sharer| (&other.region, &other.account) == (&sharer.region, &sharer.account);
        let held = Held {
            all: taken.values().sum(),
            account: taken
                .iter()
                .filter(|it| of_account(it.0))
                .map(|it| it.1)
                .sum(),
            own,
        };
        if !held.leaves_room() {
            return None;
        }
        taken.insert(sharer.clone(), own + 1);
        drop(taken);
        Some(Place {
            places: Arc::clone(self),
            sharer,
        })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<Sharer, usize>> {
        // It is whole between any two statements that hold it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Held ===

impl Held {
    /// Whether one more may be taken.
    fn leaves_room(&self) -> bool {
        if self.account == 0 {
            return self.all < AT_ONCE;
        }
        let others = self.all.saturating_sub(self.account);
        // Half of what the other accounts leave, rounded up.
        let share = (AT_ONCE - RESERVED).saturating_sub(others).div_ceil(2);
        let left = share.saturating_sub(self.account);
        let kept = match self.own {
            0 => 0,
            _ => share / NEW_PART,
        };
        self.own < left.saturating_sub(kept)
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        match taken.get_mut(&self.sharer) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.remove(&self.sharer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule `rule` of an account, to the destination `to`.
    fn sharer(account: usize, rule: usize, to: usize) -> Sharer {
        let account: entrepot_oci::AccountId = format!("{account:012}").parse().unwrap();
        let region = format!("eu-west-{to}").parse().unwrap();
        Sharer {
            region: "us-east-1".parse().unwrap(),
            account: account.clone().into(),
            rule: rule.to_string(),
            to: Destination::new(&region, &account),
        }
    }

    fn all_of(places: &Arc<Places>, sharer: &Sharer) -> Vec<Place> {
        std::iter::from_fn(|| places.take(sharer.clone())).collect()
    }

    /// All that an account gets with 10 rules, each to 25 destinations.
    fn all_of_account(places: &Arc<Places>, account: usize) -> Vec<Place> {
        let pairs = (0..10).flat_map(|rule| (1..26).map(move |to| (rule, to)));
        let sharers = pairs.map(|(rule, to)| sharer(account, rule, to));
        sharers.flat_map(|it| all_of(places, &it)).collect()
    }

    #[test]
    fn a_slow_rule_leaves_places_for_others_of_its_account() {
        let places = Arc::default();
        // Of 56 for the account, 14 for those that hold none.
        let slow = all_of(&places, &sharer(1, 0, 2));
        assert_eq!(slow.len(), 21);
        // Of the same rule to another destination, and of another one to the same.
        let other = all_of(&places, &sharer(1, 0, 3));
        assert_eq!(other.len(), 11);
        let third = all_of(&places, &sharer(1, 1, 2));
        assert_eq!(third.len(), 5);
        for rule in 2..16 {
            assert!(places.take(sharer(1, rule, 2)).is_some(), "{rule}");
        }
        drop((slow, other, third));
        assert!(places.taken().is_empty());
    }

    #[test]
    fn an_account_of_many_rules_leaves_half_for_others() {
        let places = Arc::default();
        let greedy = all_of_account(&places, 1);
        assert_eq!(greedy.len(), (AT_ONCE - RESERVED) / 2);
        let newcomer = all_of(&places, &sharer(2, 0, 2));
        assert!(newcomer.len() > 10, "{}", newcomer.len());
        // Of the same number in another region is another account.
        let namesake = Sharer {
            region: "us-west-1".parse().unwrap(),
            ..sharer(1, 0, 2)
        };
        assert!(places.take(namesake).is_some());
        assert!(places.take(sharer(1, 11, 2)).is_none());
    }

    #[test]
    fn a_handful_of_accounts_locks_nobody_out() {
        let places = Arc::default();
        let mut held = Vec::new();
        for _ in 0..3 {
            for account in 1..=RESERVED {
                held.extend(all_of_account(&places, account));
            }
        }
        assert!(places.take(sharer(99, 0, 2)).is_some());
        // Whoever gave all places back is new again.
        let first = sharer(1, 0, 2).account;
        held.retain(|place| place.sharer.account != first);
        assert!(places.take(sharer(1, 0, 2)).is_some());
    }

    #[test]
    fn never_more_than_there_are() {
        let places: Arc<Places> = Arc::default();
        let mut held = Vec::new();
        for account in 0..2 * AT_ONCE {
            held.extend(all_of_account(&places, account));
        }
        assert_eq!(held.len(), AT_ONCE);
        let accounts: std::collections::BTreeSet<_> =
            held.iter().map(|it| it.sharer.account.clone()).collect();
        assert!(accounts.len() > RESERVED, "{accounts:?}");
        assert!(places.take(sharer(999, 0, 2)).is_none());
        held.pop();
        assert!(places.take(sharer(999, 0, 2)).is_some());
    }
}
