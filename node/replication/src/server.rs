//! The peer services `Node` and `Blobs`: this node's files, for the other nodes
//! of its region.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::{BlobError, BlobStore, Expected, Hashing, Staging};
use entrepot_metadata::{GroupId, Metadata, MetadataError, query};
use entrepot_proto::environment::Clock;
use entrepot_proto::peer::blobs_server::Blobs;
use entrepot_proto::peer::node_server::Node;
use entrepot_proto::peer::write_request::Part;
use entrepot_proto::peer::{
    CheckReply, CheckRequest, HeldReply, HeldRequest, Known, Piece, PingReply, PingRequest,
    RangesReply, RangesRequest, ReadRequest, StatReply, StatRequest, TreeRequest, UpkeepReply,
    UpkeepRequest, WriteFinish, WriteReply, WriteRequest,
};
use entrepot_proto::peers::PeerInfo;
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use crate::error::chain;
use crate::health::Health;
use crate::{ClusterBlobs, wire};

/// A copy whose sender is silent for this long is dropped. Longer than any
/// client may idle between two chunks is not needed: a dropped copy only means
/// that the sender makes another.
const WRITE_IDLE_MAX: Duration = Duration::from_hours(1);

/// Serves this node's blobs to its peers.
#[derive(Debug, Clone)]
pub struct BlobsServer {
    blobs: Arc<ClusterBlobs>,
    store: Arc<dyn BlobStore>,
}

/// Answers pings.
#[derive(Debug, Clone)]
pub struct PingServer {
    own: PeerInfo,
    health: Arc<Health>,
    metadata: Arc<dyn Metadata>,
    founders: Vec<u64>,
    clock: Arc<dyn Clock>,
}

// === impl PingServer ===

impl PingServer {
    /// `founders`: whom this node would found a cluster with; none, if it has
    /// been in one. Its copy of the records may be empty all the same, while it
    /// is built anew.
    pub fn new(
        own: PeerInfo,
        health: Arc<Health>,
        metadata: Arc<dyn Metadata>,
        mut founders: Vec<u64>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        founders.sort_unstable();
        Self {
            own,
            health,
            metadata,
            founders,
            clock,
        }
    }

    /// Whether the cluster was formed, and what is known of who asks.
    fn known(&self, asker: &PingRequest) -> Result<(bool, Known), MetadataError> {
        let view = self.metadata.view(&GroupId::global())?;
        let is_formed = query::is_formed(view.as_ref())?;
        let known = match query::member(view.as_ref(), asker.node)? {
            None => Known::Unspecified,
            Some(member) if member.is_removed() => Known::Removed,
            Some(member) => match member.folder {
                Some(folder) if folder[..] != asker.folder[..] => Known::OtherFolder,
                _ => Known::Member,
            },
        };
        Ok((is_formed, known))
    }
}

#[tonic::async_trait]
impl Node for PingServer {
    async fn ping(&self, request: Request<PingRequest>) -> Result<Response<PingReply>, Status> {
        let request = request.into_inner();
        let (is_formed, known) = match request.node {
            // Nobody wants to know, once a second.
            0 => (false, Known::Unspecified),
            _ => self
                .known(&request)
                .map_err(|error| Status::unavailable(chain(&error)))?,
        };
        let founders = match request.node {
            0 => Vec::new(),
            _ if is_formed => Vec::new(),
            _ => self.founders.clone(),
        };
        let space = self.health.space(self.own.id).unwrap_or_default();
        Ok(Response::new(PingReply {
            node: self.own.id,
            region: self.own.region.to_string(),
            capacity_bytes: space.capacity_bytes,
            free_bytes: space.free_bytes,
            is_full: space.is_full,
            is_formed,
            asker: known.into(),
            founders,
            now_ms: self.clock.now_ms(),
        }))
    }
}

/// Digests that one question may name.
pub const HELD_DIGESTS_MAX: usize = 1_000;

// === impl BlobsServer ===

impl BlobsServer {
    pub fn new(blobs: Arc<ClusterBlobs>) -> Self {
        let store = Arc::clone(blobs.store());
        Self { blobs, store }
    }

    async fn receive(
        &self,
        mut parts: Streaming<WriteRequest>,
        staging: &mut Box<dyn Staging>,
    ) -> Result<WriteFinish, Status> {
        loop {
            let part = tokio::time::timeout(WRITE_IDLE_MAX, parts.message())
                .await
                .map_err(|_| Status::deadline_exceeded("the sender went silent"))??;
            match part.and_then(|request| request.part) {
                Some(Part::Header(_)) => {}
                Some(Part::Data(data)) => staging.append(vec![data]).await.map_err(status)?,
                Some(Part::Finish(finish)) => return Ok(finish),
                None => return Err(Status::aborted("the stream ended without a finish")),
            }
        }
    }
}

#[tonic::async_trait]
impl Blobs for BlobsServer {
    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatReply>, Status> {
        let digest = wire::digest(&request.get_ref().digest)?;
        // Whoever asks may rely on the copy: one that is just being deleted is none.
        self.blobs.turns.quiet(&digest).await;
        let stat = self.store.stat(&digest).await.map_err(status)?;
        let verified = request.get_ref().verify
            && stat.is_some()
            && self.store.verify(&digest, 0, u64::MAX).await.is_ok();
        Ok(Response::new(StatReply {
            found: stat.is_some(),
            size: stat.map_or(0, |stat| stat.size),
            verified,
            keeps: self.blobs.placement(&digest).contains(&self.blobs.own()),
        }))
    }

    type TreeStream = Pin<Box<dyn Stream<Item = Result<Piece, Status>> + Send>>;

    async fn tree(
        &self,
        request: Request<TreeRequest>,
    ) -> Result<Response<Self::TreeStream>, Status> {
        let digest = wire::digest(&request.get_ref().digest)?;
        let tree = self.store.tree(&digest).await.map_err(status)?;
        let pieces = wire::cut(Bytes::from(tree.encode()));
        let pieces = pieces.into_iter().map(|data| Ok(Piece { data }));
        Ok(Response::new(Box::pin(futures::stream::iter(pieces))))
    }

    async fn ranges(&self, _: Request<RangesRequest>) -> Result<Response<RangesReply>, Status> {
        let ranges = self.blobs.repair.summaries();
        Ok(Response::new(RangesReply { ranges }))
    }

    async fn upkeep(
        &self,
        request: Request<UpkeepRequest>,
    ) -> Result<Response<UpkeepReply>, Status> {
        let start = request.get_ref().start_scrub;
        Ok(Response::new(self.blobs.upkeep(start)))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckReply>, Status> {
        let page = self.blobs.check_page(request.get_ref()).await;
        let page = page.map_err(|error| Status::unavailable(chain(&error)))?;
        Ok(Response::new(page))
    }

    async fn held(&self, request: Request<HeldRequest>) -> Result<Response<HeldReply>, Status> {
        let digests = request.into_inner().digests;
        if digests.len() > HELD_DIGESTS_MAX {
            return Err(Status::invalid_argument("too many digests in one question"));
        }
        let mut held = Vec::with_capacity(digests.len());
        for digest in &digests {
            let digest = wire::digest(digest)?;
            self.blobs.turns.quiet(&digest).await;
            held.push(self.store.stat(&digest).await.map_err(status)?.is_some());
        }
        Ok(Response::new(HeldReply { held }))
    }

    type ReadStream = Pin<Box<dyn Stream<Item = Result<Piece, Status>> + Send>>;

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let digest = wire::digest(&request.digest)?;
        let stat = self
            .store
            .stat(&digest)
            .await
            .map_err(status)?
            .ok_or_else(|| Status::not_found(format!("no copy of {digest} here")))?;
        let end = match request.length {
            0 => stat.size,
            length => request.offset.saturating_add(length),
        };
        if request.offset > end || end > stat.size {
            return Err(Status::out_of_range(format!(
                "{digest} has {} bytes",
                stat.size
            )));
        }
        let (_, content) = self
            .store
            .open(&digest, Some(request.offset..end))
            .await
            .map_err(status)?;
        Ok(Response::new(Box::pin(in_pieces(content))))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteRequest>>,
    ) -> Result<Response<WriteReply>, Status> {
        let mut staging = self.store.stage(Hashing::Root).await.map_err(status)?;
        let finish = match self.receive(request.into_inner(), &mut staging).await {
            Ok(finish) => finish,
            Err(problem) => {
                staging.discard().await;
                return Err(problem);
            }
        };
        let digest = wire::digest(&finish.digest)?;
        let root = finish
            .root
            .as_ref()
            .try_into()
            .map_err(|_| Status::invalid_argument("a root has 32 bytes"))?;
        let expected = Expected::Root {
            digest,
            size: finish.size,
            root,
        };
        let writing = self.blobs.begin_write(&digest).await;
        let writing = writing.map_err(|error| Status::unavailable(chain(&error)))?;
        let committed = staging.commit(expected).await.map_err(status)?;
        Ok(Response::new(WriteReply {
            size: committed.size,
            seen: writing.seen,
        }))
    }
}

/// Cuts what the disk gives into pieces of the size that suits the wire.
fn in_pieces(
    content: entrepot_blobs::BlobStream,
) -> impl Stream<Item = Result<Piece, Status>> + Send {
    content.flat_map(|chunk| {
        let pieces: Vec<Result<Bytes, Status>> = match chunk {
            Ok(chunk) => wire::cut(chunk).into_iter().map(Ok).collect(),
            Err(error) => {
                warn!(%error, "a blob cannot be read");
                vec![Err(Status::data_loss("the copy here cannot be read"))]
            }
        };
        futures::stream::iter(
            pieces
                .into_iter()
                .map(|piece| piece.map(|data| Piece { data })),
        )
    })
}

fn status(error: BlobError) -> Status {
    match error {
        BlobError::NotFound(digest) | BlobError::Damaged(digest) => {
            Status::not_found(format!("no copy of {digest} here"))
        }
        BlobError::Full => Status::resource_exhausted("the disk is full"),
        BlobError::DigestMismatch { .. } | BlobError::RootMismatch { .. } => {
            Status::data_loss("the content does not match")
        }
        other => {
            warn!(error = ?other, "a blob operation for a peer failed");
            Status::internal("the blob store failed")
        }
    }
}
