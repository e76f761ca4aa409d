//! Bytes of a blob from the other nodes, one source after the other.
//!
//! Owns the choice of the next source. The bytes are what the sources sent:
//! whether they are right is for the caller to find out.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::BlobStream;
use entrepot_metadata::query::Blob;
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::{Piece, ReadRequest};
use entrepot_proto::peers::MESSAGE_BYTES_MAX;
use futures::stream;
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, warn};

use crate::ClusterBlobs;
use crate::error::ReplicationError;

/// For a peer to send the first or the next piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);

/// A read that moves from peer to peer until it has all bytes.
#[derive(Debug)]
pub(crate) struct PeerRead {
    blobs: Arc<ClusterBlobs>,
    blob: Blob,
    range: Range<u64>,
    /// Where the next bytes start.
    next: u64,
    /// Still to be tried, best first.
    sources: std::vec::IntoIter<u64>,
    current: Option<(u64, Streaming<Piece>)>,
    /// Who has sent bytes since the last start.
    served: Vec<u64>,
    /// Who has sent wrong bytes.
    wrong: Vec<u64>,
    /// Every peer that was asked said for certain that it has no copy.
    all_absent: bool,
}

// === impl PeerRead ===

impl PeerRead {
    pub(crate) fn new(blobs: &Arc<ClusterBlobs>, blob: Blob, range: Range<u64>) -> Self {
        Self {
            sources: blobs.sources(&blob).into_iter(),
            blobs: Arc::clone(blobs),
            blob,
            next: range.start,
            range,
            current: None,
            served: Vec::new(),
            wrong: Vec::new(),
            all_absent: true,
        }
    }

    pub(crate) fn blob(&self) -> &Blob {
        &self.blob
    }

    /// Opens a stream at the next source that has the blob.
    pub(crate) async fn connect(&mut self) -> Result<(), ReplicationError> {
        for node in self.sources.by_ref() {
            match ask(&self.blobs, &self.blob, node, self.next..self.range.end).await {
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
        Err(if self.all_absent {
            ReplicationError::NotFound(self.blob.digest)
        } else {
            ReplicationError::Unreachable(self.blob.digest)
        })
    }

    /// The next bytes; none at the end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, ReplicationError> {
        while self.next < self.range.end {
            let Some((node, stream)) = &mut self.current else {
                self.connect().await?;
                continue;
            };
            let left = self.range.end - self.next;
            let problem = match tokio::time::timeout(PIECE_TIMEOUT, stream.message()).await {
                Ok(Ok(Some(piece))) if (1..=left).contains(&(piece.data.len() as u64)) => {
                    if self.served.last() != Some(node) {
                        self.served.push(*node);
                    }
                    self.next += piece.data.len() as u64;
                    return Ok(Some(piece.data));
                }
                Ok(Ok(Some(_))) => "it sent nothing, or more than was asked for".to_owned(),
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

    /// The bytes so far were wrong: goes back to the first one, without those
    /// who sent them. False: nobody else is left.
    pub(crate) fn start_over(&mut self) -> bool {
        for node in self.served.drain(..) {
            error!(node, digest = %self.blob.digest, "a peer may have sent wrong bytes");
            self.blobs.distrust(&self.blob.digest, node);
            self.wrong.push(node);
        }
        let mut sources = self.blobs.sources(&self.blob);
        sources.retain(|node| !self.wrong.contains(node));
        let any = !sources.is_empty();
        self.sources = sources.into_iter();
        self.current = None;
        self.next = self.range.start;
        self.all_absent = false;
        any
    }

    pub(crate) fn stream(self) -> BlobStream {
        Box::pin(stream::try_unfold(self, |mut read| async move {
            let piece = read.piece().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, read)))
        }))
    }
}

/// The bytes of `range` from `node`.
async fn ask(
    blobs: &ClusterBlobs,
    blob: &Blob,
    node: u64,
    range: Range<u64>,
) -> Result<Streaming<Piece>, Status> {
    let channel = blobs
        .peers
        .channel(node)
        .ok_or_else(|| Status::unavailable("not a peer"))?;
    let mut client = BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = ReadRequest {
        digest: blob.digest.to_string(),
        offset: range.start,
        length: range.end - range.start,
    };
    let reply = tokio::time::timeout(PIECE_TIMEOUT, client.read(request))
        .await
        .map_err(|_| Status::deadline_exceeded("no answer"))??;
    Ok(reply.into_inner())
}
