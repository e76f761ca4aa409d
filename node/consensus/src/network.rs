//! What a group sends to its peers, over their gRPC channels.
//!
//! Every call has a deadline. A peer that cannot be reached, or does not know
//! the group, is reported as unreachable, which makes openraft back off.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_proto::peer;
use entrepot_proto::peer::raft_client::RaftClient;
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, PIECE_BYTES, PeerChannel, Peers};
use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::impls::EmptyNode;
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tonic::{Code, Response, Status};

use crate::files;
use crate::machine::Reached;
use crate::snapshot::SnapshotFile;
use crate::types::{Snapshot, SnapshotMeta, TypeConfig, Vote};
use crate::wire::{self, WireError};

/// openraft gives replication the deadline of a heartbeat. Entries have to be
/// carried and synced, so they get this on top,
const ENTRIES_GRACE: Duration = Duration::from_secs(2);

/// and this for every MiB of them.
const ENTRIES_GRACE_PER_MIB: Duration = Duration::from_secs(1);

/// How long a node may take to say how much of a snapshot it has.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(5);

/// Makes a [`Link`] for each peer of one group.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    group: Arc<str>,
    peers: Arc<Peers>,
    reached: Reached,
}

/// One peer, as one group reaches it.
#[derive(Debug)]
pub(crate) struct Link {
    group: Arc<str>,
    own: u64,
    target: u64,
    /// A node may move: its channel is looked up for each call.
    peers: Arc<Peers>,
    reached: Reached,
}

type RpcResult<T> = Result<T, RPCError<TypeConfig>>;

// === impl Links ===

impl Links {
    pub(crate) fn new(group: &str, peers: Arc<Peers>, reached: Reached) -> Self {
        Self {
            group: Arc::from(group),
            peers,
            reached,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Link {
        Link {
            group: Arc::clone(&self.group),
            own: self.peers.own().id,
            target,
            peers: Arc::clone(&self.peers),
            reached: self.reached.clone(),
        }
    }
}

// === impl Link ===

impl Link {
    fn client(&self) -> RpcResult<RaftClient<PeerChannel>> {
        self.client_over(self.peers.channel(self.target))
    }

    fn client_over(&self, channel: Option<PeerChannel>) -> RpcResult<RaftClient<PeerChannel>> {
        let channel = channel.ok_or_else(|| {
            let reason = format!("node {} is not of this cluster", self.target);
            RPCError::Unreachable(Unreachable::from_string(reason))
        })?;
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Waits for a reply until the deadline.
    async fn reply<T>(
        &self,
        action: RPCTypes,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> RpcResult<T> {
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(RPCError::Unreachable(Unreachable::new(&status))),
            Err(_) => Err(self.late(action, deadline)),
        }
    }

    fn late(&self, action: RPCTypes, deadline: Duration) -> RPCError<TypeConfig> {
        RPCError::Timeout(Timeout {
            action,
            id: self.own,
            target: self.target,
            timeout: deadline,
        })
    }

    async fn send_vote(
        &self,
        request: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: &RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        let message = wire::vote_request_to_wire(&self.group, self.target, request, pre_vote);
        let mut client = self.client()?;
        let call = client.vote(message);
        let reply = self.reply(RPCTypes::Vote, option.soft_ttl(), call).await?;
        wire::voted_from_wire(&reply).map_err(malformed)
    }

    /// What is said of a snapshot before its bytes.
    async fn snapshot_header(
        &self,
        vote: &Vote,
        snapshot: &Arc<SnapshotFile>,
        meta: &SnapshotMeta,
    ) -> io::Result<peer::SnapshotHeader> {
        let file = Arc::clone(snapshot);
        let identity = files::run(snapshot.files(), move || file.identity()).await;
        let (length_bytes, checksum) = identity.and_then(|identity| identity)?;
        Ok(peer::SnapshotHeader {
            target: self.target,
            vote: Some(wire::vote_to_wire(vote)),
            length_bytes,
            checksum,
            ..wire::position_to_wire(&self.group, &snapshot.position(meta))
        })
    }

    /// How much of the snapshot the other node has, from a stream that was cut
    /// off; or the vote because of which it takes none from here.
    async fn snapshot_progress(
        &self,
        vote: &Vote,
        header: &peer::SnapshotHeader,
        deadline: Duration,
    ) -> RpcResult<Result<u64, Vote>> {
        let mut client = self.client()?;
        let call = client.snapshot_progress(header.clone());
        let deadline = deadline.min(PROGRESS_DEADLINE);
        let reply = match tokio::time::timeout(deadline, call).await {
            // It is of a release that takes whole snapshots only.
            Ok(Err(status)) if status.code() == Code::Unimplemented => return Ok(Ok(0)),
            Ok(Err(status)) => return Err(RPCError::Unreachable(Unreachable::new(&status))),
            Ok(Ok(reply)) => reply.into_inner(),
            Err(_) => return Err(self.late(RPCTypes::InstallSnapshot, deadline)),
        };
        let known = wire::vote_from_wire(reply.vote.as_ref()).map_err(malformed)?;
        if known > *vote {
            return Ok(Err(known));
        }
        Ok(Ok(reply.received_bytes))
    }
}

/// The messages of a snapshot: its header, then the file piece by piece.
fn snapshot_messages(
    header: peer::SnapshotHeader,
    snapshot: Arc<SnapshotFile>,
) -> impl Stream<Item = peer::SnapshotPiece> + Send + 'static {
    let pieces = pieces(snapshot, header.offset_bytes).map(peer::snapshot_piece::Piece::Data);
    let header = peer::snapshot_piece::Piece::Header(header);
    futures::stream::once(async { header })
        .chain(pieces)
        .map(|piece| peer::SnapshotPiece { piece: Some(piece) })
}

/// Reads a snapshot where that may block, a piece when the network asks for
/// one. One that cannot be read ends early: the receiver misses the checksum
/// and refuses it.
fn pieces(snapshot: Arc<SnapshotFile>, start: u64) -> impl Stream<Item = Bytes> + Send + 'static {
    futures::stream::unfold((snapshot, start), |(snapshot, at)| async move {
        let part = snapshot.stream(at).take(PIECE_BYTES as u64);
        let reading = files::run(snapshot.files(), move || whole(part));
        match reading.await.and_then(|piece| piece) {
            Ok(piece) if piece.is_empty() => None,
            Ok(piece) => {
                let next = at + piece.len() as u64;
                Some((piece, (snapshot, next)))
            }
            Err(error) => {
                tracing::error!(%error, "cannot read a snapshot");
                None
            }
        }
    })
}

fn whole(mut part: impl Read) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    part.read_to_end(&mut piece)?;
    Ok(Bytes::from(piece))
}

/// A snapshot of one's own that cannot be read.
fn unreadable(error: &io::Error) -> RPCError<TypeConfig> {
    tracing::error!(%error, "cannot read a snapshot");
    RPCError::Unreachable(Unreachable::new(error))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(error: WireError) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&error))
}

fn append_deadline(request: &AppendEntriesRequest<TypeConfig>, option: &RPCOption) -> Duration {
    if request.entries.is_empty() {
        return option.soft_ttl();
    }
    let bytes: usize = request
        .entries
        .iter()
        .map(|entry| match &entry.payload {
            openraft::EntryPayload::Normal(proposal) => proposal.0.len(),
            _ => 0,
        })
        .sum();
    let mib = u32::try_from(bytes / (1024 * 1024)).unwrap_or(u32::MAX);
    option.soft_ttl() + ENTRIES_GRACE + ENTRIES_GRACE_PER_MIB.saturating_mul(mib)
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<TypeConfig>> {
        let deadline = append_deadline(&request, &option);
        // Before the follower can show it to a reader.
        if let Some(committed) = &request.leader_commit {
            self.reached.grow_to(committed.index());
        }
        let message = wire::append_to_wire(&self.group, self.target, request);
        let mut client = self.client()?;
        let call = client.append(message);
        let reply = self.reply(RPCTypes::AppendEntries, deadline, call).await?;
        wire::appended_from_wire(&reply).map_err(malformed)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        self.send_vote(&request, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        self.send_vote(&request, true, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (meta, snapshot) = (snapshot.meta, Arc::new(snapshot.snapshot));
        let header = self.snapshot_header(&vote, &snapshot, &meta).await;
        let mut header = header.map_err(|error| unreadable(&error))?;
        match self
            .snapshot_progress(&vote, &header, option.soft_ttl())
            .await?
        {
            Ok(received) => header.offset_bytes = received,
            Err(newer) => return Ok(SnapshotResponse::new(newer)),
        }
        let mut client = self.client_over(self.peers.bulk_channel(self.target))?;
        let call = client.install_snapshot(snapshot_messages(header, snapshot));
        let reply = tokio::select! {
            reply = self.reply(RPCTypes::InstallSnapshot, option.soft_ttl(), call) => reply?,
            closed = cancel => return Err(closed.into()),
        };
        let vote = wire::vote_from_wire(reply.vote.as_ref()).map_err(malformed)?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<TypeConfig>> {
        let message = wire::transfer_to_wire(&self.group, self.target, &request);
        let mut client = self.client()?;
        let call = client.transfer_leader(message);
        let reply = self.reply(RPCTypes::TransferLeader, option.soft_ttl(), call);
        if reply.await?.accepted {
            return Ok(Ok(()));
        }
        Ok(Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: None,
        }))
    }
}
