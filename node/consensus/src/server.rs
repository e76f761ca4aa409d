//! What peers ask of this node's groups.
//!
//! A message names the node it is meant for: one that reached another, because
//! an address was given to a new node, is refused before anybody acts on it.

use std::sync::Arc;

use entrepot_metadata::{LEVEL, StorageError};
use entrepot_proto::peer;
use entrepot_proto::peer::metadata_server::Metadata;
use entrepot_proto::peer::raft_server::Raft;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tonic::{Request, Response, Status, Streaming};

use crate::consensus::Groups;
use crate::group::Group;
use crate::incoming::{Announced, IncomingError};
use crate::propose::Attempt;
use crate::snapshot::SnapshotFile;
use crate::types::{Position, Snapshot, Vote};
use crate::wire::{self, WireError};

/// Raft's messages, for all groups of a node.
#[derive(Debug, Clone)]
pub struct RaftService(pub(crate) Arc<Groups>);

/// Proposals and reads of nodes that do not lead.
#[derive(Debug, Clone)]
pub struct MetadataService(pub(crate) Arc<Groups>);

type Reply<T> = Result<Response<T>, Status>;

// === impl RaftService ===

#[tonic::async_trait]
impl Raft for RaftService {
    async fn append(&self, request: Request<peer::AppendRequest>) -> Reply<peer::AppendReply> {
        let request = request.into_inner();
        let group = self.0.addressed(&request.group, request.target)?;
        let request = wire::append_from_wire(request).map_err(malformed)?;
        let reply = group.raft.append_entries(request).await.map_err(stopped)?;
        Ok(Response::new(wire::appended_to_wire(&reply)))
    }

    async fn vote(&self, request: Request<peer::VoteRequest>) -> Reply<peer::VoteReply> {
        let request = request.into_inner();
        let group = self.0.addressed(&request.group, request.target)?;
        let vote = wire::vote_request_from_wire(&request).map_err(malformed)?;
        let reply = if request.pre_vote {
            group.raft.pre_vote(vote).await
        } else {
            group.raft.vote(vote).await
        };
        Ok(Response::new(wire::voted_to_wire(&reply.map_err(stopped)?)))
    }

    async fn snapshot_progress(
        &self,
        request: Request<peer::SnapshotHeader>,
    ) -> Reply<peer::SnapshotProgressReply> {
        let header = request.into_inner();
        let group = self.0.addressed(&header.group, header.target)?;
        let position = wire::position_from_wire(&header).map_err(malformed)?;
        let vote = group.newer_vote(&header)?;
        if vote.is_ok() {
            group.check_level(&position)?;
        }
        let (Ok(vote) | Err(vote)) = vote;
        let announced = Announced::new(position, &header);
        Ok(Response::new(peer::SnapshotProgressReply {
            vote: Some(wire::vote_to_wire(&vote)),
            received_bytes: group.incoming.received(&announced).await,
        }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<peer::SnapshotPiece>>,
    ) -> Reply<peer::SnapshotReply> {
        let mut pieces = request.into_inner();
        let first = pieces.message().await?.and_then(|message| message.piece);
        let Some(peer::snapshot_piece::Piece::Header(header)) = first else {
            return Err(Status::invalid_argument("the first message is no header"));
        };
        let group = self.0.addressed(&header.group, header.target)?;
        let position = wire::position_from_wire(&header).map_err(malformed)?;
        let vote = match group.newer_vote(&header)? {
            Ok(vote) => vote,
            Err(newer) => {
                let vote = Some(wire::vote_to_wire(&newer));
                return Ok(Response::new(peer::SnapshotReply { vote }));
            }
        };
        group.check_level(&position)?;
        let meta = position.meta.clone();
        let announced = Announced::new(position, &header);
        let offset = header.offset_bytes;
        let snapshot = group.receive(pieces, announced, offset).await?;
        let installed = group
            .raft
            .install_full_snapshot(vote, Snapshot { meta, snapshot });
        let reply = installed.await.map_err(stopped)?;
        Ok(Response::new(peer::SnapshotReply {
            vote: Some(wire::vote_to_wire(&reply.vote)),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<peer::TransferLeaderRequest>,
    ) -> Reply<peer::TransferLeaderReply> {
        let request = request.into_inner();
        let group = self.0.addressed(&request.group, request.target)?;
        if group.is_retired() {
            return Err(Status::unavailable("this node is about to stop"));
        }
        let request = wire::transfer_from_wire(&request).map_err(malformed)?;
        let handled = group.raft.handle_transfer_leader(request).await;
        let accepted = handled.map_err(stopped)?.is_ok();
        Ok(Response::new(peer::TransferLeaderReply { accepted }))
    }
}

impl Group {
    /// The vote that a leader of the past has to hear of: its bytes are not
    /// worth anybody's time.
    fn newer_vote(&self, header: &peer::SnapshotHeader) -> Result<Result<Vote, Vote>, Status> {
        let vote = wire::vote_from_wire(header.vote.as_ref()).map_err(malformed)?;
        let known = self.raft.metrics().borrow_watched().vote;
        Ok(if known > vote { Err(known) } else { Ok(vote) })
    }

    /// What comes of a state that this version does not understand would differ
    /// from the others' for ever: this node stops, as it does at such an entry of
    /// the log.
    fn check_level(&self, position: &Position) -> Result<(), Status> {
        let level = position.level;
        if level <= LEVEL {
            return Ok(());
        }
        let newer = StorageError::NewerState { level }.to_string();
        self.fail(&newer);
        Err(Status::failed_precondition(newer))
    }

    /// Writes a snapshot to disk as it comes in, and checks it.
    async fn receive(
        &self,
        mut pieces: Streaming<peer::SnapshotPiece>,
        announced: Announced,
        offset: u64,
    ) -> Result<SnapshotFile, Status> {
        let failed = |error: IncomingError| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            tracing::warn!(group = %self.id(), %error, cause, "a snapshot could not be received");
            match error {
                IncomingError::Offset { .. } => Status::out_of_range(error.to_string()),
                IncomingError::Superseded => Status::aborted(error.to_string()),
                _ => Status::data_loss("the snapshot could not be received whole"),
            }
        };
        let stream = self.incoming.begin(announced, offset).await;
        let stream = stream.map_err(failed)?;
        while let Some(message) = pieces.message().await? {
            let Some(peer::snapshot_piece::Piece::Data(data)) = message.piece else {
                return Err(Status::invalid_argument("a snapshot has one header"));
            };
            self.incoming.write(stream, data).await.map_err(failed)?;
        }
        self.incoming.finish(stream).await.map_err(failed)
    }
}

// === impl MetadataService ===

#[tonic::async_trait]
impl Metadata for MetadataService {
    async fn propose(&self, request: Request<peer::ProposeRequest>) -> Reply<peer::ProposeReply> {
        use peer::propose_reply::Result as Wire;
        let request = request.into_inner();
        let group = self.0.named(&request.group)?;
        let result = match group.write(request.envelope).await {
            Attempt::Answered(answer) => Wire::Response(answer),
            Attempt::NotLeader(leader) => Wire::NotLeader(not_leader(leader)),
            Attempt::Unsent(reason) | Attempt::Unknown(reason) => {
                return Err(Status::aborted(reason));
            }
        };
        Ok(Response::new(peer::ProposeReply {
            result: Some(result),
        }))
    }

    async fn read_index(
        &self,
        request: Request<peer::ReadIndexRequest>,
    ) -> Reply<peer::ReadIndexReply> {
        use peer::read_index_reply::Result as Wire;
        let request = request.into_inner();
        let group = self.0.named(&request.group)?;
        let result = match group.confirm().await {
            Ok(index) => Wire::Index(index),
            Err(unconfirmed) => Wire::NotLeader(not_leader(unconfirmed.leader)),
        };
        Ok(Response::new(peer::ReadIndexReply {
            result: Some(result),
        }))
    }
}

fn not_leader(leader: Option<u64>) -> peer::NotLeader {
    peer::NotLeader {
        leader: leader.unwrap_or(0),
    }
}

// === errors ===

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(error: WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Only a group that stopped answers with an error.
fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("the group stopped: {error}"))
}
