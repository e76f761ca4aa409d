//! The copies of an upload on their way to other nodes.
//!
//! A holder that fails or stalls is dropped; what is given up does not linger
//! there.

use std::time::Duration;

use entrepot_oci::Digest;
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::{WriteFinish, WriteHeader, WriteRequest, write_request::Part};
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, PeerChannel};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tracing::warn;

use super::Holders;
use crate::ClusterBlobs;

/// Pieces that may wait for one holder: 4 MiB.
pub(super) const PIECES_WAITING_MAX: usize = 16;
/// A holder that takes no piece for this long is dropped from the upload. So is
/// one that has held it up for this long in all, if enough others are left.
const STALL_MAX: Duration = Duration::from_secs(5);
/// A holder may take this long for a piece without holding an upload up: 5 MiB/s.
const PIECE_TIME: Duration = Duration::from_millis(50);
/// For a holder to verify and sync a finished copy.
const FINISH_TIMEOUT: Duration = Duration::from_mins(1);

/// One copy on its way to another node.
#[derive(Debug)]
pub(super) struct PeerCopy {
    pub(super) node: u64,
    /// None once the copy has failed.
    parts: Option<mpsc::Sender<WriteRequest>>,
    /// What its node had applied when it looked for collections of the blob.
    call: JoinHandle<Result<u64, Status>>,
    /// How long the upload has waited for it, beyond the time that it may take.
    pub(super) held_up: Duration,
}

/// Copies that are being finished; dropped, they are given up.
pub(super) type Finishing = JoinSet<(u64, Result<u64, Status>)>;

pub(super) fn finish_all(copies: Vec<PeerCopy>, finish: &WriteFinish) -> Finishing {
    let mut finishing = Finishing::new();
    for copy in copies {
        let finish = finish.clone();
        finishing.spawn(async move { (copy.node, copy.finish(finish).await) });
    }
    finishing
}

/// The copies that were waited for in vain.
#[derive(Debug, Default)]
pub(super) struct Failed {
    /// Those that did not answer in time.
    pub(super) hanging: Vec<u64>,
    /// Whether a disk had no room.
    pub(super) full: bool,
}

/// Adds the nodes that have finished their copies to `holders`, until those are
/// enough or nothing is left to wait for.
pub(super) async fn gather(
    blobs: &ClusterBlobs,
    finishing: &mut Finishing,
    holders: &mut Holders,
    digest: &Digest,
) -> Failed {
    let mut failed = Failed::default();
    while blobs.staying(&holders.nodes) < blobs.copies_needed() {
        match finishing.join_next().await {
            Some(Ok((node, Ok(seen)))) => {
                if blobs.counts(digest, seen) {
                    holders.add(node, seen);
                } else {
                    warn!(node, %digest, "a copy does not count: its node is behind the log");
                }
            }
            Some(Ok((node, Err(status)))) => {
                warn!(node, %digest, %status, "a copy failed");
                failed.full |= status.code() == Code::ResourceExhausted;
                if status.code() == Code::DeadlineExceeded {
                    failed.hanging.push(node);
                }
            }
            Some(Err(error)) => warn!(%digest, %error, "a copy failed"),
            None => break,
        }
    }
    failed
}

// === impl PeerCopy ===

impl PeerCopy {
    pub(super) fn start(node: u64, channel: PeerChannel) -> Self {
        let (parts, receiver) = mpsc::channel(PIECES_WAITING_MAX);
        // The channel is empty: this cannot fail.
        let _ = parts.try_send(WriteRequest {
            part: Some(Part::Header(WriteHeader {})),
        });
        let call = tokio::spawn(async move {
            let mut client = BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let reply = client.write(ReceiverStream::new(receiver)).await?;
            Ok(reply.into_inner().seen)
        });
        Self {
            node,
            parts: Some(parts),
            call,
            held_up: Duration::ZERO,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.parts.is_some()
    }

    /// `expendable`: the upload has enough other copies to go on without this
    /// one.
    pub(super) async fn send(&mut self, part: WriteRequest, expendable: bool) {
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
            // The call has ended, or is about to, with the reason.
            Ok(Err(_)) => warn!(node = self.node, "a copy failed while it was sent"),
            Err(_) => {
                warn!(node = self.node, "a copy fell behind and was dropped");
                self.call.abort();
            }
        }
        self.parts = None;
    }

    pub(super) async fn finish(mut self, finish: WriteFinish) -> Result<u64, Status> {
        let finish = WriteRequest {
            part: Some(Part::Finish(finish)),
        };
        self.send(finish, false).await;
        // A stream that ends without its finish leaves nothing at the holder.
        let is_sent = self.parts.take().is_some();
        match tokio::time::timeout(FINISH_TIMEOUT, &mut self.call).await {
            Ok(Ok(Ok(_))) if !is_sent => Err(Status::unavailable("the copy ended early")),
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Status::unavailable(
                "the copy was dropped while it was sent",
            )),
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
