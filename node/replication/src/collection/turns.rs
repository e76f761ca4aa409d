//! Who has one of this node's files to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_oci::Digest;
use tokio::sync::Notify;

/// Turns of digests. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeSet<Digest>,
    /// Copies that are about to be dropped and that nobody has written since that was
    /// decided.
    dropping: BTreeSet<Digest>,
    /// How often somebody means to link the copy here.
    pinned: BTreeMap<Digest, usize>,
}

/// One file is its holder's alone.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    digest: Digest,
}

/// Somebody means to link the copy here soon: it is not deleted without need.
#[derive(Debug)]
pub(crate) struct Pin {
    turns: Turns,
    digest: Digest,
}

// === impl Turns ===

impl Turns {
    pub(crate) async fn take(&self, digest: &Digest) -> Turn {
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            // Whoever is done from here on wakes this one.
            freed.as_mut().enable();
            if let Some(turn) = self.try_take(digest) {
                return turn;
            }
            freed.await;
        }
    }

    pub(crate) fn try_take(&self, digest: &Digest) -> Option<Turn> {
        self.lock().taken.insert(*digest).then(|| Turn {
            turns: self.clone(),
            digest: *digest,
        })
    }

    /// Waits until nobody writes or deletes the file.
    pub(crate) async fn quiet(&self, digest: &Digest) {
        drop(self.take(digest).await);
    }

    pub(crate) fn pin(&self, digest: &Digest) -> Pin {
        *self.lock().pinned.entry(*digest).or_default() += 1;
        Pin {
            turns: self.clone(),
            digest: *digest,
        }
    }

    pub(crate) fn is_pinned(&self, digest: &Digest) -> bool {
        self.lock().pinned.contains_key(digest)
    }

    /// A copy is to be dropped if the others have theirs.
    pub(crate) fn begin_drop(&self, digest: &Digest) {
        self.lock().dropping.insert(*digest);
    }

    /// Whether nobody has written it since then.
    pub(crate) fn end_drop(&self, digest: &Digest) -> bool {
        self.lock().dropping.remove(digest)
    }

    /// A copy is put in place, in its turn: somebody may rely on it.
    pub(crate) fn written(&self, digest: &Digest) {
        self.lock().dropping.remove(digest);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Turn ===

impl Turn {
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().taken.remove(&self.digest);
        self.turns.0.freed.notify_waiters();
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        if let Some(pins) = state.pinned.get_mut(&self.digest) {
            *pins -= 1;
            if *pins == 0 {
                state.pinned.remove(&self.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use entrepot_oci::Algorithm;

    use super::*;

    #[tokio::test]
    async fn a_file_is_one_holders_at_a_time() {
        let turns = Turns::default();
        let digest = Digest::of(Algorithm::Sha256, b"a");
        let other = Digest::of(Algorithm::Sha256, b"b");
        let turn = turns.take(&digest).await;
        let _other = turns.take(&other).await;
        assert!(turns.try_take(&digest).is_none());
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { turns.quiet(&digest).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(turn);
        let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        ended.unwrap().unwrap();
        assert!(turns.try_take(&digest).is_some());
    }

    #[test]
    fn what_was_written_meanwhile_is_not_dropped() {
        let turns = Turns::default();
        let digest = Digest::of(Algorithm::Sha256, b"a");
        turns.begin_drop(&digest);
        assert!(turns.end_drop(&digest));
        turns.begin_drop(&digest);
        turns.written(&digest);
        assert!(!turns.end_drop(&digest));
    }

    #[test]
    fn a_pin_holds_until_the_last_one_goes() {
        let turns = Turns::default();
        let digest = Digest::of(Algorithm::Sha256, b"a");
        let pins = [turns.pin(&digest), turns.pin(&digest)];
        assert!(turns.is_pinned(&digest));
        let [first, second] = pins;
        drop(first);
        assert!(turns.is_pinned(&digest));
        drop(second);
        assert!(!turns.is_pinned(&digest));
    }
}
