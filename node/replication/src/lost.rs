//! Nodes that have not answered for so long that their copies are made again
//! elsewhere.
//!
//! Each node decides for itself, by what it sees. Two that differ make a copy too
//! many between them, which is dropped later; nobody drops a copy because of
//! this. The invariant: a node that does not see more than half of its region
//! takes nobody for lost: it may be the one that is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Lost {
    after: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    silent_since: BTreeMap<u64, Instant>,
    lost: BTreeSet<u64>,
}

// === impl Lost ===

impl Lost {
    pub(crate) fn new(after: Duration) -> Self {
        Self {
            after,
            state: Mutex::default(),
        }
    }

    pub(crate) fn contains(&self, node: u64) -> bool {
        self.lock().lost.contains(&node)
    }

    /// In order.
    pub(crate) fn all(&self) -> Vec<u64> {
        self.lock().lost.iter().copied().collect()
    }

    /// Takes note of which nodes of the region answer now; whether that changes
    /// who is lost.
    pub(crate) fn note(&self, nodes: &[u64], is_alive: impl Fn(u64) -> bool) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        state.silent_since.retain(|node, _| nodes.contains(node));
        for node in nodes {
            if is_alive(*node) {
                state.silent_since.remove(node);
            } else {
                state.silent_since.entry(*node).or_insert(now);
            }
        }
        let answering = nodes.len() - state.silent_since.len();
        let lost: BTreeSet<u64> = if 2 * answering > nodes.len() {
            let silent = state.silent_since.iter();
            silent
                .filter(|(_, since)| now.duration_since(**since) >= self.after)
                .map(|(node, _)| *node)
                .collect()
        } else {
            BTreeSet::new()
        };
        let changed = lost != state.lost;
        state.lost = lost;
        changed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(10);
    const NODES: [u64; 5] = [1, 2, 3, 4, 5];

    #[tokio::test(start_paused = true)]
    async fn a_node_is_lost_after_its_time_and_no_more_once_it_answers() {
        let lost = Lost::new(AFTER);
        assert!(!lost.note(&NODES, |node| node != 3));
        tokio::time::advance(AFTER / 2).await;
        // An answer in between starts its time anew.
        assert!(!lost.note(&NODES, |_| true));
        assert!(!lost.note(&NODES, |node| node != 3));
        tokio::time::advance(AFTER / 2).await;
        assert!(!lost.note(&NODES, |node| node != 3));
        tokio::time::advance(AFTER / 2).await;
        assert!(lost.note(&NODES, |node| node != 3));
        assert_eq!(lost.all(), [3]);
        assert!(lost.contains(3) && !lost.contains(2));
        assert!(!lost.note(&NODES, |node| node != 3));
        assert!(lost.note(&NODES, |_| true));
        assert!(!lost.contains(3));
    }

    #[tokio::test(start_paused = true)]
    async fn who_sees_half_of_the_region_or_less_takes_nobody_for_lost() {
        for (nodes, seen, some) in [(5, 2, false), (5, 3, true), (4, 2, false), (2, 1, false)] {
            let lost = Lost::new(AFTER);
            let nodes = &NODES[..nodes];
            lost.note(nodes, |node| node <= seen);
            tokio::time::advance(AFTER).await;
            assert_eq!(lost.note(nodes, |node| node <= seen), some);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_left_the_region_is_not_lost() {
        let lost = Lost::new(AFTER);
        lost.note(&NODES, |node| node != 5);
        tokio::time::advance(AFTER).await;
        assert!(!lost.note(&NODES[..4], |node| node != 5));
        assert!(lost.all().is_empty());
    }
}
