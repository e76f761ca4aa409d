//! How much room a node has for blobs.
//!
//! A hint that travels with pings: a node that says that it is full is not
//! given new copies while others have room. Whoever writes still has to cope
//! with a disk that is full.

use entrepot_proto::peer::PingReply;

/// A node is full when less than this part of its disk is free.
const FULL_BELOW: f64 = 0.02;
/// It takes copies again when more than this part is. In between, it stays what
/// it was: a node at the limit must not change its mind with every blob.
const ROOM_ABOVE: f64 = 0.04;

/// What a disk has and what is left, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// 0: not known.
    pub capacity_bytes: u64,
    pub free_bytes: u64,
    pub is_full: bool,
}

// === impl Space ===

impl Space {
    pub(crate) fn of(reply: &PingReply) -> Self {
        Self {
            capacity_bytes: reply.capacity_bytes,
            free_bytes: reply.free_bytes,
            is_full: reply.is_full,
        }
    }

    /// What was found now, after `self`.
    #[must_use]
    pub fn then(self, capacity_bytes: u64, free_bytes: u64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "a rough comparison")]
        let (capacity, free) = (capacity_bytes as f64, free_bytes as f64);
        let is_full = free < capacity * FULL_BELOW
            || (self.is_full && free <= capacity * ROOM_ABOVE && capacity_bytes > 0);
        Self {
            capacity_bytes,
            free_bytes,
            is_full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_at_the_limit_does_not_change_its_mind_with_every_blob() {
        let mut space = Space::default();
        for (free, is_full) in [(50, false), (3, false), (1, true), (3, true), (5, false)] {
            space = space.then(100, free);
            assert_eq!(space.is_full, is_full, "{free} of 100");
        }
    }

    #[test]
    fn a_disk_that_is_not_known_is_not_full() {
        assert!(!Space::default().then(0, 0).is_full);
    }
}
