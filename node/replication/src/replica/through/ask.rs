//! Asking for blobs: a source, or the node of this region that asks the sources.

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::BlobStream;
use entrepot_oci::Digest;
use entrepot_proto::peer::offered_blob_reply::Part;
use entrepot_proto::peer::{OfferedBlobReply, OfferedBlobRequest, OfferedPlace};
use futures::{StreamExt as _, stream};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tracing::debug;

use super::super::ReplicaServer;
use super::offers::Source;
use super::{ANSWER_TIMEOUT, Target, away};
use crate::error::ReplicationError;

/// For a source to send the next piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// A blob that a source has.
pub(in super::super) struct FoundBlob {
    pub(super) source: Source,
    pub(super) node: u64,
    pub(in super::super) size: u64,
}

// === impl ReplicaServer ===

impl ReplicaServer {
    /// A stream of a blob's bytes from `offset` on.
    pub(super) async fn parts(
        &self,
        target: &Target,
        digest: &Digest,
        (found, node): (&FoundBlob, u64),
        offset: u64,
    ) -> Result<Streaming<OfferedBlobReply>, ReplicationError> {
        let place = target.place(Some(&found.source));
        let request = OfferedBlobRequest {
            offset,
            ..self.request(place, digest)
        };
        let (size, parts) = self.read_at(node, request).await.map_err(|it| away(&it))?;
        if size != found.size {
            return Err(ReplicationError::Mismatch { expected: *digest });
        }
        Ok(parts)
    }

    /// Asks the sources who has a blob.
    pub(in super::super) async fn find_blob(
        &self,
        target: &Target,
        sources: &[Source],
        digest: &Digest,
    ) -> Result<Option<FoundBlob>, ReplicationError> {
        let mut failed = None;
        for source in sources {
            let mut has_answered = false;
            for node in self.nodes_of(target, source) {
                let request = OfferedBlobRequest {
                    size_only: true,
                    ..self.request(target.place(Some(source)), digest)
                };
                match self.read_at(node, request).await {
                    Ok((size, _)) => {
                        let source = source.clone();
                        return Ok(Some(FoundBlob { source, node, size }));
                    }
                    Err(status) if is_absent(&status) => {
                        has_answered = true;
                        break;
                    }
                    Err(status) => debug!(node, %status, "a node does not say what it offers"),
                }
            }
            if !has_answered {
                failed = Some(source.region.to_string());
            }
        }
        failed.map_or(Ok(None), |region| Err(ReplicationError::RegionDown(region)))
    }

    /// What another node of this region finds out for it.
    pub(super) async fn size_at(
        &self,
        node: u64,
        place: OfferedPlace,
        digest: &Digest,
    ) -> Result<Option<u64>, ReplicationError> {
        let request = OfferedBlobRequest {
            size_only: true,
            ..self.request(place, digest)
        };
        match self.read_at(node, request).await {
            Ok((size, _)) => Ok(Some(size)),
            Err(status) if is_absent(&status) => Ok(None),
            Err(status) => Err(away(&status)),
        }
    }

    pub(super) async fn open_at(
        &self,
        node: u64,
        place: OfferedPlace,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<(u64, BlobStream)>, ReplicationError> {
        if range.as_ref().is_some_and(Range::is_empty) {
            // Of length 0, it would be taken for all of it.
            let size = self.size_at(node, place, digest).await?;
            return Ok(size.map(|size| (size, stream::empty().boxed())));
        }
        let wanted = range.clone().unwrap_or_default();
        let request = OfferedBlobRequest {
            offset: wanted.start,
            length: wanted.end - wanted.start,
            ..self.request(place, digest)
        };
        match self.read_at(node, request).await {
            Ok((size, parts)) => {
                let pieces = stream::try_unfold(parts, |mut parts| async move {
                    let piece = next_piece(&mut parts).await.map_err(io::Error::other)?;
                    Ok(piece.map(|piece| (piece, parts)))
                });
                Ok(Some((size, pieces.boxed())))
            }
            Err(status) if is_absent(&status) => Ok(None),
            Err(status) => Err(away(&status)),
        }
    }

    fn request(&self, place: OfferedPlace, digest: &Digest) -> OfferedBlobRequest {
        OfferedBlobRequest {
            place: Some(self.named(place)),
            digest: digest.to_string(),
            ..OfferedBlobRequest::default()
        }
    }

    /// How many bytes the whole has, and those that were asked for.
    async fn read_at(
        &self,
        node: u64,
        request: OfferedBlobRequest,
    ) -> Result<(u64, Streaming<OfferedBlobReply>), Status> {
        let mut client = self.client(node, !request.size_only)?;
        let begun = async {
            let mut parts = client.read_offered(request).await?.into_inner();
            match parts.message().await?.and_then(|reply| reply.part) {
                Some(Part::Size(size)) => Ok((size, parts)),
                _ => Err(Status::aborted("it does not say how long it is")),
            }
        };
        let silent = |_| Status::deadline_exceeded("no answer");
        timeout(ANSWER_TIMEOUT, begun).await.map_err(silent)?
    }
}

/// A region that says that it does not offer something, or that cannot.
fn is_absent(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::NotFound | Code::PermissionDenied | Code::Unimplemented
    )
}

pub(super) async fn next_piece(
    parts: &mut Streaming<OfferedBlobReply>,
) -> Result<Option<Bytes>, ReplicationError> {
    let silent = |_| away(&Status::deadline_exceeded("the source went silent"));
    let next = timeout(PIECE_TIMEOUT, parts.message()).await;
    match next.map_err(silent)?.map_err(|status| away(&status))? {
        None => Ok(None),
        Some(OfferedBlobReply {
            part: Some(Part::Data(data)),
        }) => Ok(Some(data)),
        Some(_) => Err(away(&Status::aborted("it says twice how long it is"))),
    }
}
