//! How much room a node has for blobs.
//!
//! A hint that travels with pings: a node that says that it is full is not
//! given new copies while others have room. Whoever writes still has to cope
//! with a disk that is full.

use entrepot_proto::peer::PingReply;

/// A node is full when less than this part of its disk is free, or less than
/// this many times what is reserved for its metadata: blobs stop at the reserve,
/// and it has to be full before.
const FULL_BELOW: f64 = 0.02;
const RESERVES_FULL_BELOW: f64 = 1.5;
/// It takes copies again when more than this is. In between, it stays what it
/// was: a node at the limit must not change its mind with every blob.
const ROOM_ABOVE: f64 = 0.04;
const RESERVES_ROOM_ABOVE: f64 = 2.0;

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

    /// What was found now, after `self`. `reserve_bytes` is what blobs must not
    /// take.
    #[must_use]
    pub fn then(self, capacity_bytes: u64, free_bytes: u64, reserve_bytes: u64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "a rough comparison")]
        let (capacity, free, reserve) = (
            capacity_bytes as f64,
            free_bytes as f64,
            reserve_bytes as f64,
        );
        let full_below = (capacity * FULL_BELOW).max(reserve * RESERVES_FULL_BELOW);
        let room_above = (capacity * ROOM_ABOVE).max(reserve * RESERVES_ROOM_ABOVE);
        let is_full =
            capacity_bytes > 0 && (free < full_below || (self.is_full && free <= room_above));
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
            space = space.then(100, free, 0);
            assert_eq!(space.is_full, is_full, "{free} of 100");
        }
    }

    #[test]
    fn a_node_is_full_before_its_blobs_come_to_the_reserve() {
        let mut space = Space::default();
        for (free, is_full) in [(16, false), (14, true), (19, true), (21, false)] {
            space = space.then(100, free, 10);
            assert_eq!(space.is_full, is_full, "{free} of 100");
        }
    }

    #[test]
    fn a_disk_that_is_not_known_is_not_full() {
        assert!(!Space::default().then(0, 0, 10).is_full);
    }
}
