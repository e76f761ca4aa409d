//! Reading a blob: this node's copy, else a peer's, passed on while it arrives.
//!
//! A whole blob that comes from a peer is kept here too. It is verified as it
//! passes, and its last piece is held back until it has proved right: a reader
//! that got every byte got the right ones. A peer that fails in mid-stream is
//! replaced by the next without the reader noticing.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::{BlobError, BlobStat, BlobStream, Expected, Hashing, Staging};
use entrepot_metadata::query::Blob;
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::{Piece, ReadRequest};
use entrepot_proto::peers::MESSAGE_BYTES_MAX;
use futures::stream;
use tonic::{Code, Status, Streaming};
use tracing::{debug, warn};

use crate::ClusterBlobs;
use crate::error::ReplicationError;

/// For a peer to send the first or the next piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);

/// A read that moves from peer to peer until it has all bytes.
#[derive(Debug)]
struct PeerRead {
    blobs: Arc<ClusterBlobs>,
    blob: Blob,
    next: u64,
    end: u64,
    /// Still to be tried, best first.
    sources: std::vec::IntoIter<u64>,
    current: Option<(u64, Streaming<Piece>)>,
    /// Every peer that was asked said for certain that it has no copy.
    all_absent: bool,
}

/// A whole blob on its way through this node.
#[derive(Debug)]
struct Passing {
    read: PeerRead,
    /// None once keeping a copy has failed; the reader is served all the same,
    /// after which its own check of the digest stands alone.
    staging: Option<Box<dyn Staging>>,
    held: Option<Bytes>,
    done: bool,
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// The bytes of a blob of this region (`None`: all of it).
    pub async fn open(
        self: &Arc<Self>,
        blob: Blob,
        range: Option<Range<u64>>,
    ) -> Result<BlobStream, ReplicationError> {
        match self.store.open(&blob.digest, range.clone()).await {
            Ok((_, content)) => return Ok(content),
            Err(BlobError::NotFound(_)) => {}
            Err(error) => {
                warn!(digest = %blob.digest, %error, "this node's copy cannot be read");
            }
        }
        let whole = range.as_ref().is_none_or(|r| *r == (0..blob.size));
        let range = range.unwrap_or(0..blob.size);
        let mut read = PeerRead::new(Arc::clone(self), blob, range);
        read.connect().await?;
        if whole {
            let staging = self.store.stage(Hashing::Root).await.ok();
            Ok(Passing::new(read, staging).stream())
        } else {
            Ok(read.stream())
        }
    }

    /// Makes sure that this node has its own copy.
    pub async fn fetch(self: &Arc<Self>, blob: Blob) -> Result<BlobStat, ReplicationError> {
        if let Some(stat) = self.store.stat(&blob.digest).await? {
            return Ok(stat);
        }
        let digest = blob.digest.clone();
        let size = blob.size;
        let mut staging = self.store.stage(Hashing::Root).await?;
        let expected = expected(&blob);
        let mut read = PeerRead::new(Arc::clone(self), blob, 0..size);
        while let Some(piece) = read.piece().await? {
            staging.append(vec![piece]).await?;
        }
        staging.commit(expected).await?;
        Ok(BlobStat { digest, size })
    }
}

fn expected(blob: &Blob) -> Expected {
    Expected::Root {
        digest: blob.digest.clone(),
        size: blob.size,
        root: blob.root,
    }
}

// === impl PeerRead ===

impl PeerRead {
    fn new(blobs: Arc<ClusterBlobs>, blob: Blob, range: Range<u64>) -> Self {
        let sources = blobs.others(blob.digest.to_string().as_bytes(), &blob.holders);
        Self {
            blobs,
            blob,
            next: range.start,
            end: range.end,
            sources: sources.into_iter(),
            current: None,
            all_absent: true,
        }
    }

    /// Opens a stream at the next source that has the blob.
    async fn connect(&mut self) -> Result<(), ReplicationError> {
        loop {
            let Some(node) = self.sources.next() else {
                return Err(if self.all_absent {
                    ReplicationError::NotFound(self.blob.digest.clone())
                } else {
                    ReplicationError::Unreachable(self.blob.digest.clone())
                });
            };
            match self.ask(node).await {
                Ok(stream) => {
                    self.current = Some((node, stream));
                    return Ok(());
                }
                Err(status) => {
                    self.all_absent &= status.code() == Code::NotFound;
                    debug!(node, digest = %self.blob.digest, %status, "a peer cannot serve a blob");
                }
            }
        }
    }

    async fn ask(&self, node: u64) -> Result<Streaming<Piece>, Status> {
        let channel = self
            .blobs
            .peers
            .channel(node)
            .ok_or_else(|| Status::unavailable("not a peer"))?;
        let mut client = BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = ReadRequest {
            digest: self.blob.digest.to_string(),
            offset: self.next,
            length: self.end - self.next,
        };
        let reply = tokio::time::timeout(PIECE_TIMEOUT, client.read(request))
            .await
            .map_err(|_| Status::deadline_exceeded("no answer"))??;
        Ok(reply.into_inner())
    }

    /// The next bytes; none at the end.
    async fn piece(&mut self) -> Result<Option<Bytes>, ReplicationError> {
        while self.next < self.end {
            if self.current.is_none() {
                self.connect().await?;
            }
            let Some((node, stream)) = &mut self.current else {
                continue;
            };
            let problem = match tokio::time::timeout(PIECE_TIMEOUT, stream.message()).await {
                Ok(Ok(Some(piece))) if piece.data.len() as u64 <= self.end - self.next => {
                    self.next += piece.data.len() as u64;
                    return Ok(Some(piece.data));
                }
                Ok(Ok(Some(_))) => "it sent more than was asked for".to_owned(),
                Ok(Ok(None)) => "it stopped early".to_owned(),
                Ok(Err(status)) => status.to_string(),
                Err(_) => "it stalled".to_owned(),
            };
            warn!(node = *node, digest = %self.blob.digest, problem, "a peer failed while sending a blob");
            self.all_absent = false;
            self.current = None;
        }
        Ok(None)
    }

    fn stream(self) -> BlobStream {
        Box::pin(stream::try_unfold(self, |mut read| async move {
            let piece = read.piece().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, read)))
        }))
    }
}

// === impl Passing ===

impl Passing {
    fn new(read: PeerRead, staging: Option<Box<dyn Staging>>) -> Self {
        Self {
            read,
            staging,
            held: None,
            done: false,
        }
    }

    /// The next bytes for the reader, one piece behind what has arrived.
    async fn piece(&mut self) -> Result<Option<Bytes>, ReplicationError> {
        while !self.done {
            if let Some(piece) = self.read.piece().await? {
                self.keep(piece.clone()).await;
                if let Some(previous) = self.held.replace(piece) {
                    return Ok(Some(previous));
                }
            } else {
                self.done = true;
                self.finish().await?;
            }
        }
        Ok(self.held.take())
    }

    async fn keep(&mut self, piece: Bytes) {
        if let Some(staging) = &mut self.staging
            && let Err(error) = staging.append(vec![piece]).await
        {
            warn!(digest = %self.read.blob.digest, %error, "a passing blob could not be kept");
            self.staging = None;
        }
    }

    async fn finish(&mut self) -> Result<(), ReplicationError> {
        let Some(staging) = self.staging.take() else {
            return Ok(());
        };
        let blob = &self.read.blob;
        if staging.root() != blob.root {
            staging.discard().await;
            return Err(ReplicationError::Mismatch {
                expected: blob.digest.clone(),
            });
        }
        if let Err(error) = staging.commit(expected(blob)).await {
            warn!(digest = %blob.digest, %error, "a passing blob could not be kept");
        }
        Ok(())
    }

    fn stream(self) -> BlobStream {
        Box::pin(stream::try_unfold(self, |mut passing| async move {
            let piece = passing.piece().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, passing)))
        }))
    }
}
