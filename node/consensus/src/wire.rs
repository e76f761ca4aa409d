//! Raft's values and their protobuf forms, in both directions.
//!
//! The only file that knows both. The same forms are what log entries, applied
//! positions and snapshot headers are stored as, so they outlive the process
//! that wrote them: fields are only ever added.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use entrepot_proto::peer;
use openraft::entry::RaftEntry;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use prost::Message;

use crate::raftlog::{EntryId, LogEntry};
use crate::types::{
    Entry, LogId, Membership, Payload, Position, Proposal, SnapshotMeta, StoredMembership,
    TypeConfig, Vote, entry_id, log_id,
};

/// Why a message or a stored value makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("the membership is invalid: {0}")]
    Membership(String),
    #[error("no entry can follow index {0}")]
    Index(u64),
    #[error("the payload of entry {0} has an unknown kind")]
    Payload(u64),
    #[error("not a protobuf message")]
    Decode(#[from] prost::DecodeError),
}

const PAYLOAD_BLANK: u8 = 0;
const PAYLOAD_COMMAND: u8 = 1;
const PAYLOAD_MEMBERSHIP: u8 = 2;

// === ids and votes ===

pub(crate) fn log_id_to_wire(id: &LogId) -> peer::LogId {
    let id = entry_id(id);
    peer::LogId {
        term: id.term,
        node: id.node,
        index: id.index,
    }
}

/// The largest index is refused: everybody counts on from what they are given.
pub(crate) fn log_id_from_wire(id: &peer::LogId) -> Result<LogId, WireError> {
    if id.index == u64::MAX {
        return Err(WireError::Index(id.index));
    }
    Ok(log_id(EntryId {
        term: id.term,
        node: id.node,
        index: id.index,
    }))
}

fn optional_log_id(id: Option<&peer::LogId>) -> Result<Option<LogId>, WireError> {
    id.map(log_id_from_wire).transpose()
}

pub(crate) fn vote_to_wire(vote: &Vote) -> peer::Vote {
    peer::Vote {
        term: vote.leader_id().term,
        node: vote.leader_id().node_id,
        committed: vote.is_committed(),
    }
}

pub(crate) fn vote_from_wire(vote: Option<&peer::Vote>) -> Result<Vote, WireError> {
    let vote = vote.ok_or(WireError::Missing("the vote"))?;
    Ok(if vote.committed {
        Vote::new_committed(vote.term, vote.node)
    } else {
        Vote::new(vote.term, vote.node)
    })
}

// === membership ===

fn membership_to_wire(membership: &Membership) -> peer::RaftMembership {
    let configs = membership.get_joint_config().iter();
    peer::RaftMembership {
        configs: configs
            .map(|voters| peer::RaftConfig {
                voters: voters.iter().copied().collect(),
            })
            .collect(),
        members: membership
            .nodes()
            .map(|(node, _)| peer::RaftMember {
                node: *node,
                region: String::new(),
                address: String::new(),
            })
            .collect(),
    }
}

fn membership_from_wire(membership: &peer::RaftMembership) -> Result<Membership, WireError> {
    let configs = membership.configs.iter();
    let configs: Vec<BTreeSet<u64>> = configs
        .map(|config| config.voters.iter().copied().collect())
        .collect();
    let members: BTreeSet<u64> = membership
        .members
        .iter()
        .map(|member| member.node)
        .collect();
    if configs.is_empty() && members.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, members).map_err(|error| WireError::Membership(error.to_string()))
}

/// What a snapshot or the applied state stands for. `group` may be empty where
/// it is known anyway.
pub(crate) fn position_to_wire(group: &str, position: &Position) -> peer::SnapshotHeader {
    let meta = &position.meta;
    peer::SnapshotHeader {
        group: group.to_owned(),
        target: 0,
        vote: None,
        last_log: meta.last_log_id.as_ref().map(log_id_to_wire),
        membership_log: meta.last_membership.log_id().as_ref().map(log_id_to_wire),
        membership: Some(membership_to_wire(meta.last_membership.membership())),
        level: position.level,
        ..peer::SnapshotHeader::default()
    }
}

pub(crate) fn position_from_wire(header: &peer::SnapshotHeader) -> Result<Position, WireError> {
    let membership = header.membership.as_ref();
    let membership = membership.ok_or(WireError::Missing("the membership"))?;
    let meta = SnapshotMeta {
        last_log_id: optional_log_id(header.last_log.as_ref())?,
        last_membership: StoredMembership::new(
            optional_log_id(header.membership_log.as_ref())?,
            membership_from_wire(membership)?,
        ),
    };
    let level = header.level;
    Ok(Position { meta, level })
}

// === entries ===

/// An entry as the log stores it: the kind of its payload, then the payload.
pub(crate) fn entry_to_log(entry: &Entry) -> LogEntry {
    let mut bytes = BytesMut::new();
    match &entry.payload {
        Payload::Blank => bytes.put_u8(PAYLOAD_BLANK),
        Payload::Normal(Proposal(command)) => {
            bytes.reserve(command.len() + 1);
            bytes.put_u8(PAYLOAD_COMMAND);
            bytes.put_slice(command);
        }
        Payload::Membership(membership) => {
            bytes.put_u8(PAYLOAD_MEMBERSHIP);
            bytes.put_slice(&membership_to_wire(membership).encode_to_vec());
        }
    }
    LogEntry {
        id: entry_id(&entry.log_id),
        payload: bytes.freeze(),
    }
}

pub(crate) fn entry_from_log(entry: LogEntry) -> Result<Entry, WireError> {
    let LogEntry { id, payload } = entry;
    let payload = match payload.first() {
        Some(&PAYLOAD_BLANK) => Payload::Blank,
        Some(&PAYLOAD_COMMAND) => Payload::Normal(Proposal(payload.slice(1..))),
        Some(&PAYLOAD_MEMBERSHIP) => {
            let membership = peer::RaftMembership::decode(payload.slice(1..))?;
            Payload::Membership(membership_from_wire(&membership)?)
        }
        _ => return Err(WireError::Payload(id.index)),
    };
    Ok(Entry::new(log_id(id), payload))
}

fn entry_to_wire(entry: Entry) -> peer::Entry {
    use peer::entry::Payload as Wire;
    let id = Some(log_id_to_wire(&entry.log_id));
    let payload = match entry.payload {
        Payload::Blank => Wire::Blank(peer::Blank {}),
        Payload::Normal(Proposal(command)) => Wire::Command(command),
        Payload::Membership(membership) => Wire::Membership(membership_to_wire(&membership)),
    };
    peer::Entry {
        id,
        payload: Some(payload),
    }
}

fn entry_from_wire(entry: peer::Entry) -> Result<Entry, WireError> {
    use peer::entry::Payload as Wire;
    let id = entry.id.ok_or(WireError::Missing("the id of an entry"))?;
    let payload = match entry.payload {
        Some(Wire::Blank(peer::Blank {})) => Payload::Blank,
        // A copy: the message that it is a part of would stay in memory with it.
        Some(Wire::Command(command)) => Payload::Normal(Proposal(Bytes::copy_from_slice(&command))),
        Some(Wire::Membership(membership)) => {
            Payload::Membership(membership_from_wire(&membership)?)
        }
        None => return Err(WireError::Payload(id.index)),
    };
    Ok(Entry::new(log_id_from_wire(&id)?, payload))
}

// === append ===

pub(crate) fn append_to_wire(
    group: &str,
    target: u64,
    request: AppendEntriesRequest<TypeConfig>,
) -> peer::AppendRequest {
    peer::AppendRequest {
        group: group.to_owned(),
        target,
        vote: Some(vote_to_wire(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to_wire),
        entries: request.entries.into_iter().map(entry_to_wire).collect(),
        committed: request.leader_commit.as_ref().map(log_id_to_wire),
    }
}

pub(crate) fn append_from_wire(
    request: peer::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    let entries = request.entries.into_iter().map(entry_from_wire);
    Ok(AppendEntriesRequest {
        vote: vote_from_wire(request.vote.as_ref())?,
        prev_log_id: optional_log_id(request.previous.as_ref())?,
        entries: entries.collect::<Result<_, _>>()?,
        leader_commit: optional_log_id(request.committed.as_ref())?,
    })
}

pub(crate) fn appended_to_wire(reply: &AppendEntriesResponse<TypeConfig>) -> peer::AppendReply {
    use peer::append_reply::Result as Wire;
    let result = match reply {
        AppendEntriesResponse::Success => Wire::Success(peer::Blank {}),
        AppendEntriesResponse::PartialSuccess(matching) => Wire::Partial(peer::PartialSuccess {
            matching: matching.as_ref().map(log_id_to_wire),
        }),
        AppendEntriesResponse::Conflict => Wire::Conflict(peer::Blank {}),
        AppendEntriesResponse::HigherVote(vote) => Wire::HigherVote(vote_to_wire(vote)),
    };
    peer::AppendReply {
        result: Some(result),
    }
}

pub(crate) fn appended_from_wire(
    reply: &peer::AppendReply,
) -> Result<AppendEntriesResponse<TypeConfig>, WireError> {
    use peer::append_reply::Result as Wire;
    let result = reply.result.as_ref();
    Ok(match result.ok_or(WireError::Missing("the result"))? {
        Wire::Success(_) => AppendEntriesResponse::Success,
        Wire::Partial(partial) => {
            let matching = optional_log_id(partial.matching.as_ref())?;
            AppendEntriesResponse::PartialSuccess(matching)
        }
        Wire::Conflict(_) => AppendEntriesResponse::Conflict,
        Wire::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_from_wire(Some(vote))?),
    })
}

// === votes ===

pub(crate) fn vote_request_to_wire(
    group: &str,
    target: u64,
    request: &VoteRequest<TypeConfig>,
    pre_vote: bool,
) -> peer::VoteRequest {
    peer::VoteRequest {
        group: group.to_owned(),
        target,
        vote: Some(vote_to_wire(&request.vote)),
        last_log: request.last_log_id.as_ref().map(log_id_to_wire),
        pre_vote,
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_from_wire(
    request: &peer::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, WireError> {
    Ok(VoteRequest {
        vote: vote_from_wire(request.vote.as_ref())?,
        last_log_id: optional_log_id(request.last_log.as_ref())?,
        leadership_transfer: request.leadership_transfer,
    })
}

pub(crate) fn voted_to_wire(reply: &VoteResponse<TypeConfig>) -> peer::VoteReply {
    peer::VoteReply {
        vote: Some(vote_to_wire(&reply.vote)),
        granted: reply.vote_granted,
        last_log: reply.last_log_id.as_ref().map(log_id_to_wire),
    }
}

pub(crate) fn voted_from_wire(
    reply: &peer::VoteReply,
) -> Result<VoteResponse<TypeConfig>, WireError> {
    Ok(VoteResponse::new(
        vote_from_wire(reply.vote.as_ref())?,
        optional_log_id(reply.last_log.as_ref())?,
        reply.granted,
    ))
}

// === transfer of the lead ===

pub(crate) fn transfer_to_wire(
    group: &str,
    target: u64,
    request: &TransferLeaderRequest<TypeConfig>,
) -> peer::TransferLeaderRequest {
    peer::TransferLeaderRequest {
        group: group.to_owned(),
        target,
        from: Some(vote_to_wire(request.from_leader())),
        to: *request.to_node_id(),
        last_log: request.last_log_id().map(log_id_to_wire),
    }
}

pub(crate) fn transfer_from_wire(
    request: &peer::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, WireError> {
    Ok(TransferLeaderRequest::new(
        vote_from_wire(request.from.as_ref())?,
        request.to,
        optional_log_id(request.last_log.as_ref())?,
    ))
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry;

    use super::*;

    fn id(index: u64) -> LogId {
        log_id(EntryId {
            term: 4,
            node: 2,
            index,
        })
    }

    fn membership() -> Membership {
        let joint = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
        Membership::new(joint, (1..=5).collect::<BTreeSet<u64>>()).unwrap()
    }

    fn entries() -> Vec<Entry> {
        vec![
            Entry::new(id(1), Payload::Blank),
            Entry::new(id(2), Payload::Normal(Proposal(Bytes::from_static(b"x")))),
            Entry::new(id(3), Payload::Normal(Proposal(Bytes::new()))),
            Entry::new(id(4), Payload::Membership(membership())),
        ]
    }

    #[test]
    fn entries_survive_the_log_and_the_wire() {
        for entry in entries() {
            assert_eq!(entry_from_log(entry_to_log(&entry)).unwrap(), entry);
            assert_eq!(
                entry_from_wire(entry_to_wire(entry.clone())).unwrap(),
                entry
            );
        }
    }

    #[test]
    fn what_a_snapshot_stands_for_survives() {
        for meta in [
            SnapshotMeta::default(),
            SnapshotMeta {
                last_log_id: Some(id(9)),
                last_membership: StoredMembership::new(Some(id(4)), membership()),
            },
        ] {
            for level in [0, 3] {
                let meta = meta.clone();
                let position = Position { meta, level };
                let wire = position_to_wire("global/0", &position);
                assert_eq!(position_from_wire(&wire).unwrap(), position);
            }
        }
    }

    #[test]
    fn every_reply_to_an_append_survives() {
        for reply in [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(None),
            AppendEntriesResponse::PartialSuccess(Some(id(7))),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(Vote::new_committed(3, 1)),
        ] {
            assert_eq!(
                appended_from_wire(&appended_to_wire(&reply)).unwrap(),
                reply
            );
        }
    }

    #[test]
    fn what_is_missing_is_an_error() {
        assert!(append_from_wire(peer::AppendRequest::default()).is_err());
        assert!(vote_request_from_wire(&peer::VoteRequest::default()).is_err());
        assert!(appended_from_wire(&peer::AppendReply::default()).is_err());
        assert!(entry_from_wire(peer::Entry::default()).is_err());
        let unknown = LogEntry {
            id: entry_id(&id(1)),
            payload: Bytes::from_static(&[9]),
        };
        assert!(entry_from_log(unknown).is_err());
    }
}
