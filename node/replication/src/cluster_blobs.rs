//! The blobs of a region as one store: this node's own files, and everybody
//! else's over the network.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use entrepot_blobs::{BlobError, BlobStore};
use entrepot_metadata::query::{Blob, Destination, Rule, Source};
use entrepot_oci::{AccountId, Digest, RegionName};
use entrepot_proto::peers::{KnownPeer, Peers};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::cache::Cache;
use crate::collection::{Records, Standing, Turns};
use crate::error::chain;
use crate::health::Health;
use crate::lost::Lost;
use crate::metrics::{CopyMetrics, level};
use crate::pace::{Pace, Paces};
use crate::placement;
use crate::repair::RepairProgress;
use crate::scrub::ScrubControl;
use crate::tally::Tally;
use crate::transfer::Transfers;

/// Copies that have proved wrong and are remembered.
const DISTRUSTED_MAX: usize = 1_024;

/// Damaged copies that are replaced at the same time because a reader found
/// them. More are left to repair.
const HEALED_MAX: usize = 2;
/// Copies that checks fetch at the same time, all of them together.
pub(crate) const MENDED_MAX: usize = 4;

/// What acknowledged uploads may still hold for the copies that they did not
/// wait for, KiB.
const LEFTOVERS_KIB_MAX: usize = 256 * 1024;

/// What an operator may set of the care for copies.
#[derive(Debug, Clone, Copy)]
pub struct CopyLimits {
    /// Copies of each blob to keep in the region.
    pub copies: usize,
    /// Of the copies that are kept for readers alone.
    pub cache_bytes: u64,
    /// What repair takes of the network and the disk, bytes a second.
    pub repair_bytes_per_s: u64,
    /// A node that has not answered for so long is taken for lost.
    pub repair_after: Duration,
}

/// What reading and writing copies needs to know.
#[derive(Debug)]
pub struct ClusterBlobs {
    /// This node's own files.
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) health: Arc<Health>,
    pub(crate) limits: CopyLimits,
    pub(crate) lost: Lost,
    pub(crate) repair: RepairProgress,
    /// Copies that have proved wrong, oldest first. A hint, as health is: they
    /// are asked for last.
    distrusted: Mutex<VecDeque<(Digest, u64)>>,
    /// In KiB.
    pub(crate) leftovers: Arc<Semaphore>,
    pub(crate) fetches: Fetches,
    pub(crate) transfers: Transfers,
    /// Those who look for a source for a transfer.
    pub(crate) connects: Fetches,
    pub(crate) cache: Cache,
    /// Who writes or deletes which of this node's files.
    pub(crate) turns: Turns,
    pub(crate) records: OnceLock<Records>,
    /// What this node has collected.
    pub(crate) standing: Standing,
    paces: Paces,
    pub(crate) metrics: CopyMetrics,
    pub(crate) tally: Arc<Tally>,
    pub(crate) scrub: ScrubControl,
    healing: Arc<Semaphore>,
    /// Places for the copies that a check has fetched.
    pub(crate) mending: Arc<Semaphore>,
    /// For all copies that nobody waits for.
    pub(crate) repair_pace: Arc<Pace>,
}

/// The blobs that are being fetched for readers, so that those who want the same
/// one fetch it once. As many as there are readers who wait.
#[derive(Debug, Default)]
pub(crate) struct Fetches(Mutex<BTreeMap<Digest, Weak<Fetch>>>);

/// Locked while somebody sees to it. What the flag says is up to those who lock
/// it; it is not set before.
type Fetch = tokio::sync::Mutex<bool>;

// === impl CopyLimits ===

impl Default for CopyLimits {
    fn default() -> Self {
        Self {
            copies: 3,
            cache_bytes: 10 * 1024 * 1024 * 1024,
            repair_bytes_per_s: 64 * 1024 * 1024,
            repair_after: Duration::from_mins(15),
        }
    }
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// `copies`: how many nodes of the region shall hold each blob. All else is
    /// at its default.
    pub fn new(
        store: Arc<dyn BlobStore>,
        peers: Arc<Peers>,
        health: Arc<Health>,
        copies: usize,
    ) -> Arc<Self> {
        let limits = CopyLimits {
            copies,
            ..CopyLimits::default()
        };
        Self::with_limits(store, peers, health, limits)
    }

    pub fn with_limits(
        store: Arc<dyn BlobStore>,
        peers: Arc<Peers>,
        health: Arc<Health>,
        limits: CopyLimits,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            peers,
            health,
            limits,
            lost: Lost::new(limits.repair_after),
            repair: RepairProgress::default(),
            distrusted: Mutex::default(),
            leftovers: Arc::new(Semaphore::new(LEFTOVERS_KIB_MAX)),
            fetches: Fetches::default(),
            transfers: Transfers::default(),
            connects: Fetches::default(),
            cache: Cache::new(limits.cache_bytes),
            turns: Turns::default(),
            records: OnceLock::new(),
            standing: Standing::default(),
            paces: Paces::default(),
            metrics: CopyMetrics::default(),
            tally: Arc::default(),
            scrub: ScrubControl::default(),
            healing: Arc::new(Semaphore::new(HEALED_MAX)),
            mending: Arc::new(Semaphore::new(MENDED_MAX)),
            repair_pace: Arc::new(Pace::new(limits.repair_bytes_per_s)),
        })
    }

    pub fn store(&self) -> &Arc<dyn BlobStore> {
        &self.store
    }

    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// What is counted here.
    pub fn metrics(&self) -> &CopyMetrics {
        &self.metrics
    }

    /// What this node copies to other registries, and has.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Replaces this node's copy, which was found damaged and is not there any
    /// more, if it belongs here. In the background.
    pub(crate) fn heal(self: &Arc<Self>, blob: &Blob) {
        if !self.placement(&blob.digest).contains(&self.own()) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.healing).try_acquire_owned() else {
            return;
        };
        let (blobs, blob) = (Arc::clone(self), blob.clone());
        tokio::spawn(async move {
            let digest = blob.digest;
            if let Ok(Some(_)) = blobs.store.stat(&digest).await {
                // Somebody else was faster.
                return;
            }
            match blobs.fetch(blob).await {
                Ok(_) => {
                    blobs.metrics.repaired.inc();
                    info!(%digest, "a damaged copy was replaced");
                }
                Err(error) => {
                    warn!(%digest, error = chain(&error), "a damaged copy cannot be replaced yet");
                }
            }
            drop(permit);
        });
    }

    /// Verifies all of this node's copy, and replaces it if it is damaged. In
    /// the background.
    pub(crate) fn check(self: &Arc<Self>, blob: Blob) {
        let blobs = Arc::clone(self);
        tokio::spawn(async move {
            let verified = blobs.store.verify(&blob.digest, 0, u64::MAX).await;
            if matches!(verified, Err(BlobError::Damaged(_))) {
                blobs.heal(&blob);
            }
        });
    }

    /// What this node may send to a destination: its part of the limit of the rule
    /// of `account`, which all nodes of the region share. None: there is no limit.
    pub(crate) fn pace(
        &self,
        account: &AccountId,
        destination: &Destination,
        rule: &Rule,
    ) -> Option<Arc<Pace>> {
        let limit = self.own_part(rule.options.bandwidth());
        self.paces.of((account, &rule.id), destination, limit)
    }

    /// The same for what this region passes on for another one's `rule`, whose limit
    /// counts for each line by itself. Two regions may have an account and a rule
    /// each of the same name.
    pub(crate) fn pace_of_relay(
        &self,
        source: &Source,
        rule: &str,
        destination: &Destination,
        bytes_per_s: u64,
    ) -> Option<Arc<Pace>> {
        let limit = self.own_part(Some(bytes_per_s).filter(|limit| *limit > 0));
        let rule = format!("{}/{rule}", source.region);
        let account = source.account.account();
        self.paces.of((&account, &rule), destination, limit)
    }

    /// Of what the whole region may do.
    fn own_part(&self, limit: Option<u64>) -> Option<u64> {
        let nodes = self.health.alive_in(self.region()).len().max(1) as u64;
        limit.map(|limit| limit / nodes)
    }

    /// Whether this node's disk takes no new copies.
    pub(crate) fn is_full(&self) -> bool {
        self.health.is_full(self.own())
    }

    pub(crate) fn own(&self) -> u64 {
        self.peers.own().id
    }

    pub(crate) fn region(&self) -> &RegionName {
        &self.peers.own().region
    }

    /// R: the copies to keep, or one on every node when fewer nodes take copies.
    pub fn copies(&self) -> usize {
        self.limits.copies.min(self.takers().len()).max(1)
    }

    /// The nodes of the region that take copies, with their weights; all, if
    /// none of them does.
    fn takers(&self) -> Vec<(u64, u64)> {
        let list = self.peers.all();
        let weighted = |peer: &KnownPeer| (peer.info.id, peer.standing.capacity_bytes);
        let in_region = || list.in_region(self.region());
        let takers: Vec<_> = in_region()
            .filter(|peer| peer.standing.takes_copies)
            .map(weighted)
            .collect();
        if takers.is_empty() {
            return in_region().map(weighted).collect();
        }
        takers
    }

    /// Whether a node of the region joins or drains.
    pub(crate) fn is_changing(&self) -> bool {
        let list = self.peers.all();
        let mut region = list.in_region(self.region());
        region.any(|peer| !peer.standing.takes_copies)
    }

    /// Whether a new copy should go to `node`.
    pub(crate) fn takes_new(&self, node: u64) -> bool {
        let takes = self.takers().iter().any(|(taker, _)| *taker == node);
        takes && self.health.is_alive(node) && !self.health.is_full(node)
    }

    /// How many of `nodes` take copies, and so do not leave soon.
    pub(crate) fn staying(&self, nodes: &[u64]) -> usize {
        let takers = self.takers();
        let stays = |node: &&u64| takers.iter().any(|(taker, _)| taker == *node);
        nodes.iter().filter(stays).count()
    }

    /// The durable copies that an acknowledgement needs.
    pub(crate) fn copies_needed(&self) -> usize {
        placement::majority(self.copies())
    }

    /// The nodes that are to hold `digest`, first choice first. Those that are
    /// lost are none: the next in rank take their place.
    pub(crate) fn placement(&self, digest: &Digest) -> Vec<u64> {
        let mut nodes = self.ranked(digest.to_string().as_bytes());
        nodes.retain(|node| !self.lost.contains(*node));
        nodes.truncate(self.copies());
        nodes
    }

    /// After a copy was made for a reader or by repair.
    pub(crate) fn note_kept(&self, blob: &Blob) {
        if !self.placement(&blob.digest).contains(&self.own()) {
            self.cache.insert(&blob.digest, blob.size);
            self.metrics.cached_bytes.set(level(self.cache.bytes()));
        }
    }

    /// The region's nodes in the order of their rank for `key`; those that take
    /// no copies come last.
    pub(crate) fn ranked(&self, key: &[u8]) -> Vec<u64> {
        let mut ranked = placement::ranked_by_weight(key, &self.takers());
        let rest = self.peers.in_region(self.region());
        let rest = rest.into_iter().filter(|node| !ranked.contains(node));
        let rest = placement::ranked(key, rest);
        ranked.extend(rest);
        ranked
    }

    /// The other nodes of the region in the order of their rank for `key`; those
    /// that do not answer come last.
    pub(crate) fn others(&self, key: &[u8]) -> Vec<u64> {
        let mut nodes: Vec<u64> = self
            .ranked(key)
            .into_iter()
            .filter(|node| *node != self.own())
            .collect();
        nodes.sort_by_key(|node| !self.health.is_alive(*node));
        nodes
    }

    /// The other nodes in the order in which to ask them for `blob`: known
    /// holders first, then by rank; those that do not answer after those that
    /// do, and those whose copy has proved wrong after all others.
    pub(crate) fn sources(&self, blob: &Blob) -> Vec<u64> {
        let mut nodes = self.others(blob.digest.to_string().as_bytes());
        nodes.sort_by_cached_key(|node| {
            (
                self.is_distrusted(&blob.digest, *node),
                !self.health.is_alive(*node),
                !blob.holders.contains(node),
            )
        });
        nodes
    }

    /// Notes that `node` has sent wrong bytes for `digest`.
    pub(crate) fn distrust(&self, digest: &Digest, node: u64) {
        if self.is_distrusted(digest, node) {
            return;
        }
        let mut distrusted = self
            .distrusted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if distrusted.len() >= DISTRUSTED_MAX {
            distrusted.pop_front();
        }
        distrusted.push_back((*digest, node));
    }

    fn is_distrusted(&self, digest: &Digest, node: u64) -> bool {
        self.distrusted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&(*digest, node))
    }
}

// === impl Fetches ===

impl Fetches {
    /// The one that is under way, or a new one.
    pub(crate) fn of(&self, digest: &Digest) -> Arc<Fetch> {
        let mut fetches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetch) = fetches.get(digest).and_then(Weak::upgrade) {
            return fetch;
        }
        // Those that nobody waits for any more.
        fetches.retain(|_, fetch| fetch.strong_count() > 0);
        let fetch = Arc::default();
        fetches.insert(*digest, Arc::downgrade(&fetch));
        fetch
    }
}
