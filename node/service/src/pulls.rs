//! When images were last pulled.
//!
//! A node notes who pulls what in memory, an image at most once in an hour for each
//! caller, and records it with the region once a minute, many at a time, an image at
//! most once in an hour for all nodes. The invariants: a pull waits for nobody, and
//! one that was noted within the hour touches nothing that is shared but a word of
//! memory; what is held is bounded. A node that crashes forgets the pulls that it
//! has not recorded.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_metadata::command::{Pull, RecordPulls};
use entrepot_metadata::limits::PULLS_PER_COMMAND_MAX;
use entrepot_metadata::query::{self, ItemKind};
use entrepot_oci::{Digest, RegistryId, RepositoryName};
use tracing::warn;

use crate::metadata::refused;
use crate::{Caller, Registry, ServiceError};

/// What a state machine has to understand for pulls to be recorded.
const LEVEL: u32 = 9;
/// From one record to the next.
const INTERVAL: Duration = Duration::from_mins(1);
/// For what was not recorded when the node stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two commands of a record.
const REST: Duration = Duration::from_millis(50);
const HOUR_MS: i64 = 60 * 60 * 1_000;
/// Pulls that are remembered to have been noted; a power of two. One that is pushed
/// out by another is noted once more.
const NOTED_MAX: usize = 1 << 16;
/// Of a word of `Pulls::noted`, the bits that are the hour.
const HOUR_BITS: u64 = (1 << 24) - 1;
/// What waits to be recorded, in parts with a lock each: 65,536 pulls at most.
const PARTS: usize = 16;
const WAITING_PER_PART_MAX: usize = 4_096;

/// An image that was pulled.
type Key = (RegistryId, RepositoryName, Digest);
/// When it last was.
type Waiting = BTreeMap<Key, i64>;

/// What this node knows of pulls.
#[derive(Debug)]
pub(crate) struct Pulls {
    /// In the slot of a pull's hash: more of the hash, and the hour.
    noted: Box<[AtomicU64]>,
    /// Keyed, so that nobody can hide another's pull behind one of theirs.
    hashing: RandomState,
    waiting: [Mutex<Waiting>; PARTS],
}

/// A pull as it is remembered to have been noted.
#[derive(Clone, Copy)]
struct Stamp {
    slot: usize,
    word: u64,
}

/// Records what this node has noted.
#[derive(Debug)]
pub struct PullTimes {
    registry: Arc<Registry>,
}

// === impl Pulls ===

impl Default for Pulls {
    fn default() -> Self {
        Self {
            noted: (0..NOTED_MAX).map(|_| AtomicU64::new(0)).collect(),
            hashing: RandomState::new(),
            waiting: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Pulls {
    /// A pull as it is noted.
    fn stamp(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
        hour: i64,
    ) -> Stamp {
        let mut hasher = self.hashing.build_hasher();
        who.principal.hash(&mut hasher);
        who.account.hash(&mut hasher);
        repository.hash(&mut hasher);
        digest.hash(&mut hasher);
        let (hash, mask) = (hasher.finish(), NOTED_MAX - 1);
        let slot = usize::try_from(hash & mask as u64).unwrap_or(0);
        let word = hash & !HOUR_BITS | hour.cast_unsigned() & HOUR_BITS;
        Stamp { slot, word }
    }

    fn has(&self, stamp: Stamp) -> bool {
        self.noted[stamp.slot].load(Ordering::Relaxed) == stamp.word
    }

    fn set(&self, stamp: Stamp) {
        self.noted[stamp.slot].store(stamp.word, Ordering::Relaxed);
    }

    fn part(&self, part: usize) -> MutexGuard<'_, Waiting> {
        // It is whole between any two statements that hold it.
        self.waiting[part % PARTS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// False: there is no room for it.
    fn wait(&self, key: Key, at_ms: i64) -> bool {
        let mut part = self.part(usize::from(key.2.bytes()[0]));
        if part.len() >= WAITING_PER_PART_MAX && !part.contains_key(&key) {
            return false;
        }
        let last = part.entry(key).or_insert(at_ms);
        *last = at_ms.max(*last);
        true
    }

    /// Some of what waits, at most `limit`.
    fn take(&self, limit: usize) -> Vec<(Key, i64)> {
        let mut taken = Vec::new();
        for part in 0..PARTS {
            let mut part = self.part(part);
            while taken.len() < limit
                && let Some(one) = part.pop_first()
            {
                taken.push(one);
            }
        }
        taken
    }
}

impl Registry {
    /// Somebody was given an image's manifest, which is what a pull is.
    pub fn pulled(&self, who: &Caller, repository: &RepositoryName, digest: &Digest) {
        // ECR Public shows no such time.
        if who.account.is_public() {
            return;
        }
        let now_ms = self.clock.now_ms();
        let stamp = self
            .pulls
            .stamp(who, repository, digest, now_ms.div_euclid(HOUR_MS));
        if self.pulls.has(stamp) {
            return;
        }
        let counts = match self.pulls_count_of(who) {
            Ok(counts) => counts,
            Err(error) => {
                warn!(%error, %repository, "a pull was not noted");
                return;
            }
        };
        let key = || (who.account.clone(), repository.clone(), *digest);
        // Images go by the time as most nodes have it, and so do their pulls.
        if !counts || self.pulls.wait(key(), self.cluster_clock.now_ms()) {
            self.pulls.set(stamp);
        }
    }

    /// Whether no setting of the registry says that their pulls are none.
    fn pulls_count_of(&self, who: &Caller) -> Result<bool, ServiceError> {
        let (view, arn) = (self.local()?, who.principal.policy_arn());
        let kind = ItemKind::PullTimeExclusion;
        let excluded = query::registry_item(view.as_ref(), &who.account, kind, &arn)?;
        Ok(excluded.is_none())
    }

    /// Records some of what this node has noted; whether there may be more.
    async fn record_pulls(&self) -> Result<bool, ServiceError> {
        let taken = self.pulls.take(PULLS_PER_COMMAND_MAX);
        let more = taken.len() == PULLS_PER_COMMAND_MAX;
        match self.record(&taken).await {
            Ok(()) => Ok(more),
            Err(error) => {
                for (key, at_ms) in taken {
                    self.pulls.wait(key, at_ms);
                }
                Err(error)
            }
        }
    }

    async fn record(&self, taken: &[(Key, i64)]) -> Result<(), ServiceError> {
        let view = self.local()?;
        let mut pulls = Vec::with_capacity(taken.len());
        for ((account, repository, digest), at_ms) in taken {
            let known = query::pulled_at_ms(view.as_ref(), account, repository, digest)?;
            let hour = |at_ms: i64| at_ms.div_euclid(HOUR_MS);
            if known.is_none_or(|known| hour(known) < hour(*at_ms)) {
                pulls.push(Pull::new(account, repository, digest, *at_ms));
            }
        }
        if pulls.is_empty() && query::pulls_since_ms(view.as_ref())?.is_some() {
            return Ok(());
        }
        drop(view);
        let at_ms = self.cluster_clock.now_ms();
        let response = self.propose(RecordPulls { pulls, at_ms }.into()).await?;
        response.into_result().map(drop).map_err(refused)
    }
}

// === impl PullTimes ===

impl PullTimes {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// Records what has been noted, if that takes no longer than a stop may wait for it.
    pub async fn record_last(&self) {
        let last = tokio::time::timeout(LAST_TIMEOUT, self.record()).await;
        if !matches!(last, Ok(Ok(()))) {
            warn!("pulls of the last minute are not recorded");
        }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Err(error) = self.record().await {
                warn!(%error, "the times of pulls are not recorded yet");
            }
        }
    }

    /// Records all that has been noted.
    ///
    /// # Errors
    /// When the region cannot take it; it waits for the next time.
    pub async fn record(&self) -> Result<(), ServiceError> {
        if !self.registry.metadata.understands(LEVEL)? {
            return Ok(());
        }
        while self.registry.record_pulls().await? {
            tokio::time::sleep(REST).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use entrepot_access::Principal;
    use entrepot_oci::{AccountId, Algorithm, Digest, RepositoryName};

    use super::{PARTS, Pulls, WAITING_PER_PART_MAX};
    use crate::Caller;

    fn account() -> AccountId {
        "123456789012".parse().unwrap()
    }

    fn key(number: usize) -> super::Key {
        let digest = Digest::of(Algorithm::Sha256, &number.to_be_bytes());
        (account().into(), "team/app".parse().unwrap(), digest)
    }

    #[test]
    fn a_pull_is_noted_once_an_hour_for_each_caller() {
        let (pulls, (_, app, digest)) = (Pulls::default(), key(1));
        let root = Caller::of(Principal::root(account()));
        let nobody = Caller::of(Principal::anonymous(account()));
        let other: RepositoryName = "other".parse().unwrap();
        pulls.set(pulls.stamp(&root, &app, &digest, 400_000));
        assert!(pulls.has(pulls.stamp(&root, &app, &digest, 400_000)));
        for (who, repository, hour) in [
            (&root, &app, 400_001),
            (&nobody, &app, 400_000),
            (&root, &other, 400_000),
        ] {
            assert!(!pulls.has(pulls.stamp(who, repository, &digest, hour)));
        }
    }

    #[test]
    fn what_waits_is_bounded_and_the_last_pull_counts() {
        let pulls = Pulls::default();
        let most = PARTS * WAITING_PER_PART_MAX;
        let room = (0..2 * most).filter(|number| pulls.wait(key(*number), 1));
        assert_eq!(room.count(), most);
        assert!(pulls.wait(key(0), 5) && pulls.wait(key(0), 3));
        let mut taken = Vec::new();
        loop {
            let some = pulls.take(500);
            assert!(some.len() <= 500);
            if some.is_empty() {
                break;
            }
            taken.extend(some);
        }
        assert_eq!(taken.len(), most);
        let first = taken.iter().find(|(known, _)| *known == key(0)).unwrap();
        assert_eq!(first.1, 5);
    }
}
