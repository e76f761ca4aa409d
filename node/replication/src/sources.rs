//! Bytes of a blob from the other nodes, one source after the other.
//!
//! Owns the choice of the next source. The bytes are what the sources sent:
//! whether they are right is for the caller to find out.
//!
//! A source is asked for one segment after the other, and a segment is taken off
//! the connection as it arrives, whether the reader wants it yet or not: a
//! stream that waits for its reader would hold up, with few others, all that two
//! nodes have to say to each other.

use std::future::{Future, ready};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::BlobStream;
use entrepot_metadata::query::Blob;
use entrepot_oci::Digest;
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::{Piece, ReadRequest};
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, PeerChannel};
use futures::stream;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, warn};

use crate::ClusterBlobs;
use crate::error::ReplicationError;

/// For a peer to send the first or the next piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one segment. A reader has one in hand and one ahead.
const SEGMENT_BYTES: u64 = 2 * 1024 * 1024;
/// Pieces of one segment, and some for a peer that cuts them smaller.
const SEGMENT_PIECES_MAX: usize = 32;

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
    current: Option<Segment>,
    ahead: Option<Segment>,
    /// Who has sent bytes since the last start.
    served: Vec<u64>,
    /// Who has sent wrong bytes.
    wrong: Vec<u64>,
    /// Every peer that was asked said for certain that it has no copy.
    all_absent: bool,
}

/// Bytes of a blob on their way from one node.
#[derive(Debug)]
struct Segment {
    node: u64,
    end: u64,
    pieces: mpsc::Receiver<Result<Bytes, Status>>,
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
            ahead: None,
            served: Vec::new(),
            wrong: Vec::new(),
            all_absent: true,
        }
    }

    pub(crate) fn blob(&self) -> &Blob {
        &self.blob
    }

    /// Turns to the next source that has the blob.
    pub(crate) async fn connect(&mut self) -> Result<(), ReplicationError> {
        let segment = self.segment(self.next);
        for node in self.sources.by_ref() {
            let Some(channel) = self.blobs.peers.bulk_channel(node) else {
                continue;
            };
            match ask(channel, self.blob.digest, segment.clone()).await {
                Ok(stream) => {
                    let stream = ready(Ok(stream));
                    self.current = Some(Segment::start(node, segment, stream));
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
            if let Some(segment) = &self.current
                && segment.end == self.next
            {
                self.current = self.ahead.take();
            }
            if self.current.is_none() {
                self.connect().await?;
            }
            self.look_ahead();
            let Some(segment) = &mut self.current else {
                continue;
            };
            let left = segment.end - self.next;
            let problem = match segment.pieces.recv().await {
                Some(Ok(piece)) if (1..=left).contains(&(piece.len() as u64)) => {
                    if self.served.last() != Some(&segment.node) {
                        self.served.push(segment.node);
                    }
                    self.next += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Some(Ok(_)) => "it sent nothing, or more than was asked for".to_owned(),
                Some(Err(status)) => status.to_string(),
                None => "it stopped early".to_owned(),
            };
            warn!(node = segment.node, digest = %self.blob.digest, problem,
                "a peer failed while sending a blob");
            self.all_absent = false;
            self.current = None;
            self.ahead = None;
        }
        Ok(None)
    }

    /// Asks for the segment that follows the current one.
    fn look_ahead(&mut self) {
        if let Some(current) = &self.current
            && self.ahead.is_none()
            && current.end < self.range.end
            && let Some(channel) = self.blobs.peers.bulk_channel(current.node)
        {
            let segment = self.segment(current.end);
            let asked = ask(channel, self.blob.digest, segment.clone());
            self.ahead = Some(Segment::start(current.node, segment, asked));
        }
    }

    fn segment(&self, start: u64) -> Range<u64> {
        start..self.range.end.min(start + SEGMENT_BYTES)
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
        self.ahead = None;
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

// === impl Segment ===

impl Segment {
    /// Takes the bytes of `range` as they come, until they are all here or
    /// nobody wants them any more.
    fn start(
        node: u64,
        range: Range<u64>,
        stream: impl Future<Output = Result<Streaming<Piece>, Status>> + Send + 'static,
    ) -> Self {
        let (sender, pieces) = mpsc::channel(SEGMENT_PIECES_MAX);
        tokio::spawn(async move {
            let taken = take(stream, &sender);
            tokio::select! {
                taken = taken => if let Err(status) = taken {
                    // Nobody listening: nobody cares.
                    let _ = sender.send(Err(status)).await;
                },
                () = sender.closed() => {}
            }
        });
        Self {
            node,
            end: range.end,
            pieces,
        }
    }
}

async fn take(
    stream: impl Future<Output = Result<Streaming<Piece>, Status>>,
    pieces: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<(), Status> {
    let mut stream = stream.await?;
    loop {
        let message = tokio::time::timeout(PIECE_TIMEOUT, stream.message())
            .await
            .map_err(|_| Status::deadline_exceeded("it stalled"))??;
        let Some(piece) = message else { return Ok(()) };
        if pieces.send(Ok(piece.data)).await.is_err() {
            return Ok(());
        }
    }
}

/// The bytes of `range`, as a stream of its own.
async fn ask(
    channel: PeerChannel,
    digest: Digest,
    range: Range<u64>,
) -> Result<Streaming<Piece>, Status> {
    let mut client = BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = ReadRequest {
        digest: digest.to_string(),
        offset: range.start,
        length: range.end - range.start,
    };
    let reply = tokio::time::timeout(PIECE_TIMEOUT, client.read(request))
        .await
        .map_err(|_| Status::deadline_exceeded("no answer"))??;
    Ok(reply.into_inner())
}
