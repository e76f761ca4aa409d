//! Writing a blob: staged here and on its other holders while it arrives.
//!
//! This node hashes with the client's algorithm; the copies are proven by their
//! BLAKE3 root. An upload is stored once a majority of the copies are durable.
//! A holder that fails or stalls is dropped from the upload, and so is a slow
//! one that the majority does not need; repair gives it its copy later. While
//! this node's disk is full, the bytes only pass by on their way to enough others.

mod copy;
mod here;

use std::sync::Arc;

use bytes::Bytes;
use entrepot_blobs::{Committed, Hashing, Passing, StagedBytes};
use entrepot_metadata::command::LinkBlob;
use entrepot_metadata::query::Blob;
use entrepot_oci::{Algorithm, Digest, RegistryId, RepositoryName};
use entrepot_proto::peer::{WriteFinish, WriteRequest, write_request::Part};
use entrepot_proto::peers::PIECE_BYTES;
use futures::StreamExt;
use tonic::Status;
use tracing::warn;

use self::copy::{Finishing, PIECES_WAITING_MAX, PeerCopy, finish_all, gather};
use self::here::Here;
use crate::ClusterBlobs;
use crate::collection::Pin;
use crate::cut::Tap;
use crate::error::{ReplicationError, chain};
use crate::wire::{self, Pieces};

/// An upload in progress.
#[derive(Debug)]
pub struct Upload {
    blobs: Arc<ClusterBlobs>,
    here: Here,
    pieces: Pieces,
    copies: Vec<PeerCopy>,
    /// Those who send it on to other regions.
    tap: Option<Tap>,
}

/// A blob that is durable on a majority of its copies.
#[derive(Debug, Clone)]
pub struct Stored {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub root: [u8; 32],
    /// The nodes that are known to hold it.
    pub holders: Vec<u64>,
    /// Log index that each of them had applied when it looked for collections of the
    /// blob, before it put its copy in place.
    pub seen: u64,
    /// All of it, where it is so small that the metadata is to keep it: it is
    /// durable once it is linked.
    pub content: Option<Bytes>,
}

/// An upload whose content is right and durable, while it may lack copies if it
/// is here.
#[derive(Debug)]
pub struct Settling {
    blobs: Arc<ClusterBlobs>,
    committed: Committed,
    /// Whether there is a copy here, to make others from.
    is_kept: bool,
    holders: Holders,
    /// Keeps what is here from going for no need.
    _pin: Pin,
    /// The copies that were waited for in vain.
    hanging: Vec<u64>,
    tap: Option<Tap>,
}

/// The nodes that have a copy of a new blob.
#[derive(Debug)]
struct Holders {
    nodes: Vec<u64>,
    /// The least that any of them had applied when it looked for collections.
    seen: u64,
}

// === impl Holders ===

impl Default for Holders {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            seen: u64::MAX,
        }
    }
}

impl Holders {
    fn add(&mut self, node: u64, seen: u64) {
        self.nodes.push(node);
        self.seen = self.seen.min(seen);
    }
}

// === impl Stored ===

impl Stored {
    /// A blob of at most `INLINE_BYTES_MAX` that no node needs a copy of.
    pub fn inline(expected: Digest, content: Bytes) -> Result<Self, ReplicationError> {
        if Digest::of(expected.algorithm(), &content) != expected {
            return Err(ReplicationError::Mismatch { expected });
        }
        Ok(Self {
            digest: expected,
            size: content.len() as u64,
            root: *blake3::hash(&content).as_bytes(),
            holders: Vec::new(),
            seen: u64::MAX,
            content: Some(content),
        })
    }

    /// What makes it part of a repository. The repository has to exist: set
    /// `create_repository` as needed.
    pub fn link(self, account: &RegistryId, repository: &RepositoryName, at_ms: i64) -> LinkBlob {
        let blob = Blob {
            digest: self.digest,
            size: self.size,
            root: self.root,
            holders: self.holders,
            content: self.content,
        };
        LinkBlob {
            seen: Some(self.seen),
            ..LinkBlob::new(account, repository, &blob, at_ms)
        }
    }
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// Starts an upload whose digest will be of `algorithm`. `key` chooses the
    /// other nodes that get a copy: the digest where it is known already.
    pub async fn begin(
        self: &Arc<Self>,
        algorithm: Algorithm,
        key: &[u8],
    ) -> Result<Upload, ReplicationError> {
        let here = if self.only_passes(key) {
            Here::Passing(Passing::new(algorithm))
        } else {
            Here::Staged(self.store.stage(Hashing::Client(algorithm)).await?)
        };
        let copies = self
            .chosen(key)
            .into_iter()
            .filter_map(|node| Some(PeerCopy::start(node, self.peers.bulk_channel(node)?)))
            .collect();
        Ok(Upload {
            blobs: Arc::clone(self),
            here,
            pieces: Pieces::default(),
            copies,
            tap: None,
        })
    }

    /// Whether an upload that began now would leave no copy on this node: its
    /// disk is full, while enough others have room.
    pub fn only_passes(&self, key: &[u8]) -> bool {
        self.is_full() && self.chosen(key).len() >= self.copies_needed()
    }

    /// The other nodes that get a copy of a new upload at once. A copy of this
    /// node is one of R, unless it is full or about to leave.
    fn chosen(&self, key: &[u8]) -> Vec<u64> {
        let own = usize::from(self.takes_new(self.own()));
        let mut nodes = self.others(key);
        nodes.retain(|node| self.takes_new(*node));
        nodes.truncate(self.copies() - own);
        nodes
    }
}

// === impl Upload ===

impl Upload {
    /// Sends what comes on to other regions. Before the first byte.
    pub fn tap(&mut self, tap: Tap) {
        if let Some(staged) = self.here.read_back() {
            tap.staged(staged);
        }
        self.tap = Some(tap);
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.here.size()
    }

    /// Whether its bytes are staged on this node.
    pub fn is_kept(&self) -> bool {
        self.here.is_kept()
    }

    /// Lets what is staged be read while more arrives. Before the first byte.
    pub(crate) fn want(&self) {
        drop(self.here.read_back());
    }

    /// What is staged so far, all but the newest of it; none: nothing is kept here.
    pub(crate) fn read_back(&self) -> Option<Arc<dyn StagedBytes>> {
        self.here.read_back()
    }

    /// Whether the bytes so far are this blob; none: it has to be found out by
    /// [`commit`](Self::commit), as they were hashed by another algorithm. Of what
    /// was [flushed](Self::flush).
    pub(crate) fn is(&self, digest: &Digest) -> Option<bool> {
        let hashed = self.here.digest()?;
        (hashed.algorithm() == digest.algorithm()).then_some(hashed == *digest)
    }

    /// Takes the next bytes.
    pub async fn append(&mut self, chunk: Bytes) -> Result<(), ReplicationError> {
        if let Some(tap) = self.tap.as_ref().filter(|tap| tap.is_wanted()) {
            tap.push(&chunk);
        }
        if self.copies.is_empty() {
            // The staging gathers by itself; pieces are for the wire.
            return Ok(self.here.append(chunk).await?);
        }
        for piece in self.pieces.push(chunk) {
            self.send(piece).await?;
        }
        Ok(())
    }

    /// Passes on what waits for a full piece, so that [`size`](Self::size)
    /// counts every byte taken.
    pub async fn flush(&mut self) -> Result<(), ReplicationError> {
        match self.pieces.finish() {
            Some(piece) => self.send(piece).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, piece: Bytes) -> Result<(), ReplicationError> {
        let part = WriteRequest {
            part: Some(Part::Data(piece.clone())),
        };
        let expendable = self.expendable();
        let copies = self.copies.iter_mut().map(|copy| {
            let expendable = expendable == Some(copy.node);
            copy.send(part.clone(), expendable)
        });
        let copies = futures::future::join_all(copies);
        let (appended, _) = futures::future::join(self.here.append(piece), copies).await;
        appended?;
        self.check_copies()
    }

    /// What is not kept here is lost with the copies on their way: nobody shall
    /// go on sending it in vain.
    fn check_copies(&self) -> Result<(), ReplicationError> {
        let live = self.copies.iter().filter(|copy| copy.is_live()).count();
        let needed = self.blobs.copies_needed();
        if !self.is_kept() && live < needed {
            let durable = 0;
            return Err(ReplicationError::TooFewCopies { durable, needed });
        }
        Ok(())
    }

    /// The holder that has held this upload up the most, if it can be spared.
    fn expendable(&self) -> Option<u64> {
        let live = self.copies.iter().filter(|copy| copy.is_live());
        let own = usize::from(self.is_kept()) * self.blobs.staying(&[self.blobs.own()]);
        let spare = live.clone().count() + own > self.blobs.copies_needed();
        let slowest = live.max_by_key(|copy| copy.held_up)?;
        spare.then_some(slowest.node)
    }

    /// Verifies the content against `expected` and makes it durable here and on
    /// enough other nodes. After an error there may be copies that no repository
    /// has, never one of other content.
    pub async fn commit(self, expected: Digest) -> Result<Stored, ReplicationError> {
        self.commit_here(expected).await?.finish().await
    }

    /// The part of [`commit`](Self::commit) that cannot be done again: after an
    /// error the bytes are gone.
    pub async fn commit_here(mut self, expected: Digest) -> Result<Settling, ReplicationError> {
        self.flush().await?;
        let Self {
            blobs,
            here,
            copies,
            tap,
            ..
        } = self;
        let is_kept = here.is_kept();
        let hashed = here
            .digest()
            .filter(|digest| digest.algorithm() == expected.algorithm());
        // Before any copy is asked to finish: no node may name wrong content.
        if hashed.as_ref().is_some_and(|digest| *digest != expected) {
            here.discard().await;
            return Err(ReplicationError::Mismatch { expected });
        }
        let finish = WriteFinish {
            digest: expected.to_string(),
            size: here.size(),
            root: Bytes::copy_from_slice(&here.root()),
        };
        // Before there is anything to look for.
        let pin = blobs.turns.pin(&expected);
        let local = async {
            if !is_kept {
                return Ok((here.commit(expected).await?, u64::MAX));
            }
            let writing = blobs.begin_write(&expected).await?;
            let committed = here.commit(expected).await?;
            Ok::<_, ReplicationError>((committed, writing.seen))
        };
        let ((committed, seen), mut finishing) = if hashed.is_some() {
            // All at the same time. If this node fails, the others are given up.
            let finishing = finish_all(copies, &finish);
            (local.await?, finishing)
        } else {
            // Only the commit here can tell whether the content is right.
            (local.await?, finish_all(copies, &finish))
        };

        let mut holders = Holders::default();
        if is_kept {
            holders.add(blobs.own(), seen);
        }
        let failed = gather(&blobs, &mut finishing, &mut holders, &expected).await;
        blobs.leave_to_finish(finishing, committed.size);
        if !is_kept {
            blobs.check_durable(&holders.nodes, failed.full)?;
        }
        Ok(Settling {
            _pin: pin,
            blobs,
            committed,
            is_kept,
            holders,
            hanging: failed.hanging,
            tap,
        })
    }

    /// Leaves nothing behind, here or elsewhere.
    pub async fn discard(self) {
        self.here.discard().await;
    }
}

// === impl Settling ===

impl Settling {
    pub fn digest(&self) -> &Digest {
        &self.committed.digest
    }

    /// The blob is part of a repository here: other regions may show it.
    pub fn linked(&self) {
        if let Some(tap) = &self.tap {
            tap.linked(self.committed.digest, self.committed.size);
        }
    }

    /// Makes sure of the copies that an acknowledgement needs. May be called
    /// again, after an error or not: copies that are there are not sent again.
    pub async fn finish(&mut self) -> Result<Stored, ReplicationError> {
        if self.is_kept && self.blobs.staying(&self.holders.nodes) < self.blobs.copies_needed() {
            // Not waited for again at once, but the next time.
            let hanging = std::mem::take(&mut self.hanging);
            self.blobs
                .copy_to_more(&self.committed, &mut self.holders, &hanging)
                .await?;
        }
        Ok(Stored {
            digest: self.committed.digest,
            size: self.committed.size,
            root: self.committed.root,
            holders: self.holders.nodes.clone(),
            seen: self.holders.seen,
            content: None,
        })
    }

    /// The blob was collected after its copies were looked at: looks at what is here
    /// once more, and forgets the others.
    ///
    /// # Errors
    /// `NotFound` when the bytes are gone: they have to be sent again.
    pub async fn look_again(&mut self) -> Result<(), ReplicationError> {
        let digest = self.committed.digest;
        let writing = self.blobs.begin_write(&digest).await?;
        if self.blobs.store.stat(&digest).await?.is_none() {
            return Err(ReplicationError::NotFound(digest));
        }
        // Where nothing was to stay here, the copy is somebody else's work.
        self.is_kept = true;
        self.holders = Holders::default();
        self.holders.add(self.blobs.own(), writing.seen);
        Ok(())
    }
}

// === impl ClusterBlobs: copies of what is here ===

impl ClusterBlobs {
    /// Lets the copies that an acknowledgement did not wait for be finished in
    /// the background, unless too many are already.
    fn leave_to_finish(&self, mut finishing: Finishing, size: u64) {
        if finishing.is_empty() {
            return;
        }
        let held = size.min((PIECES_WAITING_MAX * PIECE_BYTES) as u64) / 1024 + 1;
        let held = u32::try_from(held * finishing.len() as u64).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.leftovers).try_acquire_many_owned(held) else {
            warn!("copies were given up: holders are too far behind");
            return;
        };
        tokio::spawn(async move {
            while finishing.join_next().await.is_some() {}
            drop(permit);
        });
    }

    /// Sends a blob of this node's to other nodes until enough copies are
    /// durable on nodes that stay. Where too few of those answer, one that is
    /// about to leave stands in, but never for all of them: it may be gone the
    /// next moment. Those that are `hanging` are not waited for again.
    async fn copy_to_more(
        &self,
        blob: &Committed,
        holders: &mut Holders,
        hanging: &[u64],
    ) -> Result<(), ReplicationError> {
        let needed = self.copies_needed();
        let mut full = false;
        for node in self.others(blob.digest.to_string().as_bytes()) {
            if self.staying(&holders.nodes) >= needed {
                break;
            }
            if holders.nodes.contains(&node) || hanging.contains(&node) {
                continue;
            }
            if holders.nodes.len() >= needed && self.staying(&[node]) == 0 {
                continue;
            }
            match self.copy_to(node, blob).await {
                Ok(seen) if self.counts(&blob.digest, seen) => holders.add(node, seen),
                Ok(_) => {
                    warn!(node, digest = %blob.digest, "a copy does not count: its node is behind the log");
                }
                Err(error) => {
                    warn!(node, digest = %blob.digest, error = chain(&error), "a copy failed");
                    full |= error.is_full();
                }
            }
        }
        self.check_durable(&holders.nodes, full)
    }

    /// That these are enough. `full`: some are not among them because their disks
    /// have no room, so that it would not help to try again soon.
    fn check_durable(&self, holders: &[u64], full: bool) -> Result<(), ReplicationError> {
        let (durable, needed) = (self.staying(holders), self.copies_needed());
        if holders.len() >= needed && durable > 0 {
            return Ok(());
        }
        Err(if full {
            ReplicationError::Full
        } else {
            ReplicationError::TooFewCopies { durable, needed }
        })
    }

    /// Sends one blob of this node's to `node`; what that had applied when it looked
    /// for collections of it.
    async fn copy_to(&self, node: u64, blob: &Committed) -> Result<u64, ReplicationError> {
        let channel = self
            .peers
            .bulk_channel(node)
            .ok_or(ReplicationError::Unreachable(blob.digest))?;
        let (_, mut content) = self.store.open(&blob.digest, None).await?;
        let mut copy = PeerCopy::start(node, channel);
        while copy.is_live()
            && let Some(chunk) = content.next().await
        {
            let chunk = chunk.map_err(|error| {
                ReplicationError::peer(node, Status::internal(error.to_string()))
            })?;
            for piece in wire::cut(chunk) {
                let part = Some(Part::Data(piece));
                copy.send(WriteRequest { part }, false).await;
            }
        }
        let finish = WriteFinish {
            digest: blob.digest.to_string(),
            size: blob.size,
            root: Bytes::copy_from_slice(&blob.root),
        };
        copy.finish(finish)
            .await
            .map_err(|status| ReplicationError::peer(node, status))
    }
}
