//! Writing a blob: staged here and on its other holders while it arrives.
//!
//! This node hashes with the client's algorithm; the copies are proven by their
//! BLAKE3 root. An upload is stored once a majority of the copies are durable.
//! A holder that fails or stalls is dropped from the upload, and so is a slow
//! one that the majority does not need; repair gives it its copy later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::{BlobError, Committed, Expected, Hashing, Staging};
use entrepot_metadata::command::LinkBlob;
use entrepot_metadata::query::Blob;
use entrepot_oci::{AccountId, Algorithm, Digest, RepositoryName};
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::{WriteFinish, WriteHeader, WriteRequest, write_request::Part};
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, PIECE_BYTES, PeerChannel};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tracing::warn;

use crate::ClusterBlobs;
use crate::error::{ReplicationError, chain};
use crate::wire::{self, Pieces};

/// Pieces that may wait for one holder: 4 MiB.
const PIECES_WAITING_MAX: usize = 16;
/// A holder that takes no piece for this long is dropped from the upload. So is
/// one that has held it up for this long in all, if enough others are left.
const STALL_MAX: Duration = Duration::from_secs(5);
/// A holder may take this long for a piece without holding an upload up: 5 MiB/s.
const PIECE_TIME: Duration = Duration::from_millis(50);
/// For a holder to verify and sync a finished copy.
const FINISH_TIMEOUT: Duration = Duration::from_mins(1);

/// An upload in progress.
#[derive(Debug)]
pub struct Upload {
    blobs: Arc<ClusterBlobs>,
    staging: Box<dyn Staging>,
    pieces: Pieces,
    copies: Vec<PeerCopy>,
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
    /// All of it, where it is so small that the metadata is to keep it: it is
    /// durable once it is linked.
    pub content: Option<Bytes>,
}

/// An upload whose content is right and durable here, while it may lack copies.
#[derive(Debug)]
pub struct Settling {
    blobs: Arc<ClusterBlobs>,
    committed: Committed,
    holders: Vec<u64>,
    /// The copies that were waited for in vain.
    hanging: Vec<u64>,
}

/// One copy on its way to another node.
#[derive(Debug)]
struct PeerCopy {
    node: u64,
    /// None once the copy has failed.
    parts: Option<mpsc::Sender<WriteRequest>>,
    call: JoinHandle<Result<u64, Status>>,
    /// How long the upload has waited for it, beyond the time that it may take.
    held_up: Duration,
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
            content: Some(content),
        })
    }

    /// What makes it part of a repository. The repository has to exist: set
    /// `create_repository` as needed.
    pub fn link(self, account: &AccountId, repository: &RepositoryName, at_ms: i64) -> LinkBlob {
        let blob = Blob {
            digest: self.digest,
            size: self.size,
            root: self.root,
            holders: self.holders,
            content: self.content,
        };
        LinkBlob::new(account, repository, &blob, at_ms)
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
        let staging = self.store.stage(Hashing::Client(algorithm)).await?;
        // A copy of this node is one of them, unless it is full or about to leave.
        let own = usize::from(self.takes_new(self.own()));
        let copies = self
            .others(key)
            .into_iter()
            .filter(|node| self.takes_new(*node))
            .take(self.copies() - own)
            .filter_map(|node| Some(PeerCopy::start(node, self.peers.bulk_channel(node)?)))
            .collect();
        Ok(Upload {
            blobs: Arc::clone(self),
            staging,
            pieces: Pieces::default(),
            copies,
        })
    }
}

// === impl Upload ===

impl Upload {
    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.staging.size()
    }

    /// Takes the next bytes.
    pub async fn append(&mut self, chunk: Bytes) -> Result<(), ReplicationError> {
        if self.copies.is_empty() {
            // The staging gathers by itself; pieces are for the wire.
            return Ok(self.staging.append(vec![chunk]).await?);
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
        let (appended, _) = futures::future::join(self.staging.append(vec![piece]), copies).await;
        Ok(appended?)
    }

    /// The holder that has held this upload up the most, if it can be spared.
    fn expendable(&self) -> Option<u64> {
        let live = self.copies.iter().filter(|copy| copy.is_live());
        let own = self.blobs.staying(&[self.blobs.own()]);
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
            staging,
            copies,
            ..
        } = self;
        let hashed = staging
            .digest()
            .filter(|digest| digest.algorithm() == expected.algorithm());
        // Before any copy is asked to finish: no node may name wrong content.
        if hashed.as_ref().is_some_and(|digest| *digest != expected) {
            staging.discard().await;
            return Err(ReplicationError::Mismatch { expected });
        }
        let finish = WriteFinish {
            digest: expected.to_string(),
            size: staging.size(),
            root: Bytes::copy_from_slice(&staging.root()),
        };
        let local = commit_local(staging, expected);
        let (committed, mut finishing) = if hashed.is_some() {
            // All at the same time. If this node fails, the others are given up.
            let finishing = finish_all(copies, &finish);
            (local.await?, finishing)
        } else {
            // Only the commit here can tell whether the content is right.
            (local.await?, finish_all(copies, &finish))
        };

        let mut holders = vec![blobs.own()];
        let mut hanging = Vec::new();
        let needed = blobs.copies_needed();
        while blobs.staying(&holders) < needed {
            match finishing.join_next().await {
                Some(Ok((node, Ok(_)))) => holders.push(node),
                Some(Ok((node, Err(status)))) => {
                    warn!(node, digest = %expected, %status, "a copy failed");
                    if status.code() == Code::DeadlineExceeded {
                        hanging.push(node);
                    }
                }
                Some(Err(error)) => warn!(digest = %expected, %error, "a copy failed"),
                None => break,
            }
        }
        blobs.leave_to_finish(finishing, committed.size);
        Ok(Settling {
            blobs,
            committed,
            holders,
            hanging,
        })
    }

    /// Leaves nothing behind, here or elsewhere.
    pub async fn discard(self) {
        self.staging.discard().await;
    }
}

// === impl Settling ===

impl Settling {
    pub fn digest(&self) -> &Digest {
        &self.committed.digest
    }

    /// Makes sure of the copies that an acknowledgement needs. May be called
    /// again, after an error or not: copies that are there are not sent again.
    pub async fn finish(&mut self) -> Result<Stored, ReplicationError> {
        if self.blobs.staying(&self.holders) < self.blobs.copies_needed() {
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
            holders: self.holders.clone(),
            content: None,
        })
    }
}

async fn commit_local(
    staging: Box<dyn Staging>,
    expected: Digest,
) -> Result<Committed, ReplicationError> {
    match staging.commit(Expected::Digest(expected)).await {
        Err(BlobError::DigestMismatch { .. }) => Err(ReplicationError::Mismatch { expected }),
        other => Ok(other?),
    }
}

/// Copies that are being finished; dropped, they are given up.
type Finishing = JoinSet<(u64, Result<u64, Status>)>;

fn finish_all(copies: Vec<PeerCopy>, finish: &WriteFinish) -> Finishing {
    let mut finishing = Finishing::new();
    for copy in copies {
        let finish = finish.clone();
        finishing.spawn(async move { (copy.node, copy.finish(finish).await) });
    }
    finishing
}

// === impl PeerCopy ===

impl PeerCopy {
    fn start(node: u64, channel: PeerChannel) -> Self {
        let (parts, receiver) = mpsc::channel(PIECES_WAITING_MAX);
        // The channel is empty: this cannot fail.
        let _ = parts.try_send(WriteRequest {
            part: Some(Part::Header(WriteHeader {})),
        });
        let call = tokio::spawn(async move {
            let mut client = BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let reply = client.write(ReceiverStream::new(receiver)).await?;
            Ok(reply.into_inner().size)
        });
        Self {
            node,
            parts: Some(parts),
            call,
            held_up: Duration::ZERO,
        }
    }

    fn is_live(&self) -> bool {
        self.parts.is_some()
    }

    /// `expendable`: the upload has enough other copies to go on without this
    /// one.
    async fn send(&mut self, part: WriteRequest, expendable: bool) {
        let Some(parts) = &self.parts else { return };
        let patience = if expendable {
            STALL_MAX.saturating_sub(self.held_up)
        } else {
            STALL_MAX
        };
        let start = Instant::now();
        match tokio::time::timeout(patience, parts.send(part)).await {
            Ok(Ok(())) => {
                self.held_up = (self.held_up + start.elapsed()).saturating_sub(PIECE_TIME);
                return;
            }
            Ok(Err(_)) => warn!(node = self.node, "a copy failed while it was sent"),
            Err(_) => warn!(node = self.node, "a copy fell behind and was dropped"),
        }
        self.parts = None;
        self.call.abort();
    }

    async fn finish(mut self, finish: WriteFinish) -> Result<u64, Status> {
        let finish = WriteRequest {
            part: Some(Part::Finish(finish)),
        };
        self.send(finish, false).await;
        // A stream that ends without its finish leaves nothing at the holder.
        if self.parts.take().is_none() {
            return Err(Status::unavailable(
                "the copy was dropped while it was sent",
            ));
        }
        match tokio::time::timeout(FINISH_TIMEOUT, &mut self.call).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Status::unavailable("the copy was cancelled")),
            Err(_) => Err(Status::deadline_exceeded(
                "the copy was not finished in time",
            )),
        }
    }
}

impl Drop for PeerCopy {
    fn drop(&mut self) {
        // What is given up must not linger at its holder. A call that has ended
        // does not mind.
        self.call.abort();
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
        holders: &mut Vec<u64>,
        hanging: &[u64],
    ) -> Result<(), ReplicationError> {
        let needed = self.copies_needed();
        for node in self.others(blob.digest.to_string().as_bytes()) {
            if self.staying(holders) >= needed {
                break;
            }
            if holders.contains(&node) || hanging.contains(&node) {
                continue;
            }
            if holders.len() >= needed && self.staying(&[node]) == 0 {
                continue;
            }
            match self.copy_to(node, blob).await {
                Ok(()) => holders.push(node),
                Err(error) => {
                    warn!(node, digest = %blob.digest, error = chain(&error), "a copy failed");
                }
            }
        }
        let durable = self.staying(holders);
        if holders.len() < needed || durable == 0 {
            return Err(ReplicationError::TooFewCopies { durable, needed });
        }
        Ok(())
    }

    /// Sends one blob of this node's to `node`.
    async fn copy_to(&self, node: u64, blob: &Committed) -> Result<(), ReplicationError> {
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
            .map_err(|status| ReplicationError::peer(node, status))?;
        Ok(())
    }
}
