//! Who may pass blobs on at the same time.
//!
//! A rule with little bandwidth, or a destination that takes bytes slowly, holds its
//! places for minutes. The invariant: nobody takes a place unless as many are free as
//! they have already, so whoever comes next always finds one, and whoever is alone has
//! half of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_metadata::query::Destination;
use entrepot_oci::{RegionName, RegistryId};

/// Blobs that a node passes on, or waits for, at the same time: for all.
const AT_ONCE: usize = 128;

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

// === impl Places ===

impl Places {
    /// None: there is no room for this one now.
    pub(super) fn take(self: &Arc<Self>, sharer: Sharer) -> Option<Place> {
        let mut taken = self.taken();
        let free = AT_ONCE.saturating_sub(taken.values().sum());
        let own = taken.get(&sharer).copied().unwrap_or_default();
        if own >= free {
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

    fn sharer(rule: &str, region: &str) -> Sharer {
        let account: entrepot_oci::AccountId = "123456789012".parse().unwrap();
        Sharer {
            region: "us-east-1".parse().unwrap(),
            account: account.clone().into(),
            rule: rule.to_owned(),
            to: Destination::new(&region.parse().unwrap(), &account),
        }
    }

    fn all_of(places: &Arc<Places>, rule: &str, region: &str) -> Vec<Place> {
        std::iter::from_fn(|| places.take(sharer(rule, region))).collect()
    }

    #[test]
    fn a_slow_rule_leaves_places_for_others() {
        let places = Arc::default();
        let slow = all_of(&places, "slow", "eu-west-2");
        assert_eq!(slow.len(), AT_ONCE / 2);
        // Of the same rule to another destination, and of another one to the same.
        let other = all_of(&places, "slow", "eu-west-3");
        assert_eq!(other.len(), AT_ONCE / 4);
        let third = all_of(&places, "quick", "eu-west-2");
        assert_eq!(third.len(), AT_ONCE / 8);
        for nth in 0..4 {
            let last = places.take(sharer(&nth.to_string(), "eu-west-2"));
            assert!(last.is_some(), "{nth}");
        }
        drop((slow, other, third));
        assert!(places.0.lock().unwrap().is_empty());
    }

    #[test]
    fn never_more_than_there_are() {
        let places: Arc<Places> = Arc::default();
        let mut held = Vec::new();
        for nth in 0..2 * AT_ONCE {
            held.extend(all_of(&places, &nth.to_string(), "eu-west-2"));
        }
        assert_eq!(held.len(), AT_ONCE);
        let place = held.pop().unwrap();
        let rule = place.sharer.rule.clone();
        drop(place);
        assert!(places.take(sharer("new", "eu-west-2")).is_some(), "{rule}");
    }
}
