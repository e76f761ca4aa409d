//! Cut-through: an upload's bytes go to the regions that its repository is copied
//! to while the client still sends them.
//!
//! A client never waits for any of this. Each destination has a sender of its own,
//! which reads the newest bytes from memory and what it is behind with from this
//! node's staging, and is given up when it fails: the task that the push makes
//! then goes on where it stopped. The invariant: nothing is visible at a
//! destination before an image that is committed here names the blob, and an
//! upload that fails is told to be gone.

mod sender;

use std::sync::Arc;

use entrepot_blobs::StagedBytes;
use entrepot_metadata::query::{self, Destination, Rule};
use entrepot_metadata::seam::Metadata;
use entrepot_metadata::{GroupId, StorageError};
use entrepot_oci::{AccountId, Digest, RepositoryName};
use entrepot_proto::environment::Clock;
use tokio::sync::Semaphore;
use tracing::warn;

use self::sender::{Sender, To};
use crate::error::{ReplicationError, chain};
use crate::feed::Feed;
use crate::ship::relay_of;
use crate::{ClusterBlobs, placement};

/// Senders of one node at the same time: each holds a few MiB at most.
const SENDERS_MAX: usize = 64;

/// Begins what is to be sent while it arrives.
#[derive(Debug)]
pub struct CutThrough {
    blobs: Arc<ClusterBlobs>,
    metadata: Arc<dyn Metadata>,
    group: GroupId,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
}

/// One upload's bytes on their way to other regions. Dropped before
/// [`linked`](Self::linked), it has failed.
#[derive(Debug)]
pub struct Tap {
    feed: Arc<Feed>,
    senders: Vec<Sender>,
}

/// What is known of an upload when it begins.
#[derive(Debug, Clone)]
pub struct TapHeader {
    pub account: AccountId,
    pub repository: RepositoryName,
    /// Of the upload: nobody else's has the same.
    pub upload: [u8; 16],
    pub digest: Option<Digest>,
}

// === impl CutThrough ===

impl CutThrough {
    pub fn new(
        blobs: Arc<ClusterBlobs>,
        metadata: Arc<dyn Metadata>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let group = GroupId::region(blobs.region().clone());
        Self {
            blobs,
            metadata,
            group,
            clock,
            places: Arc::new(Semaphore::new(SENDERS_MAX)),
        }
    }

    /// None: no rule asks for what goes into the repository, or nobody there
    /// answers.
    pub fn begin(&self, header: &TapHeader) -> Option<Tap> {
        let destinations = self.destinations(header).unwrap_or_else(|error| {
            let error = ReplicationError::from(error);
            warn!(error = chain(&error), "rules cannot be read");
            Vec::new()
        });
        let is_known = !destinations.is_empty() && self.is_known(header);
        let feed = Feed::new();
        let mut senders = Vec::new();
        for (destination, rule) in destinations {
            let alive = self.blobs.health().alive_in(&destination.region);
            let key = placement::repository_key(&destination.account, &header.repository);
            let Some(node) = placement::first(&key, alive) else {
                continue;
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                break;
            };
            let to = To {
                node,
                account: destination.account.clone(),
                asks_first: is_known,
                pace: self.blobs.pace(&header.account, &destination, &rule),
            };
            senders.push(Sender::start(&self.blobs, to, header, &feed, place));
        }
        (!senders.is_empty()).then_some(Tap { feed, senders })
    }

    /// Whether this region has the blob already, if its client has said which one it
    /// uploads. Then other regions may well have it too.
    fn is_known(&self, header: &TapHeader) -> bool {
        let (Some(digest), Ok(view)) = (&header.digest, self.metadata.view(&self.group)) else {
            return false;
        };
        // Where nobody can tell, bytes are sent that may not be needed.
        query::blob(view.as_ref(), digest).is_ok_and(|found| found.is_some())
    }

    /// One for each region: all its accounts find the bytes there. Not where a rule
    /// asks for some images only, or for none at this hour, or under another name; nor to
    /// regions that get their bytes from one near them.
    fn destinations(&self, header: &TapHeader) -> Result<Vec<(Destination, Rule)>, StorageError> {
        let Ok(view) = self.metadata.view(&self.group) else {
            return Ok(Vec::new());
        };
        let known = self.blobs.peers().regions();
        let now_ms = self.clock.now_ms();
        let wanted = query::destinations(view.as_ref(), &header.account, &header.repository)?;
        let health = self.blobs.health();
        let answers = |region: &_| !health.alive_in(region).is_empty();
        let own = self.blobs.region();
        let is_passed_on = |to: &_| relay_of(&wanted, to, own, answers).is_some();
        let direct = wanted.keys().filter(|to| !is_passed_on(to));
        let direct = direct.filter_map(|to| wanted.get_key_value(to));
        let mut destinations: Vec<(Destination, Rule)> = direct
            .map(|(to, rule)| (to.clone(), rule.clone()))
            .collect();
        destinations.retain(|(it, rule)| {
            let options = &rule.options;
            let takes_all = options.tags.is_empty()
                && options.tags_excluded.is_empty()
                && options.artifact_types.is_empty()
                && options.mapping.is_none();
            let is_other = it.region != *self.blobs.region() && known.contains(&it.region);
            takes_all && is_other && options.is_open_at(now_ms)
        });
        // The source's own account first: nobody has to let it in.
        destinations.sort_by_key(|(it, _)| (it.region.clone(), it.account != header.account));
        destinations.dedup_by_key(|(it, _)| it.region.clone());
        Ok(destinations)
    }
}

// === impl Tap ===

impl Tap {
    /// Where bytes that are no longer in memory can be read. Before the first.
    pub(crate) fn staged(&self, staged: Arc<dyn StagedBytes>) {
        self.feed.staged(staged);
    }

    /// Whether anybody still takes bytes.
    pub(crate) fn is_wanted(&self) -> bool {
        self.senders.iter().any(Sender::is_running)
    }

    /// The next bytes, which are staged right after this.
    pub(crate) fn push(&self, bytes: &bytes::Bytes) {
        self.feed.push(bytes);
    }

    /// The upload has become a blob, and is linked here: images may name it. Those
    /// who have given up say nothing: where their bytes are not on their way, nobody
    /// is to wait for them.
    pub(crate) fn linked(&self, digest: Digest, size: u64) {
        for sender in self.senders.iter().filter(|sender| sender.is_running()) {
            sender.name(digest);
        }
        self.feed.finish(digest, size);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.feed.cancel();
    }
}
