//! A blob for a destination of an older release: all of it in one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use entrepot_blobs::BlobStream;
use entrepot_metadata::query::Blob;
use entrepot_proto::peer::replica_blob::Part;
use entrepot_proto::peer::{DepositHeader, ReplicaBlob, ReplicaBlobHeader};
use futures::{StreamExt, stream};
use tonic::{Request, Status};

use super::Destination;
use crate::ClusterBlobs;
use crate::error::ReplicationError;
use crate::wire::{self, Outgoing};

/// For one blob, whatever its size and the link's speed.
const BLOB_TIMEOUT: Duration = Duration::from_hours(6);
/// For a destination to take the next piece of a blob, or to verify the whole
/// and make its copies durable.
const STALL_MAX: Duration = Duration::from_mins(10);

pub(super) async fn put(
    destination: &Destination,
    blobs: &Arc<ClusterBlobs>,
    header: &DepositHeader,
    blob: &Blob,
) -> Result<(), ReplicationError> {
    let header = ReplicaBlobHeader {
        account: header.account.clone(),
        repository: header.repository.clone(),
        digest: header.digest.clone(),
        size: header.size,
        source_account: header.source_account.clone(),
    };
    let content = blobs.open(blob.clone(), None).await?;
    let taken = Arc::new(AtomicU64::new(0));
    let mut request = Request::new(parts(header, content, Arc::clone(&taken)));
    request.set_timeout(BLOB_TIMEOUT);
    let mut client = destination.bulk.clone();
    let reply = tokio::select! {
        reply = client.put_blob(request) => reply,
        () = stalled(&taken) => Err(Status::deadline_exceeded("it takes no more bytes")),
    };
    destination.done(reply)
}

/// A blob's stream ends after an error: the destination sees that bytes are
/// missing and keeps nothing. `taken` counts the pieces that are on their way.
fn parts(
    header: ReplicaBlobHeader,
    content: BlobStream,
    taken: Arc<AtomicU64>,
) -> Outgoing<ReplicaBlob> {
    let pieces = content
        .flat_map(|chunk| stream::iter(chunk.map(wire::cut).unwrap_or_default()))
        .map(Part::Data);
    let parts = stream::iter([Part::Header(header)])
        .chain(pieces)
        .inspect(move |_| {
            taken.fetch_add(1, Ordering::Relaxed);
        })
        .map(|part| ReplicaBlob { part: Some(part) });
    Outgoing::new(parts)
}

/// Returns once `taken` has not grown for [`STALL_MAX`].
async fn stalled(taken: &AtomicU64) {
    let mut before = None;
    loop {
        let now = Some(taken.load(Ordering::Relaxed));
        if now == before {
            return;
        }
        before = now;
        tokio::time::sleep(STALL_MAX).await;
    }
}
