//! The copies that this node has beyond its placements: those that came by for
//! readers, and those that other nodes should hold.
//!
//! Owns the order in which they were used, and what they may take. Must never
//! delete one: whether it may go is decided where the other copies can be asked.
//! The invariant: it names copies that were here when they were named, each
//! once, and never decides by itself that one is not needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use entrepot_oci::Digest;
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Cache {
    limit_bytes: u64,
    used: Mutex<Used>,
    /// There is more than there should be.
    pub(crate) full: Notify,
}

#[derive(Debug)]
struct Used {
    /// By when they were used last, oldest first.
    order: BTreeMap<u64, Digest>,
    copies: HashMap<Digest, Entry>,
    bytes: u64,
    uses: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    use_number: u64,
    size: u64,
}

// === impl Cache ===

impl Cache {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            used: Mutex::new(Used {
                order: BTreeMap::new(),
                copies: HashMap::new(),
                bytes: 0,
                uses: u64::MAX / 2,
            }),
            full: Notify::new(),
        }
    }

    /// A copy that was just made.
    pub(crate) fn insert(&self, digest: &Digest, size: u64) {
        let mut used = self.lock();
        used.remove(digest);
        used.uses += 1;
        let use_number = used.uses;
        used.add(*digest, Entry { use_number, size });
        let full = used.bytes > self.limit_bytes;
        drop(used);
        if full {
            self.full.notify_one();
        }
    }

    /// A copy that was found, and that nobody is known to have used.
    pub(crate) fn find(&self, digest: &Digest, size: u64) {
        let mut used = self.lock();
        if used.copies.contains_key(digest) {
            return;
        }
        let oldest = used.order.first_key_value().map(|(number, _)| *number);
        // Numbers start in the middle, so that there is always one before.
        let use_number = oldest.unwrap_or(used.uses).saturating_sub(1);
        if used.order.contains_key(&use_number) {
            return;
        }
        used.add(*digest, Entry { use_number, size });
        let full = used.bytes > self.limit_bytes;
        drop(used);
        if full {
            self.full.notify_one();
        }
    }

    /// A copy that is being read.
    pub(crate) fn touch(&self, digest: &Digest) {
        let mut used = self.lock();
        if let Some(entry) = used.remove(digest) {
            used.uses += 1;
            let use_number = used.uses;
            used.add(
                *digest,
                Entry {
                    use_number,
                    ..entry
                },
            );
        }
    }

    /// A copy that is gone, or that belongs here by now.
    pub(crate) fn forget(&self, digest: &Digest) {
        self.lock().remove(digest);
    }

    /// Copies to drop, the one that was not used for longest first, until the
    /// rest is within the limit.
    pub(crate) fn beyond(&self, most: usize) -> Vec<Digest> {
        let used = self.lock();
        let mut bytes = used.bytes;
        let mut beyond = Vec::new();
        for digest in used.order.values().take(most) {
            if bytes <= self.limit_bytes {
                break;
            }
            bytes -= used.copies.get(digest).map_or(0, |entry| entry.size);
            beyond.push(*digest);
        }
        beyond
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Used ===

impl Used {
    fn add(&mut self, digest: Digest, entry: Entry) {
        self.bytes += entry.size;
        self.order.insert(entry.use_number, digest);
        self.copies.insert(digest, entry);
    }

    fn remove(&mut self, digest: &Digest) -> Option<Entry> {
        let entry = self.copies.remove(digest)?;
        self.order.remove(&entry.use_number);
        self.bytes -= entry.size;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use entrepot_oci::Algorithm;

    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[number])
    }

    fn beyond(cache: &Cache) -> Vec<Digest> {
        cache.beyond(100)
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let cache = Cache::new(20);
        for number in 0..4 {
            cache.insert(&digest(number), 10);
        }
        assert_eq!(beyond(&cache), [digest(0), digest(1)]);
        cache.touch(&digest(0));
        assert_eq!(beyond(&cache), [digest(1), digest(2)]);
        cache.forget(&digest(1));
        assert_eq!(beyond(&cache), [digest(2)]);
        assert_eq!(cache.bytes(), 30);
        assert_eq!(cache.beyond(0), []);
    }

    #[test]
    fn what_was_found_goes_before_what_was_used() {
        let cache = Cache::new(10);
        cache.insert(&digest(1), 10);
        for number in [2, 3] {
            cache.find(&digest(number), 10);
            // Again and again.
            cache.find(&digest(number), 10);
        }
        cache.find(&digest(1), 10);
        assert_eq!(cache.bytes(), 30);
        assert_eq!(beyond(&cache), [digest(3), digest(2)]);
    }

    #[test]
    fn a_copy_counts_once() {
        let cache = Cache::new(10);
        for _ in 0..3 {
            cache.insert(&digest(1), 10);
        }
        cache.touch(&digest(2));
        assert_eq!((cache.bytes(), beyond(&cache)), (10, vec![]));
    }
}
