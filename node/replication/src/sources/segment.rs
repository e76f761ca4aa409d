//! A part of a blob on its way from one node.

use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use entrepot_oci::Digest;
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::{Piece, ReadRequest};
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, PeerChannel};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// For a peer to send the first or the next piece.
pub(super) const PIECE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pieces of one segment, and some for a peer that cuts them smaller.
const SEGMENT_PIECES_MAX: usize = 32;

/// Bytes of a blob on their way from one node.
#[derive(Debug)]
pub(super) struct Segment {
    node: u64,
    end: u64,
    pieces: mpsc::Receiver<Result<Bytes, Status>>,
}

// === impl Segment ===

impl Segment {
    /// Takes the bytes of `range` as they come, until they are all here or
    /// nobody wants them any more.
    pub(super) fn start(
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

    pub(super) fn node(&self) -> u64 {
        self.node
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// None: it sends no more.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        self.pieces.recv().await
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
pub(super) async fn ask(
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
