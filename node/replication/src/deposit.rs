//! What all who deposit a blob's bytes in another region say and hear.

use std::time::Duration;

use entrepot_proto::peer::deposit_part::Part;
use entrepot_proto::peer::deposit_reply::Result as Reply;
use entrepot_proto::peer::{DepositPart, DepositReply};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};

/// Pieces that wait for the connection.
pub(crate) const PIECES_WAITING_MAX: usize = 4;
/// For a destination to take a piece.
const STALL_MAX: Duration = Duration::from_secs(30);
/// For it to verify the whole and make it durable.
const FINISH_MAX: Duration = Duration::from_mins(10);

/// What became of a stream that was not torn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    /// The destination needs no more of it.
    Held,
    Cancelled,
}

/// What a destination says first.
pub(crate) enum Start {
    At(u64),
    Ended(Ended),
}

pub(crate) async fn send(parts: &mpsc::Sender<DepositPart>, part: Part) -> Result<(), Status> {
    let part = DepositPart { part: Some(part) };
    match timeout(STALL_MAX, parts.send(part)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Status::aborted("the stream was torn")),
        Err(_) => Err(Status::deadline_exceeded("it takes no more bytes")),
    }
}

/// Waits until the destination wants no more, or says that it failed.
pub(crate) async fn stopped(replies: &mut Streaming<DepositReply>) -> Result<Ended, Status> {
    loop {
        let reply = replies.message().await?;
        match reply.and_then(|reply| reply.result) {
            // Where it was begun.
            Some(Reply::Offset(0)) => {}
            Some(Reply::Held(_)) => return Ok(Ended::Held),
            Some(Reply::Done(_)) => return Ok(Ended::Done),
            Some(Reply::Refusal(refusal)) => {
                return Err(Status::invalid_argument(refusal.message));
            }
            Some(Reply::Offset(_)) | None => return Err(Status::aborted("it went on without us")),
        }
    }
}

/// What the destination says in the end.
pub(crate) async fn last(
    mut replies: Streaming<DepositReply>,
    cancelled: bool,
) -> Result<Ended, Status> {
    loop {
        let silent = |_| Status::deadline_exceeded("no answer");
        let reply = timeout(FINISH_MAX, replies.message())
            .await
            .map_err(silent)??;
        match reply.and_then(|reply| reply.result) {
            Some(Reply::Offset(_)) => {}
            Some(Reply::Done(_)) => return Ok(Ended::Done),
            Some(Reply::Held(_)) => return Ok(Ended::Held),
            Some(Reply::Refusal(refusal)) => {
                return Err(Status::invalid_argument(refusal.message));
            }
            None if cancelled => return Ok(Ended::Cancelled),
            None => return Err(Status::aborted("no answer")),
        }
    }
}

/// Waits until the destination says where to go on. `patience`: another sender may
/// have to come to its end before.
pub(crate) async fn start(
    replies: &mut Streaming<DepositReply>,
    patience: Duration,
) -> Result<Start, Status> {
    let silent = |_| Status::deadline_exceeded("no answer");
    let first = timeout(patience, replies.message())
        .await
        .map_err(silent)??;
    match first.and_then(|reply| reply.result) {
        Some(Reply::Offset(offset)) => Ok(Start::At(offset)),
        Some(Reply::Done(_)) => Ok(Start::Ended(Ended::Done)),
        Some(Reply::Held(_)) => Ok(Start::Ended(Ended::Held)),
        Some(Reply::Refusal(refusal)) => Err(Status::invalid_argument(refusal.message)),
        None => Err(Status::aborted("no answer")),
    }
}
