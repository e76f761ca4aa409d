//! Reading a blob: this node's copy, else a peer's, passed on while it arrives.
//!
//! Whoever wants a blob, or a part of one that is not large, latches on to its
//! transfer, which leaves a copy here. A part of a large one, and anything while
//! this node's disk is full, comes from peers alone and leaves none. All bytes are verified before the reader gets them. A
//! peer that fails in mid-stream is replaced by the next without the reader
//! noticing, and so is this node's own copy.
//!
//! Peers of a release that knows no hash trees are the exception: of what they
//! send, only a whole can be verified, so it is served once the whole is here.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use entrepot_blobs::{BlobError, BlobStat, BlobStream, Expected, Hashing, Staging};
use entrepot_metadata::query::Blob;
use futures::{StreamExt, stream};
use tracing::{error, warn};

use crate::ClusterBlobs;
use crate::error::{ReplicationError, chain};
use crate::pace::Pace;
use crate::sources::PeerRead;

/// The largest blob that is fetched as a whole when a part of it is asked for,
/// bytes: at a Gbit/s, the first byte waits for half a second.
const WHOLE_FOR_PART_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// This node's own copy on its way out.
struct OwnRead {
    blobs: Arc<ClusterBlobs>,
    blob: Blob,
    range: Range<u64>,
    content: BlobStream,
    /// Bytes given to the reader.
    given: u64,
    /// The own copy has failed, `content` is what peers send.
    elsewhere: bool,
}

/// Whether a copy was written to while it was read.
fn is_changed(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(cause, Some(BlobError::Changed(_)))
}

/// Whether a copy has proved damaged, and is not there any more.
fn is_damaged(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(cause, Some(BlobError::Damaged(_)))
}

/// Bytes that the metadata keeps, and no node has a copy of.
fn inline(blob: &Blob, range: &Range<u64>) -> Option<Bytes> {
    let start = usize::try_from(range.start).ok()?;
    let end = usize::try_from(range.end).ok()?;
    let content = blob.content.as_ref()?;
    (start <= end && end <= content.len()).then(|| content.slice(start..end))
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// The bytes of a blob of this region (`None`: all of it).
    pub async fn open(
        self: &Arc<Self>,
        blob: Blob,
        range: Option<Range<u64>>,
    ) -> Result<BlobStream, ReplicationError> {
        let range = range.unwrap_or(0..blob.size);
        if range.start > range.end || range.end > blob.size {
            return Err(ReplicationError::Refused(format!(
                "bytes {}..{} do not lie within blob {}",
                range.start, range.end, blob.digest
            )));
        }
        if let Some(content) = inline(&blob, &range) {
            return Ok(stream::iter([Ok(content)]).boxed());
        }
        match self.store.open(&blob.digest, Some(range.clone())).await {
            Ok((stat, content)) if stat.size == blob.size => {
                self.cache.touch(&blob.digest);
                return Ok(OwnRead::new(self, blob, range, content).stream());
            }
            Ok((stat, _)) => {
                error!(digest = %blob.digest, size = blob.size, found = stat.size,
                    "this node's copy is damaged");
            }
            Err(BlobError::NotFound(_)) => {}
            Err(BlobError::Damaged(_)) => self.heal(&blob),
            Err(error) => {
                // The cause may lie elsewhere, such as in too many open files.
                warn!(digest = %blob.digest, error = chain(&error), "this node's copy cannot be opened");
            }
        }
        // Boxed: who has a copy here is not to carry its state around.
        Box::pin(self.open_elsewhere(blob, range, 0)).await
    }

    /// The bytes from peers, but for the first `skip`, which the reader has had.
    async fn open_elsewhere(
        self: &Arc<Self>,
        blob: Blob,
        range: Range<u64>,
        skip: u64,
    ) -> Result<BlobStream, ReplicationError> {
        let wanted = range.start + skip..range.end;
        if wanted.is_empty() {
            return Ok(Box::pin(stream::empty()));
        }
        self.metrics.read_through.inc();
        if self.transfers.is_under_way(&blob.digest) {
            self.metrics.read_through_shared.inc();
        }
        let whole = range == (0..blob.size);
        if (whole || blob.size <= WHOLE_FOR_PART_BYTES_MAX)
            && !self.is_full()
            && let Some(latched) = self.latch(&blob, None).await?
        {
            if !whole {
                // Who wants a part wants others soon: all of it is kept.
                let (kept, blob) = (latched.clone(), blob.clone());
                tokio::spawn(async move { kept.kept(&blob).await });
            }
            return Ok(latched.stream(Arc::clone(self), blob, wanted));
        }
        let read = PeerRead::connect(self, blob.clone(), wanted.clone()).await?;
        if read.is_verified() {
            return Ok(read.stream());
        }
        drop(read);
        self.fetch_once(&blob).await?;
        Ok(self.store.open(&blob.digest, Some(wanted)).await?.1)
    }

    /// Fetches a blob; those who want the same at the same time wait for one.
    async fn fetch_once(self: &Arc<Self>, blob: &Blob) -> Result<(), ReplicationError> {
        let fetch = self.fetches.of(&blob.digest);
        let mut fetched = fetch.lock().await;
        if !*fetched {
            self.fetch_elsewhere(blob.clone()).await?;
            *fetched = true;
        }
        Ok(())
    }

    /// Makes sure that this node has its own copy.
    pub async fn fetch(self: &Arc<Self>, blob: Blob) -> Result<BlobStat, ReplicationError> {
        self.fetch_at(blob, None).await
    }

    /// The same at a pace, unless somebody waits for it.
    pub(crate) async fn fetch_at(
        self: &Arc<Self>,
        blob: Blob,
        pace: Option<Arc<Pace>>,
    ) -> Result<BlobStat, ReplicationError> {
        let found = self.store.stat(&blob.digest).await?;
        if let Some(stat) = found.filter(|stat| stat.size == blob.size) {
            return Ok(stat);
        }
        match self.latch(&blob, pace).await? {
            Some(latched) => {
                latched.kept(&blob).await?;
                Ok(BlobStat {
                    digest: blob.digest,
                    size: blob.size,
                })
            }
            None => self.fetch_elsewhere(blob).await,
        }
    }

    /// Checks this node's own copy and replaces it if it is damaged.
    pub(crate) async fn recheck(self: &Arc<Self>, blob: Blob) -> Result<(), ReplicationError> {
        if blob.content.is_some() {
            // No copy of this node's.
            return Ok(());
        }
        if let Err(BlobError::Damaged(_)) = self.store.verify(&blob.digest, 0, u64::MAX).await {
            self.fetch(blob).await?;
            self.metrics.repaired.inc();
        }
        Ok(())
    }

    /// Tries one source after the other until the bytes are right.
    async fn fetch_elsewhere(self: &Arc<Self>, blob: Blob) -> Result<BlobStat, ReplicationError> {
        let mut read = PeerRead::connect(self, blob.clone(), 0..blob.size).await?;
        loop {
            let mut staging = self.store.stage(Hashing::Root).await?;
            while let Some(piece) = read.piece().await? {
                staging.append(vec![piece]).await?;
            }
            if staging.root() == blob.root {
                self.keep(staging, &blob).await?;
                return Ok(BlobStat {
                    digest: blob.digest,
                    size: blob.size,
                });
            }
            staging.discard().await;
            if !read.start_over() {
                return Err(ReplicationError::Mismatch {
                    expected: blob.digest,
                });
            }
        }
    }

    /// Commits content that has proved right, in the place of a damaged copy if
    /// there is one.
    async fn keep(&self, staging: Box<dyn Staging>, blob: &Blob) -> Result<(), ReplicationError> {
        let expected = Expected::Root {
            digest: blob.digest,
            size: blob.size,
            root: blob.root,
        };
        let _turn = self.begin_keep(&blob.digest).await?;
        staging.commit(expected).await?;
        self.note_kept(blob);
        Ok(())
    }
}

// === impl OwnRead ===

impl OwnRead {
    fn new(blobs: &Arc<ClusterBlobs>, blob: Blob, range: Range<u64>, content: BlobStream) -> Self {
        Self {
            blobs: Arc::clone(blobs),
            blob,
            range,
            content,
            given: 0,
            elsewhere: false,
        }
    }

    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.content.next().await {
                Some(Err(error)) if !self.elsewhere => {
                    error!(digest = %self.blob.digest, error = chain(&error), "this node's copy cannot be read");
                    let (blob, range) = (self.blob.clone(), self.range.clone());
                    if is_changed(&error) {
                        // What was given may not be the blob's, and no other
                        // copy makes that good: the reader gets no end.
                        self.blobs.check(blob);
                        return Err(error);
                    }
                    if is_damaged(&error) {
                        self.blobs.heal(&blob);
                    }
                    self.content = self
                        .blobs
                        .open_elsewhere(blob, range, self.given)
                        .await
                        .map_err(io::Error::other)?;
                    self.elsewhere = true;
                }
                Some(piece) => {
                    let piece = piece?;
                    self.given += piece.len() as u64;
                    return Ok(Some(piece));
                }
                None => return Ok(None),
            }
        }
    }

    fn stream(self) -> BlobStream {
        Box::pin(stream::try_unfold(self, |mut own| async move {
            Ok(own.piece().await?.map(|piece| (piece, own)))
        }))
    }
}
