//! What the newest entries of the log changed, read once for all webhooks that this
//! node tells.
//!
//! What an entry changed never changes, so it does not matter who has read it when.
//! The invariant: no more than [`CHANGES_MAX`] changes are kept, and those of one
//! entry.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use entrepot_metadata::query::{self, EntryChanges};
use entrepot_metadata::{KeyValue, StorageError};

/// Entries behind the newest one that are kept. Whoever is further behind reads by
/// themselves.
const ENTRIES_MAX: u64 = 4_096;
/// Changes of all these, each of some hundred bytes.
const CHANGES_MAX: usize = 50_000;

#[derive(Debug, Default)]
pub(super) struct Tail(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<u64, Arc<EntryChanges>>,
    changes: usize,
}

// === impl Tail ===

impl Tail {
    /// What the entry at `index` changed, which was applied. None: that is forgotten.
    pub(super) fn entry(
        &self,
        view: &dyn KeyValue,
        index: u64,
    ) -> Result<Option<Arc<EntryChanges>>, StorageError> {
        let found = self.with(|kept| kept.entries.get(&index).cloned());
        if found.is_some() {
            return Ok(found);
        }
        let Some(read) = query::changes(view, index)? else {
            return Ok(None);
        };
        let read = Arc::new(read);
        self.with(|kept| kept.keep(index, &read));
        Ok(Some(read))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        // Whole between any two statements that hold it, but for a count.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Kept ===

impl Kept {
    fn keep(&mut self, index: u64, entry: &Arc<EntryChanges>) {
        let newest = self
            .entries
            .last_key_value()
            .map_or(0, |(newest, _)| *newest);
        if index + ENTRIES_MAX <= newest {
            return;
        }
        if self.entries.insert(index, Arc::clone(entry)).is_none() {
            self.changes += changes(entry);
        }
        while let Some(oldest) = self.entries.first_entry() {
            let is_old = *oldest.key() + ENTRIES_MAX <= newest.max(index);
            if !is_old && (self.changes <= CHANGES_MAX || *oldest.key() == newest.max(index)) {
                break;
            }
            let gone = oldest.remove();
            self.changes = self.changes.saturating_sub(changes(&gone));
        }
    }
}

/// An entry without any counts as well.
fn changes(entry: &EntryChanges) -> usize {
    let each = entry.repositories.iter().map(|it| it.changes.len());
    1 + each.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use entrepot_metadata::query::{Change, RepositoryChanges};
    use entrepot_oci::{Algorithm, Digest};

    use super::*;

    fn entry(changes: usize) -> Arc<EntryChanges> {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let repository = RepositoryChanges {
            account: "111122223333".parse().unwrap(),
            repository: "app".parse().unwrap(),
            changes: vec![Change::ManifestDeleted { digest }; changes],
            truncated: false,
        };
        let repositories = vec![repository];
        Arc::new(EntryChanges { repositories })
    }

    #[test]
    fn the_newest_are_kept_as_far_as_there_is_room() {
        let mut kept = Kept::default();
        for index in 1..=2 * ENTRIES_MAX {
            kept.keep(index, &entry(0));
        }
        assert_eq!(kept.entries.len() as u64, ENTRIES_MAX);
        // What is far behind does not push them out.
        kept.keep(1, &entry(0));
        assert!(!kept.entries.contains_key(&1));
        for index in 1..=200 {
            kept.keep(2 * ENTRIES_MAX + index, &entry(1_000));
            assert!(kept.changes <= CHANGES_MAX + 1_001);
        }
        let summed: usize = kept.entries.values().map(|it| changes(it)).sum();
        assert_eq!(kept.changes, summed);
        assert!(kept.entries.len() >= 49);
        // One that is larger than there is room for is kept by itself.
        kept.keep(3 * ENTRIES_MAX, &entry(2 * CHANGES_MAX));
        assert_eq!(kept.entries.len(), 1);
    }
}
