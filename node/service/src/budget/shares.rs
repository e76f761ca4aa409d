//! What one client may have of the memory for bodies of signed requests, which are
//! read before their signature can be checked: whoever knows the id of a key, which
//! is no secret, can send one as slowly as they like.
//!
//! The invariants: from one address, and for one key, there is never more than a
//! share; all those together that have not proved themselves from where they are
//! leave room for those that have; and nobody who claims a key takes anything from
//! those who have it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{SIGNED_BYTES_MAX, used_up};
use crate::{ServiceError, Source};

/// Of one address, and of one key. Two of the largest bodies, or more of smaller
/// ones: clients that send many parts at a time have to try some again.
const SHARE_BYTES_MAX: usize = SIGNED_BYTES_MAX / 2;
/// The same of those from whose address the key has not signed anything yet: one of
/// the largest bodies.
const STRANGER_BYTES_MAX: usize = SIGNED_BYTES_MAX / 4;
/// Of all these together.
const STRANGERS_BYTES_MAX: usize = SIGNED_BYTES_MAX / 2;

/// Who has how much.
#[derive(Debug, Default)]
pub(super) struct Shares {
    known: Mutex<Taken>,
    strangers: Mutex<Taken>,
}

/// There is an entry for whoever has a byte, and no other.
#[derive(Debug, Default)]
struct Taken {
    sources: HashMap<Source, usize>,
    keys: HashMap<Box<str>, usize>,
    all: usize,
}

/// What one request has; dropped, it is free.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    source: Source,
    key_id: Box<str>,
    is_known: bool,
    bytes: usize,
}

// === impl Share ===

impl Share {
    /// `is_known`: the key has signed something from there before.
    pub(super) fn new(shares: &Arc<Shares>, source: Source, key_id: &str, is_known: bool) -> Self {
        Self {
            shares: Arc::clone(shares),
            source,
            key_id: key_id.into(),
            is_known,
            bytes: 0,
        }
    }

    /// # Errors
    /// `Unavailable` when its sender has as much as they may.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), ServiceError> {
        let (max, max_all) = if self.is_known {
            (SHARE_BYTES_MAX, SIGNED_BYTES_MAX)
        } else {
            (STRANGER_BYTES_MAX, STRANGERS_BYTES_MAX)
        };
        let mut taken = self.taken();
        let has = |all: Option<&usize>| all.copied().unwrap_or_default() + bytes;
        let of_source = has(taken.sources.get(&self.source));
        let of_key = has(taken.keys.get(&self.key_id));
        // What nobody can tell apart is not counted by where it comes from.
        let is_too_much = self.source.is_known() && of_source > max;
        if is_too_much || of_key > max || taken.all + bytes > max_all {
            return Err(used_up());
        }
        taken.sources.insert(self.source, of_source);
        taken.keys.insert(self.key_id.clone(), of_key);
        taken.all += bytes;
        drop(taken);
        self.bytes += bytes;
        Ok(())
    }

    pub(super) fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return;
        }
        let mut taken = self.taken();
        give_back(&mut taken.sources, &self.source, bytes);
        give_back(&mut taken.keys, &self.key_id, bytes);
        taken.all = taken.all.saturating_sub(bytes);
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        let taken = if self.is_known {
            &self.shares.known
        } else {
            &self.shares.strangers
        };
        // Whoever panicked while it held this has changed numbers, each of which
        // is one.
        taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

fn give_back<K: Hash + Eq>(taken: &mut HashMap<K, usize>, key: &K, bytes: usize) {
    let Some(left) = taken.get_mut(key) else {
        return;
    };
    *left = left.saturating_sub(bytes);
    if *left == 0 {
        taken.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::{SHARE_BYTES_MAX, STRANGER_BYTES_MAX, STRANGERS_BYTES_MAX, Share, Shares, used_up};
    use crate::Source;

    fn source(last: u8) -> Source {
        Source::address(Ipv4Addr::new(192, 0, 2, last).into())
    }

    #[test]
    fn one_address_and_one_key_have_a_share_each() {
        let shares = Arc::new(Shares::default());
        let known = |from, key| Share::new(&shares, source(from), key, true);
        let mut first = known(1, "AKIA1");
        first.grow(SHARE_BYTES_MAX).unwrap();
        assert_eq!(first.grow(1), Err(used_up()));
        // The same address with another key, and the same key elsewhere.
        assert_eq!(known(1, "AKIA2").grow(1), Err(used_up()));
        assert_eq!(known(2, "AKIA1").grow(1), Err(used_up()));
        known(2, "AKIA2").grow(SHARE_BYTES_MAX).unwrap();
        first.release();
        known(1, "AKIA2").grow(1).unwrap();
        drop(first);
        let taken = shares.known.lock().unwrap();
        assert!(taken.sources.is_empty() && taken.keys.is_empty());
    }

    #[test]
    fn strangers_leave_room_for_those_who_are_known() {
        let shares = Arc::new(Shares::default());
        let mut held = Vec::new();
        for from in 0..10 {
            let key = format!("AKIA{from}");
            let mut stranger = Share::new(&shares, source(from), &key, false);
            let grown = stranger.grow(STRANGER_BYTES_MAX);
            let fits = (usize::from(from) + 1) * STRANGER_BYTES_MAX <= STRANGERS_BYTES_MAX;
            assert_eq!(grown.is_ok(), fits, "{from}");
            assert!(stranger.grow(1).is_err());
            held.push(stranger);
        }
        // Whatever address and key those have.
        let mut known = Share::new(&shares, source(0), "AKIA0", true);
        known.grow(SHARE_BYTES_MAX).unwrap();
        drop((held, known));
        assert_eq!(shares.strangers.lock().unwrap().all, 0);
    }
}
