//! What is known to be right of a blob's file, and for how long that counts.
//!
//! Bytes that come from the disk are compared with what proves them before
//! anybody gets them. Doing it again for every reader of a busy blob would cost
//! more than serving it does, so what has proved right counts for as long as it
//! stays in memory and nobody writes to the file, and for [`PROVEN_S`] at most.
//! The invariant: what counts as proven was compared, in this process, with the
//! blob's digest or with a tree whose root is that of its content.

use std::{
    fs::File,
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use entrepot_oci::Digest;
use quick_cache::{Weighter, sync::Cache};

use crate::{
    TREE_ABOVE_BYTES,
    tree::{Tree, groups_of, widened},
};

/// For how long bytes count as proven, seconds. A page may leave memory and come
/// back from the disk unseen: this bounds for how long that goes unnoticed.
const PROVEN_S: u32 = 600;

/// Memory for ledgers, bytes: enough for the busiest 100 GiB of blobs.
const LEDGERS_BYTES_MAX: u64 = 16 * 1024 * 1024;
const LEDGERS_MAX: usize = 16 * 1024;
/// What a ledger takes besides its groups.
const LEDGER_BYTES: u64 = 256;
/// What it takes for one group: a hash and a time.
const GROUP_LEDGER_BYTES: u64 = 36;

/// Which file this is, and whether anybody wrote to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified_s: i64,
    modified_ns: i64,
}

/// What proves the content.
#[derive(Debug)]
pub(super) enum Proof {
    /// All of it at once: the digest.
    Whole,
    Tree(Tree),
}

/// One blob's file.
#[derive(Debug)]
pub(super) struct Ledger {
    digest: Digest,
    file: Identity,
    proof: Proof,
    /// When each group was last proven, on the clock of [`Ledgers`]; 0: not yet.
    proven_at_s: Box<[AtomicU32]>,
}

/// The ledgers of the files that were read last.
pub(super) struct Ledgers {
    cache: Cache<Digest, Arc<Ledger>, BySize>,
    started: Instant,
}

#[derive(Clone)]
struct BySize;

// === impl Identity ===

impl Identity {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::new(&rustix::fs::fstat(file)?))
    }

    #[allow(
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        clippy::cast_possible_wrap,
        reason = "the types of these fields differ from platform to platform; they are only compared"
    )]
    fn new(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            modified_s: stat.st_mtime as i64,
            modified_ns: stat.st_mtime_nsec as i64,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

// === impl Ledger ===

impl Ledger {
    /// None where a file of this size needs a tree.
    pub(super) fn whole(digest: &Digest, file: Identity) -> Option<Self> {
        (file.size <= TREE_ABOVE_BYTES).then(|| Self::new(digest, file, Proof::Whole, 1))
    }

    /// `tree` is that of the content of `digest`, which is as long as the file.
    pub(super) fn with_tree(digest: &Digest, file: Identity, tree: Tree) -> Self {
        let groups = tree.groups();
        Self::new(digest, file, Proof::Tree(tree), groups)
    }

    fn new(digest: &Digest, file: Identity, proof: Proof, groups: usize) -> Self {
        Self {
            digest: *digest,
            file,
            proof,
            proven_at_s: (0..groups).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    pub(super) fn tree(&self) -> Option<&Tree> {
        match &self.proof {
            Proof::Whole => None,
            Proof::Tree(tree) => Some(tree),
        }
    }

    pub(super) fn file(&self) -> &Identity {
        &self.file
    }

    /// What has to be read to prove `range`.
    pub(super) fn extent(&self, range: &Range<u64>) -> Range<u64> {
        match &self.proof {
            Proof::Whole => 0..self.file.size,
            Proof::Tree(tree) => widened(tree.size(), range),
        }
    }

    /// Whether `content`, which is that of an extent, is right; it counts as
    /// proven then.
    pub(super) fn prove(&self, extent: &Range<u64>, content: &[u8], now_s: u32) -> bool {
        match &self.proof {
            Proof::Whole => {
                let right = Digest::of(self.digest.algorithm(), content) == self.digest;
                right && self.note(0..1, now_s)
            }
            Proof::Tree(tree) => {
                let mut parts = content.chunks(crate::GROUP_BYTES);
                let groups = groups_of(extent);
                groups.len() == parts.len()
                    && groups
                        .clone()
                        .all(|group| parts.next().is_some_and(|part| tree.proves(group, part)))
                    && self.note(groups, now_s)
            }
        }
    }

    /// Whether `range` was proven lately.
    pub(super) fn is_proven(&self, range: &Range<u64>, now_s: u32) -> bool {
        self.times(self.numbers(range)).is_some_and(|times| {
            times.iter().all(|time| {
                let at_s = time.load(Ordering::Relaxed);
                at_s > 0 && now_s.saturating_sub(at_s) < PROVEN_S
            })
        })
    }

    /// After all of the content was hashed.
    pub(super) fn note_all(&self, now_s: u32) {
        self.note(0..self.proven_at_s.len(), now_s);
    }

    fn note(&self, groups: Range<usize>, now_s: u32) -> bool {
        for time in self.times(groups).into_iter().flatten() {
            time.store(now_s, Ordering::Relaxed);
        }
        true
    }

    fn numbers(&self, range: &Range<u64>) -> Range<usize> {
        match &self.proof {
            Proof::Whole => 0..1,
            Proof::Tree(_) => groups_of(range),
        }
    }

    fn times(&self, groups: Range<usize>) -> Option<&[AtomicU32]> {
        self.proven_at_s.get(groups)
    }
}

// === impl Ledgers ===

impl Ledgers {
    pub(super) fn new() -> Self {
        Self {
            cache: Cache::with_weighter(LEDGERS_MAX, LEDGERS_BYTES_MAX, BySize),
            started: Instant::now(),
        }
    }

    /// Seconds, at least 1.
    pub(super) fn now_s(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_secs())
            .unwrap_or(u32::MAX)
            .saturating_add(1)
    }

    pub(super) fn get(&self, digest: &Digest, file: &Identity) -> Option<Arc<Ledger>> {
        self.cache.get(digest).filter(|ledger| ledger.file == *file)
    }

    pub(super) fn keep(&self, ledger: Ledger) -> Arc<Ledger> {
        let ledger = Arc::new(ledger);
        self.cache.insert(ledger.digest, Arc::clone(&ledger));
        ledger
    }

    pub(super) fn forget(&self, digest: &Digest) {
        self.cache.remove(digest);
    }
}

impl std::fmt::Debug for Ledgers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledgers").finish_non_exhaustive()
    }
}

impl Weighter<Digest, Arc<Ledger>> for BySize {
    fn weight(&self, _: &Digest, ledger: &Arc<Ledger>) -> u64 {
        LEDGER_BYTES + GROUP_LEDGER_BYTES * ledger.proven_at_s.len() as u64
    }
}
