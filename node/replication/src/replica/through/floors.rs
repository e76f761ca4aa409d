//! Which push of a source a tag was last shown at, before it was here.
//!
//! Bounded, and gone with the process. The invariant: a tag that was read through
//! is not moved to an older push of the same source after that.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use entrepot_metadata::query::Source;
use entrepot_oci::{AccountId, RepositoryName, Tag};

/// Tags that are remembered; of more, the first in order go.
const FLOORS_MAX: usize = 10_000;

/// By account, repository, tag and source.
#[derive(Debug, Default)]
pub(in super::super) struct Floors(Mutex<BTreeMap<Key, u64>>);

type Key = (AccountId, RepositoryName, Tag, Source);

// === impl Floors ===

impl Floors {
    pub(super) fn raise(&self, key: Key, sequence: u64) {
        let mut floors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if floors.len() >= FLOORS_MAX && !floors.contains_key(&key) {
            floors.pop_first();
        }
        let floor = floors.entry(key).or_default();
        *floor = sequence.max(*floor);
    }

    /// Whether a push of `sequence` may move the tag: nobody has seen it at a
    /// newer one.
    pub(in super::super) fn admits(&self, key: &Key, sequence: u64) -> bool {
        let floors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        floors.get(key).is_none_or(|floor| sequence >= *floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_not_moved_behind_where_it_was_seen() {
        let floors = Floors::default();
        let key = |tag: &str| -> Key {
            let account: AccountId = "111111111111".parse().unwrap();
            let app: RepositoryName = "app".parse().unwrap();
            let source = Source::new(&"eu-west-1".parse().unwrap(), &account, &app);
            (account, app, tag.parse().unwrap(), source)
        };
        assert!(floors.admits(&key("v1"), 1));
        floors.raise(key("v1"), 9);
        floors.raise(key("v1"), 7);
        assert!(!floors.admits(&key("v1"), 8));
        assert!(floors.admits(&key("v2"), 1));
        assert!(floors.admits(&key("v1"), 9));
        for nth in 0..2 * FLOORS_MAX {
            floors.raise(key(&format!("t{nth}")), 1);
        }
        assert!(floors.0.lock().unwrap().len() <= FLOORS_MAX);
    }
}
