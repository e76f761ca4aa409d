//! One fetch of a blob for all who want it.
//!
//! The first who wants a blob that this node has no copy of starts a transfer:
//! the verified bytes go into a staging, and from there into a copy like any
//! other. Whoever comes while it is under way latches on: it reads what is
//! staged already, then what arrives. Nobody waits for a slower reader: what one
//! has not taken yet is read back from the staging.
//!
//! The invariant: a reader gets verified bytes only, and a transfer that nobody
//! waits for any more ends.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::{BlobStream, Expected, Hashing, READ_BYTES, StagedBytes, Staging};
use entrepot_metadata::query::Blob;
use entrepot_oci::Digest;
use futures::stream;
use tokio::sync::watch;
use tracing::warn;

use crate::ClusterBlobs;
use crate::error::{ReplicationError, chain};
use crate::pace::Pace;
use crate::recent::Recent;
use crate::sources::PeerRead;

/// Between the tries to go on when every source has failed. What was fetched by
/// then is not fetched again.
const RESUME_DELAYS: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// The transfers of a node that are under way.
#[derive(Debug, Default)]
pub(crate) struct Transfers(Mutex<BTreeMap<Digest, Weak<Transfer>>>);

/// A blob on its way to this node.
#[derive(Debug)]
pub(crate) struct Transfer {
    state: watch::Sender<State>,
    recent: Mutex<Recent>,
    staged: Arc<dyn StagedBytes>,
}

/// Holds a transfer; when nobody does, it ends.
#[derive(Debug, Clone)]
pub(crate) struct Latched {
    transfer: Arc<Transfer>,
    state: watch::Receiver<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are here and right.
    Under(u64),
    /// All of them are, and this node has a copy.
    Kept,
    /// It ended early. Somebody else may do better.
    Ended(Ending),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// This node's disk takes no more: who reads has to read from peers.
    NotKept,
    /// No source has the rest.
    Failed,
    /// Nobody waited for it.
    Abandoned,
}

// === impl Transfers ===

impl Transfers {
    pub(crate) fn is_under_way(&self, digest: &Digest) -> bool {
        self.latch(digest).is_some()
    }

    /// Latches on to the transfer of `digest` that is under way.
    fn latch(&self, digest: &Digest) -> Option<Latched> {
        let transfer = self.lock().get(digest).and_then(Weak::upgrade)?;
        let latched = Latched {
            state: transfer.state.subscribe(),
            transfer,
        };
        // One that has ended, or that ends because nobody waited a moment ago,
        // is of no use.
        let under_way = matches!(*latched.state.borrow(), State::Under(_));
        under_way.then_some(latched)
    }

    /// `transfer`, unless another one got ahead of it.
    fn enter(&self, digest: &Digest, transfer: &Arc<Transfer>) -> bool {
        let mut transfers = self.lock();
        let under_way = |other: &Arc<Transfer>| {
            matches!(*other.state.borrow(), State::Under(_)) && other.state.receiver_count() > 0
        };
        if transfers
            .get(digest)
            .and_then(Weak::upgrade)
            .is_some_and(|other| under_way(&other))
        {
            return false;
        }
        transfers.retain(|_, transfer| transfer.strong_count() > 0);
        transfers.insert(*digest, Arc::downgrade(transfer));
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Weak<Transfer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// A transfer of `blob`, the one that is under way or a new one; none: its
    /// bytes cannot be verified before all are there, or cannot be staged.
    ///
    /// # Errors
    /// That no source has begun to send.
    pub(crate) async fn latch(
        self: &Arc<Self>,
        blob: &Blob,
        pace: Option<Arc<Pace>>,
    ) -> Result<Option<Latched>, ReplicationError> {
        if let Some(latched) = self.transfers.latch(&blob.digest) {
            return Ok(Some(latched));
        }
        // One looks for a source, the others wait for what it finds.
        let turn = self.connects.of(&blob.digest);
        let mut failed = turn.lock().await;
        if let Some(latched) = self.transfers.latch(&blob.digest) {
            return Ok(Some(latched));
        }
        if *failed {
            // It found none. Those who waited do not wait for each other.
            drop(failed);
            return self.start_transfer(blob, pace).await;
        }
        let started = self.start_transfer(blob, pace).await;
        *failed = started.is_err();
        started
    }

    async fn start_transfer(
        self: &Arc<Self>,
        blob: &Blob,
        pace: Option<Arc<Pace>>,
    ) -> Result<Option<Latched>, ReplicationError> {
        let gentle = pace.is_some();
        let read = PeerRead::connect_as(self, blob.clone(), 0..blob.size, gentle).await?;
        if !read.is_verified() {
            return Ok(None);
        }
        let staging = match self.store.stage(Hashing::Root).await {
            Ok(staging) => staging,
            Err(error) => {
                warn!(digest = %blob.digest, error = chain(&error), "a blob cannot be kept");
                return Ok(None);
            }
        };
        let (sender, state) = watch::channel(State::Under(0));
        let transfer = Arc::new(Transfer {
            state: sender,
            recent: Mutex::default(),
            staged: staging.read_back(),
        });
        if !self.transfers.enter(&blob.digest, &transfer) {
            // Somebody was faster, while this one was looking for a source.
            staging.discard().await;
            return Ok(self.transfers.latch(&blob.digest));
        }
        let latched = Latched {
            transfer: Arc::clone(&transfer),
            state,
        };
        let blobs = Arc::clone(self);
        tokio::spawn(async move {
            let ended = transfer.run(&blobs, read, staging, pace.as_deref()).await;
            transfer.state.send_replace(ended);
        });
        Ok(Some(latched))
    }
}

// === impl Transfer ===

impl Transfer {
    /// How it ended.
    async fn run(
        &self,
        blobs: &Arc<ClusterBlobs>,
        read: PeerRead,
        mut staging: Box<dyn Staging>,
        pace: Option<&Pace>,
    ) -> State {
        let blob = read.blob().clone();
        let digest = &blob.digest;
        let filled = self.fill(blobs, read, &mut staging, pace).await;
        if let Err(ending) = filled {
            staging.discard().await;
            return State::Ended(ending);
        }
        let expected = Expected::Root {
            digest: *digest,
            size: blob.size,
            root: blob.root,
        };
        let committed = match blobs.begin_keep(digest).await {
            Ok(_turn) => staging
                .commit(expected)
                .await
                .map_err(ReplicationError::from),
            Err(error) => Err(error),
        };
        match committed {
            Ok(_) => {
                blobs.note_kept(&blob);
                State::Kept
            }
            Err(error) => {
                warn!(%digest, error = chain(&error), "a passing blob cannot be kept");
                State::Ended(Ending::NotKept)
            }
        }
    }

    /// Stages all bytes of the blob.
    async fn fill(
        &self,
        blobs: &Arc<ClusterBlobs>,
        mut read: PeerRead,
        staging: &mut Box<dyn Staging>,
        pace: Option<&Pace>,
    ) -> Result<(), Ending> {
        let blob = read.blob().clone();
        let digest = &blob.digest;
        let mut resumed_at = None;
        loop {
            // Readers who have latched on are not to be slowed down.
            let pace = pace.filter(|_| self.state.receiver_count() <= 1);
            read.set_gentle(pace.is_some());
            let piece = tokio::select! {
                // Who has read to the end may be gone before this comes to it.
                biased;
                piece = read.piece() => piece,
                () = self.state.closed() => return Err(Ending::Abandoned),
            };
            let piece = match piece {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(()),
                Err(error) => {
                    warn!(%digest, error = chain(&error), "a transfer has no source any more");
                    let here = self.lock().end();
                    // Once at the same place: what fails there again is not away
                    // for a moment.
                    if resumed_at.replace(here) == Some(here) {
                        return Err(Ending::Failed);
                    }
                    let again = self.resume(blobs, &blob, here).await;
                    read = again.ok_or(Ending::Failed)?;
                    continue;
                }
            };
            if let Some(pace) = pace {
                pace.spend(piece.len() as u64).await;
            }
            let end = self.lock().push(piece.clone());
            if let Err(error) = staging.append(vec![piece]).await {
                warn!(%digest, error = chain(&error), "a passing blob cannot be kept");
                return Err(Ending::NotKept);
            }
            self.state.send_replace(State::Under(end));
        }
    }

    /// Goes on where the last source failed, if one comes back in time.
    async fn resume(&self, blobs: &Arc<ClusterBlobs>, blob: &Blob, here: u64) -> Option<PeerRead> {
        if here == 0 {
            return None;
        }
        for delay in RESUME_DELAYS {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.state.closed() => return None,
            }
            let read = PeerRead::connect(blobs, blob.clone(), here..blob.size).await;
            if let Ok(read) = read
                && read.is_verified()
            {
                return Some(read);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Latched ===

impl Latched {
    /// Waits for the end.
    ///
    /// # Errors
    /// That there is no copy here then.
    pub(crate) async fn kept(mut self, blob: &Blob) -> Result<(), ReplicationError> {
        let ended = |state: &State| !matches!(state, State::Under(_));
        let state = self.state.wait_for(ended).await.map(|state| *state);
        match state {
            Ok(State::Kept) => Ok(()),
            Ok(State::Ended(Ending::NotKept)) => Err(ReplicationError::Full),
            _ => Err(ReplicationError::Unreachable(blob.digest)),
        }
    }

    /// The bytes of `wanted`, while they arrive. If the transfer ends early, the
    /// reader goes on by itself.
    pub(crate) fn stream(
        self,
        blobs: Arc<ClusterBlobs>,
        blob: Blob,
        wanted: Range<u64>,
    ) -> BlobStream {
        let reader = Reader {
            latched: Some(self),
            alone: None,
            blobs,
            blob,
            left: wanted,
        };
        Box::pin(stream::try_unfold(reader, |mut reader| async move {
            let piece = reader.piece().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, reader)))
        }))
    }

    /// Bytes from `offset` on; none: the transfer has ended without them.
    async fn bytes(&mut self, left: &Range<u64>) -> io::Result<Option<Bytes>> {
        let here = |state: &State| match state {
            State::Under(end) => *end > left.start,
            State::Kept | State::Ended(_) => true,
        };
        let state = self.state.wait_for(here).await.map(|state| *state);
        let (bytes, start) = {
            let recent = self.transfer.lock();
            if recent.end() <= left.start {
                return Ok(None);
            }
            (recent.get(left.start), recent.start())
        };
        if let Some(bytes) = bytes {
            let most = usize::try_from(left.end - left.start).unwrap_or(usize::MAX);
            return Ok(Some(bytes.slice(..bytes.len().min(most))));
        }
        if matches!(state, Ok(State::Ended(_)) | Err(_)) {
            // What is staged may be incomplete.
            return Ok(None);
        }
        let end = left.end.min(start).min(left.start + READ_BYTES as u64);
        self.transfer.staged.read(left.start..end).await.map(Some)
    }
}

/// One who reads a blob while it arrives.
struct Reader {
    latched: Option<Latched>,
    alone: Option<PeerRead>,
    blobs: Arc<ClusterBlobs>,
    blob: Blob,
    left: Range<u64>,
}

// === impl Reader ===

impl Reader {
    async fn piece(&mut self) -> Result<Option<Bytes>, ReplicationError> {
        if self.left.is_empty() {
            return self.end().await;
        }
        if let Some(latched) = &mut self.latched {
            match latched.bytes(&self.left).await {
                Ok(Some(bytes)) => {
                    self.left.start += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) => {}
                Err(error) => {
                    warn!(digest = %self.blob.digest, error = chain(&error), "staged bytes cannot be read back");
                }
            }
            self.latched = None;
        }
        let alone = match &mut self.alone {
            Some(alone) => alone,
            none => {
                let (blob, left) = (self.blob.clone(), self.left.clone());
                none.insert(PeerRead::connect(&self.blobs, blob, left).await?)
            }
        };
        if !alone.is_verified() {
            return Err(ReplicationError::Unreachable(self.blob.digest));
        }
        let piece = alone.piece().await?;
        self.left.start += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }

    /// Who has read to the end of the blob lets the copy be kept before it goes:
    /// a transfer that nobody waits for ends.
    async fn end(&mut self) -> Result<Option<Bytes>, ReplicationError> {
        if let Some(latched) = self.latched.take()
            && self.left.end == self.blob.size
        {
            let blob = self.blob.clone();
            if let Err(error) = latched.kept(&blob).await {
                warn!(digest = %blob.digest, error = chain(&error), "a passing blob cannot be kept");
            }
        }
        Ok(None)
    }
}
