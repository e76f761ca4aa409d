//! One blob of a task on its way: from where its destination has it already.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::query::Blob;
use entrepot_proto::peer::deposit_part::Part;
use entrepot_proto::peer::{DepositFinish, DepositHeader};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tracing::warn;

use super::{Destination, legacy};
use crate::ClusterBlobs;
use crate::deposit::{Ended, PIECES_WAITING_MAX, Start, last, send, start, stopped};
use crate::error::{ReplicationError, chain};
use crate::wire;

/// Blobs up to this size are sent without asking where to start, bytes.
const UNASKED_BYTES_MAX: u64 = 1024 * 1024;
/// For another sender of the same blob to come to its end.
const TURN_MAX: Duration = Duration::from_mins(10);

/// Brings a blob to a repository of the destination's, which `into` names.
pub(super) async fn put(
    destination: Destination,
    blobs: Arc<ClusterBlobs>,
    into: DepositHeader,
    blob: Blob,
) -> Result<(), ReplicationError> {
    let mut header = DepositHeader {
        digest: blob.digest.to_string(),
        size: blob.size,
        from_start: blob.size <= UNASKED_BYTES_MAX,
        ..into
    };
    let mut result = deposit(&destination, &blobs, &header, &blob).await;
    if header.from_start && is(&result, Code::Aborted) {
        // Somebody has brought a part of it before.
        header.from_start = false;
        result = deposit(&destination, &blobs, &header, &blob).await;
    }
    if is(&result, Code::Unimplemented) {
        result = legacy::put(&destination, &blobs, &header, &blob).await;
    }
    if is(&result, Code::DataLoss)
        && let Err(error) = blobs.recheck(blob).await
    {
        warn!(
            error = chain(&error),
            "a copy that a destination found wrong cannot be checked"
        );
    }
    result
}

fn is(result: &Result<(), ReplicationError>, code: Code) -> bool {
    matches!(result, Err(ReplicationError::Peer { status, .. }) if status.code() == code)
}

async fn deposit(
    destination: &Destination,
    blobs: &Arc<ClusterBlobs>,
    header: &DepositHeader,
    blob: &Blob,
) -> Result<(), ReplicationError> {
    let failed = |status: Status| destination.failed(status);
    let (parts, receiver) = mpsc::channel(PIECES_WAITING_MAX);
    let first = Part::Header(header.clone());
    send(&parts, first).await.map_err(failed)?;
    let mut client = destination.bulk.clone();
    let replies = client.deposit(ReceiverStream::new(receiver)).await;
    let mut replies = replies.map_err(failed)?.into_inner();
    let offset = if header.from_start {
        0
    } else {
        match start(&mut replies, TURN_MAX).await.map_err(failed)? {
            Start::At(offset) => offset,
            Start::Ended(Ended::Done | Ended::Held | Ended::Cancelled) => return Ok(()),
        }
    };
    if offset > blob.size {
        return Err(failed(Status::data_loss(
            "more of it is there than there is",
        )));
    }
    let content = blobs.open(blob.clone(), Some(offset..blob.size)).await?;
    let pump = async {
        let mut content = content;
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(|error| failed(Status::internal(error.to_string())))?;
            for piece in wire::cut(chunk) {
                if let Some(pace) = &destination.pace {
                    pace.spend(piece.len() as u64).await;
                }
                send(&parts, Part::Data(piece)).await.map_err(failed)?;
            }
        }
        let finish = DepositFinish {
            digest: header.digest.clone(),
            size: blob.size,
        };
        send(&parts, Part::Finish(finish)).await.map_err(failed)
    };
    tokio::select! {
        reply = stopped(&mut replies) => return reply.map(drop).map_err(failed),
        pumped = pump => pumped?,
    }
    last(replies, false).await.map(drop).map_err(failed)
}
