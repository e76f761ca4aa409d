//! What one client may have of the memory for bodies of signed requests, which are
//! read before their signature can be checked: whoever knows the id of a key, which
//! is no secret, can send one as slowly as they like.
//!
//! The invariants: from one address there is never more than a share; all those
//! together that have not proved themselves from where they are leave room for those
//! that have; whoever claims a key elsewhere takes nothing from those who have it;
//! and behind one address, as that of a proxy, whoever claims one key leaves a part
//! of the address's share to all others there. To tell apart those who claim the same
//! key from the same address would take a signature that can be checked without the
//! body, which AWS's clients do not send.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{SIGNED_BYTES_MAX, used_up};
use crate::{ServiceError, Source};

/// Of one key, from one address from which it has signed something. Two of the
/// largest bodies, or more of smaller ones: clients that send many parts at a time
/// have to try some again.
const SHARE_BYTES_MAX: usize = SIGNED_BYTES_MAX / 2;
/// Of all such keys of one address.
const ADDRESS_BYTES_MAX: usize = SIGNED_BYTES_MAX / 4 * 3;
/// Of an address, for keys that have not signed anything from there yet, whichever
/// they claim: one of the largest bodies.
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
    /// Of those that are known.
    keys: HashMap<(Source, Box<str>), usize>,
    all: usize,
}

/// What one request has; dropped, it is free.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    source: Source,
    /// The key, if it has signed something from there before.
    known: Option<(Source, Box<str>)>,
    bytes: usize,
}

// === impl Share ===

impl Share {
    /// `is_known`: the key has signed something from there before.
    pub(super) fn new(shares: &Arc<Shares>, source: Source, key_id: &str, is_known: bool) -> Self {
        Self {
            shares: Arc::clone(shares),
            source,
            known: is_known.then(|| (source, key_id.into())),
            bytes: 0,
        }
    }

    /// # Errors
    /// `Unavailable` when its sender has as much as they may.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), ServiceError> {
        let (max_source, max_all) = if self.known.is_some() {
            (ADDRESS_BYTES_MAX, SIGNED_BYTES_MAX)
        } else {
            (STRANGER_BYTES_MAX, STRANGERS_BYTES_MAX)
        };
        let mut taken = self.taken();
        let has = |all: Option<&usize>| all.copied().unwrap_or_default() + bytes;
        let of_source = has(taken.sources.get(&self.source));
        let of_key = self.known.as_ref().map(|key| has(taken.keys.get(key)));
        // What nobody can tell apart is not counted by where it comes from.
        let is_too_much = self.source.is_known() && of_source > max_source;
        let is_too_much = is_too_much || of_key.is_some_and(|of_key| of_key > SHARE_BYTES_MAX);
        if is_too_much || taken.all + bytes > max_all {
            return Err(used_up());
        }
        taken.sources.insert(self.source, of_source);
        if let Some((key, of_key)) = self.known.clone().zip(of_key) {
            taken.keys.insert(key, of_key);
        }
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
        if let Some(key) = &self.known {
            give_back(&mut taken.keys, key, bytes);
        }
        taken.all = taken.all.saturating_sub(bytes);
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        let taken = if self.known.is_some() {
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

    use super::{
        ADDRESS_BYTES_MAX, SHARE_BYTES_MAX, STRANGER_BYTES_MAX, STRANGERS_BYTES_MAX, Share, Shares,
        used_up,
    };
    use crate::Source;

    fn source(last: u8) -> Source {
        Source::address(Ipv4Addr::new(192, 0, 2, last).into())
    }

    #[test]
    fn who_claims_one_key_leaves_room_to_all_others_of_its_address() {
        let shares = Arc::new(Shares::default());
        let known = |from, key| Share::new(&shares, source(from), key, true);
        let mut first = known(1, "AKIA1");
        first.grow(SHARE_BYTES_MAX).unwrap();
        assert_eq!(first.grow(1), Err(used_up()));
        // The same key from there, another one, and the same key elsewhere.
        assert_eq!(known(1, "AKIA1").grow(1), Err(used_up()));
        let rest = ADDRESS_BYTES_MAX - SHARE_BYTES_MAX;
        let mut second = known(1, "AKIA2");
        second.grow(rest).unwrap();
        assert_eq!(second.grow(1), Err(used_up()));
        known(2, "AKIA1").grow(1).unwrap();
        first.release();
        known(1, "AKIA3").grow(1).unwrap();
        drop((first, second));
        let taken = shares.known.lock().unwrap();
        assert!(taken.sources.is_empty() && taken.keys.is_empty());
    }

    #[test]
    fn strangers_leave_room_for_those_who_are_known() {
        let shares = Arc::new(Shares::default());
        let mut held = Vec::new();
        for from in 0..10 {
            let mut stranger = Share::new(&shares, source(from), "AKIA0", false);
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

    #[test]
    fn a_stranger_takes_nothing_from_who_has_the_key_elsewhere() {
        let shares = Arc::new(Shares::default());
        let stranger = |from, key| Share::new(&shares, source(from), key, false);
        let mut claimed = stranger(1, "AKIA1");
        claimed.grow(STRANGER_BYTES_MAX).unwrap();
        // With whichever key, from there.
        assert_eq!(stranger(1, "AKIA2").grow(1), Err(used_up()));
        // Who has it, and comes from somewhere for the first time.
        stranger(2, "AKIA1").grow(STRANGER_BYTES_MAX).unwrap();
    }
}
