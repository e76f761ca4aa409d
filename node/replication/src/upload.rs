//! Writing a blob: staged here and on its other holders while it arrives.
//!
//! This node hashes with the client's algorithm; the copies are proven by their
//! BLAKE3 root. An upload is stored once a majority of the copies are durable.
//! A holder that fails or falls behind is dropped from the upload, never waited
//! for; repair gives it its copy later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::{BlobError, Committed, Expected, Hashing, Staging};
use entrepot_oci::{Algorithm, Digest};
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::{WriteFinish, WriteHeader, WriteRequest, write_request::Part};
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, PeerChannel};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::warn;

use crate::ClusterBlobs;
use crate::error::ReplicationError;
use crate::wire::Pieces;

/// Pieces that may wait for one holder: 4 MiB.
const PIECES_WAITING_MAX: usize = 16;
/// A holder that takes no piece for this long is dropped from the upload.
const STALL_MAX: Duration = Duration::from_secs(5);
/// For a holder to verify and sync a finished copy.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);

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
}

/// One copy on its way to another node.
#[derive(Debug)]
struct PeerCopy {
    node: u64,
    /// None once the copy has failed.
    parts: Option<mpsc::Sender<WriteRequest>>,
    call: JoinHandle<Result<u64, Status>>,
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// Starts an upload whose digest will be of `algorithm`. `key` spreads
    /// uploads over the nodes.
    pub async fn begin(
        self: &Arc<Self>,
        algorithm: Algorithm,
        key: &[u8],
    ) -> Result<Upload, ReplicationError> {
        let staging = self.store.stage(Hashing::Client(algorithm)).await?;
        let copies = self
            .others(key, &[])
            .into_iter()
            .filter(|node| self.health.is_alive(*node))
            .take(self.copies() - 1)
            .filter_map(|node| Some(PeerCopy::start(node, self.peers.channel(node)?)))
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
        let copies = futures::future::join_all(
            self.copies.iter_mut().map(|copy| copy.send(part.clone())),
        );
        let (appended, _) = futures::future::join(self.staging.append(vec![piece]), copies).await;
        Ok(appended?)
    }

    /// Verifies the content against `expected` and makes it durable here and on
    /// enough other nodes. On an error nothing becomes visible anywhere.
    pub async fn commit(mut self, expected: Digest) -> Result<Stored, ReplicationError> {
        self.flush().await?;
        let Self {
            blobs,
            staging,
            copies,
            ..
        } = self;
        // The usual case is decided before any copy is asked to finish.
        if let Some(digest) = staging.digest()
            && digest.algorithm() == expected.algorithm()
            && digest != expected
        {
            staging.discard().await;
            return Err(ReplicationError::Mismatch { expected });
        }
        let finish = WriteFinish {
            digest: expected.to_string(),
            size: staging.size(),
            root: Bytes::copy_from_slice(&staging.root()),
        };
        let same_algorithm = staging
            .digest()
            .is_some_and(|digest| digest.algorithm() == expected.algorithm());
        let local = commit_local(staging, expected.clone());
        let (committed, mut finishing) = if same_algorithm {
            let finishing = finish_all(copies, &finish);
            (local.await?, finishing)
        } else {
            (local.await?, finish_all(copies, &finish))
        };

        let mut holders = vec![blobs.own()];
        let needed = blobs.copies_needed();
        while holders.len() < needed {
            match finishing.next().await {
                Some((node, Ok(_))) => holders.push(node),
                Some((node, Err(status))) => {
                    warn!(node, digest = %expected, %status, "a copy failed");
                }
                None => break,
            }
        }
        // The copies that are not needed for the acknowledgement go on.
        tokio::spawn(async move { while finishing.next().await.is_some() {} });
        if holders.len() < needed {
            blobs.copy_to_more(&committed, &mut holders).await?;
        }
        Ok(Stored {
            digest: committed.digest,
            size: committed.size,
            root: committed.root,
            holders,
        })
    }

    /// Leaves nothing behind, here or elsewhere.
    pub async fn discard(self) {
        self.staging.discard().await;
    }
}

async fn commit_local(
    staging: Box<dyn Staging>,
    expected: Digest,
) -> Result<Committed, ReplicationError> {
    match staging.commit(Expected::Digest(expected.clone())).await {
        Err(BlobError::DigestMismatch { .. }) => Err(ReplicationError::Mismatch { expected }),
        other => Ok(other?),
    }
}

type Finishing = FuturesUnordered<futures::future::BoxFuture<'static, (u64, Result<u64, Status>)>>;

fn finish_all(copies: Vec<PeerCopy>, finish: &WriteFinish) -> Finishing {
    copies
        .into_iter()
        .map(|copy| {
            let node = copy.node;
            let finish = finish.clone();
            let done: futures::future::BoxFuture<'static, _> =
                Box::pin(async move { (node, copy.finish(finish).await) });
            done
        })
        .collect()
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
            let mut client =
                BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let reply = client.write(ReceiverStream::new(receiver)).await?;
            Ok(reply.into_inner().size)
        });
        Self {
            node,
            parts: Some(parts),
            call,
        }
    }

    async fn send(&mut self, part: WriteRequest) {
        let Some(parts) = &self.parts else { return };
        let sent = tokio::time::timeout(STALL_MAX, parts.send(part)).await;
        if !matches!(sent, Ok(Ok(()))) {
            warn!(node = self.node, "a copy fell behind and was dropped");
            self.parts = None;
            self.call.abort();
        }
    }

    async fn finish(mut self, finish: WriteFinish) -> Result<u64, Status> {
        self.send(WriteRequest {
            part: Some(Part::Finish(finish)),
        })
        .await;
        if self.parts.take().is_none() {
            return Err(Status::unavailable("the copy was dropped while it was sent"));
        }
        match tokio::time::timeout(FINISH_TIMEOUT, &mut self.call).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Status::unavailable("the copy was cancelled")),
            Err(_) => {
                self.call.abort();
                Err(Status::deadline_exceeded("the copy was not finished in time"))
            }
        }
    }
}

impl Drop for PeerCopy {
    fn drop(&mut self) {
        // An upload that is dropped must not linger at its holders.
        if self.parts.is_some() {
            self.call.abort();
        }
    }
}

// === impl ClusterBlobs: copies of what is here ===

impl ClusterBlobs {
    /// Sends a blob of this node's to other nodes until enough copies are
    /// durable.
    async fn copy_to_more(
        &self,
        blob: &Committed,
        holders: &mut Vec<u64>,
    ) -> Result<(), ReplicationError> {
        let needed = self.copies_needed();
        for node in self.others(blob.digest.to_string().as_bytes(), &[]) {
            if holders.len() >= needed {
                break;
            }
            if holders.contains(&node) {
                continue;
            }
            match self.copy_to(node, blob).await {
                Ok(()) => holders.push(node),
                Err(error) => {
                    warn!(node, digest = %blob.digest, %error, "a copy failed");
                }
            }
        }
        if holders.len() < needed {
            return Err(ReplicationError::TooFewCopies {
                durable: holders.len(),
                needed,
            });
        }
        Ok(())
    }

    /// Sends one blob of this node's to `node`.
    async fn copy_to(&self, node: u64, blob: &Committed) -> Result<(), ReplicationError> {
        let channel = self
            .peers
            .channel(node)
            .ok_or(ReplicationError::Unreachable(blob.digest.clone()))?;
        let (_, mut content) = self.store.open(&blob.digest, None).await?;
        let mut copy = PeerCopy::start(node, channel);
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(|error| {
                ReplicationError::peer(node, Status::internal(error.to_string()))
            })?;
            let mut pieces = Pieces::default();
            let mut full = pieces.push(chunk);
            full.extend(pieces.finish());
            for piece in full {
                copy.send(WriteRequest {
                    part: Some(Part::Data(piece)),
                })
                .await;
            }
        }
        copy.finish(WriteFinish {
            digest: blob.digest.to_string(),
            size: blob.size,
            root: Bytes::copy_from_slice(&blob.root),
        })
        .await
        .map_err(|status| ReplicationError::peer(node, status))?;
        Ok(())
    }
}
