//! What is remembered, up to a number of entries; beyond, the oldest goes.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

/// Read by many at a time.
#[derive(Debug)]
pub(crate) struct Memory<K, V> {
    entries: RwLock<Entries<K, V>>,
    max: usize,
}

#[derive(Debug)]
struct Entries<K, V> {
    known: HashMap<K, V>,
    /// The same, oldest first.
    order: VecDeque<K>,
}

// === impl Memory ===

impl<K: Hash + Eq + Clone, V: Clone> Memory<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        let entries = Entries {
            known: HashMap::new(),
            order: VecDeque::new(),
        };
        Self {
            entries: RwLock::new(entries),
            max,
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        // It is whole between any two statements that hold it.
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.known.get(key).cloned()
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.known.insert(key.clone(), value).is_none() {
            entries.order.push_back(key);
        }
        if entries.order.len() > self.max
            && let Some(oldest) = entries.order.pop_front()
        {
            entries.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn the_oldest_goes_when_it_is_full() {
        let memory = Memory::new(2);
        for key in [1, 2, 1, 3] {
            memory.insert(key, key * 10);
        }
        assert_eq!(memory.get(&1), None);
        assert_eq!((memory.get(&2), memory.get(&3)), (Some(20), Some(30)));
        memory.insert(2, 21);
        assert_eq!((memory.get(&2), memory.get(&3)), (Some(21), Some(30)));
    }
}
