//! Hostile bytes: what peers say to a group, and entries as the log keeps them.

use entrepot_fuzz::{Target, Verdict, target};

use super::*;

/// Bytes of memory for a byte of a message: an entry is two bytes on the wire
/// when it is empty.
const MEMORY_PER_BYTE: u64 = 400;

/// The name of a message, a line break, the message.
struct Seeds(Target);

impl Seeds {
    fn message(self, verdict: &str, kind: &str, message: &impl Message) -> Self {
        self.bytes(verdict, kind, &message.encode_to_vec())
    }

    fn bytes(self, verdict: &str, kind: &str, bytes: &[u8]) -> Self {
        let input = [kind.as_bytes(), b"\n", bytes].concat();
        Self(self.0.seed(&format!("{verdict}-{kind}"), input))
    }
}

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

fn append() -> AppendEntriesRequest<TypeConfig> {
    let command = Proposal(Bytes::from_static(b"an envelope"));
    AppendEntriesRequest {
        vote: Vote::new_committed(4, 2),
        prev_log_id: Some(id(6)),
        entries: vec![
            Entry::new(id(7), Payload::Blank),
            Entry::new(id(8), Payload::Normal(command)),
            Entry::new(id(9), Payload::Membership(membership())),
        ],
        leader_commit: Some(id(8)),
    }
}

fn seeds() -> Seeds {
    let meta = SnapshotMeta {
        last_log_id: Some(id(9)),
        last_membership: StoredMembership::new(Some(id(4)), membership()),
    };
    let position = Position { meta, level: 2 };
    let vote = VoteRequest {
        vote: Vote::new(5, 1),
        last_log_id: Some(id(9)),
        leadership_transfer: true,
    };
    let voted = VoteResponse::new(Vote::new(5, 1), Some(id(9)), true);
    let transfer = TransferLeaderRequest::new(Vote::new_committed(4, 2), 3, Some(id(9)));
    let conflict = AppendEntriesResponse::HigherVote(Vote::new(9, 1));
    let largest = peer::LogId {
        index: u64::MAX,
        ..peer::LogId::default()
    };
    let overflowing = peer::VoteRequest {
        vote: Some(vote_to_wire(&Vote::new(5, 1))),
        last_log: Some(largest),
        ..peer::VoteRequest::default()
    };
    let mut seeds = Seeds(target!("peer-message"))
        .message("good", "append", &append_to_wire("global/0", 1, append()))
        .message("good", "appended", &appended_to_wire(&conflict))
        .message(
            "good",
            "vote",
            &vote_request_to_wire("global/0", 1, &vote, true),
        )
        .message("good", "voted", &voted_to_wire(&voted))
        .message("good", "snapshot", &position_to_wire("global/0", &position))
        .message(
            "good",
            "transfer",
            &transfer_to_wire("global/0", 1, &transfer),
        )
        .message("bad", "vote", &overflowing)
        .bytes("bad", "append", b"")
        .bytes("bad", "entry", &[9]);
    for (number, entry) in append().entries.iter().enumerate() {
        let stored = entry_to_log(entry);
        let input = [b"entry\n", &stored.payload[..]].concat();
        seeds.0 = seeds.0.seed(&format!("good-entry-{number}"), input);
    }
    seeds
}

/// Everything that has a form in Raft comes back from it as it was.
#[test]
fn peer_message() {
    let kinds = [
        "append", "appended", "vote", "voted", "snapshot", "transfer", "entry",
    ];
    let largest = [
        0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ];
    seeds()
        .0
        .words(kinds.map(|kind| format!("{kind}\n")))
        .words([largest])
        .words([[0x22, 0], [0x0a, 0], [0x12, 0], [0x1a, 0]])
        .memory(16 * 1024, MEMORY_PER_BYTE)
        .check(|input| {
            let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
            let (kind, bytes) = (&input[..end], &input[(end + 1).min(input.len())..]);
            let taken = match kind {
                b"append" => is_append(bytes),
                b"appended" => is_appended(bytes),
                b"vote" => is_vote(bytes),
                b"voted" => is_voted(bytes),
                b"snapshot" => is_snapshot(bytes),
                b"transfer" => is_transfer(bytes),
                b"entry" => is_entry(bytes),
                _ => return Verdict::Refused,
            };
            Verdict::of(&taken)
        });
}

fn is_append(bytes: &[u8]) -> Result<(), WireError> {
    let request = append_from_wire(peer::AppendRequest::decode(bytes)?)?;
    let again = append_from_wire(append_to_wire("", 0, request.clone()))?;
    assert_eq!(format!("{again:?}"), format!("{request:?}"));
    Ok(())
}

fn is_appended(bytes: &[u8]) -> Result<(), WireError> {
    let reply = appended_from_wire(&peer::AppendReply::decode(bytes)?)?;
    assert_eq!(appended_from_wire(&appended_to_wire(&reply))?, reply);
    Ok(())
}

fn is_vote(bytes: &[u8]) -> Result<(), WireError> {
    let request = vote_request_from_wire(&peer::VoteRequest::decode(bytes)?)?;
    let again = vote_request_from_wire(&vote_request_to_wire("", 0, &request, false))?;
    assert_eq!(again, request);
    Ok(())
}

fn is_voted(bytes: &[u8]) -> Result<(), WireError> {
    let reply = voted_from_wire(&peer::VoteReply::decode(bytes)?)?;
    assert_eq!(voted_from_wire(&voted_to_wire(&reply))?, reply);
    Ok(())
}

fn is_snapshot(bytes: &[u8]) -> Result<(), WireError> {
    let header = peer::SnapshotHeader::decode(bytes)?;
    let position = position_from_wire(&header)?;
    let again = position_to_wire(&header.group, &position);
    assert_eq!(position_from_wire(&again)?, position);
    // What a start does with the vote of a snapshot that comes in.
    if let Some(vote) = &header.vote {
        assert_eq!(vote_to_wire(&vote_from_wire(Some(vote))?), *vote);
    }
    Ok(())
}

fn is_transfer(bytes: &[u8]) -> Result<(), WireError> {
    let request = transfer_from_wire(&peer::TransferLeaderRequest::decode(bytes)?)?;
    let again = transfer_from_wire(&transfer_to_wire("", 0, &request))?;
    assert_eq!(format!("{again:?}"), format!("{request:?}"));
    Ok(())
}

fn is_entry(bytes: &[u8]) -> Result<(), WireError> {
    let stored = LogEntry {
        id: entry_id(&id(7)),
        payload: Bytes::copy_from_slice(bytes),
    };
    let entry = entry_from_log(stored)?;
    assert_eq!(entry_from_log(entry_to_log(&entry))?, entry);
    Ok(())
}
