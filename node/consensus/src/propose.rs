//! Proposals from any node.
//!
//! A proposal is sent to whoever leads and tried again, under the same
//! envelope id, until it is answered or its time is up: the state machine
//! applies an id once, so a repeat of what was committed already gets the
//! answer it got then. It remembers an id for so many entries only; an attempt
//! that was held up for longer is refused, and its outcome is unknown.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_metadata::{Command, Envelope, MetadataError, Outcome, Refused, Response};
use entrepot_proto::peer;
use entrepot_proto::peer::metadata_client::MetadataClient;
use entrepot_proto::peers::MESSAGE_BYTES_MAX;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::time::Instant;
use tonic::Status;

use crate::group::{Group, Late};
use crate::retry::Retry;
use crate::types::Proposal;

/// After this the outcome of a proposal is given up on.
const PROPOSE_DEADLINE: Duration = Duration::from_secs(10);

/// One attempt at one leader, which may have died meanwhile.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(3);

/// The largest encoded envelope, bytes: it has to fit into one message along
/// with what surrounds it.
const ENVELOPE_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;

/// What became of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Committed and applied at the leader, which answers this.
    Answered(Bytes),
    /// Not even looked at; the other node may lead.
    NotLeader(Option<u64>),
    /// It never left this node.
    Unsent(String),
    /// It may be committed, may be later, or never.
    Unknown(String),
}

impl Group {
    pub(crate) async fn propose(
        self: &Arc<Self>,
        command: Command,
    ) -> Result<Response, MetadataError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)
            .map_err(|error| self.unavailable(format!("no random envelope id: {error}")))?;
        let known = *self.machine.applied().borrow();
        let envelope = Envelope::new(id, command).known_at(known).to_bytes();
        if envelope.len() > ENVELOPE_BYTES_MAX {
            let reason = format!("the command takes more than {ENVELOPE_BYTES_MAX} bytes");
            return Ok(Response::new(0, Outcome::from(Refused::Invalid(reason))));
        }
        let deadline = Instant::now() + PROPOSE_DEADLINE;
        let answer = self.commit(envelope, deadline).await?;
        let response = Response::from_bytes(&answer).map_err(|_| self.unknown())?;
        if let Some(late @ Refused::Late(_)) = response.refused() {
            tracing::warn!(group = %self.id(), known, reason = %late, "a proposal was held up");
            return Err(self.unknown());
        }
        let applied = self.wait_applied(response.index, deadline).await;
        // Committed, but this node's copy does not show it.
        applied.map_err(|Late| self.unknown())?;
        Ok(response)
    }

    async fn commit(&self, envelope: Bytes, deadline: Instant) -> Result<Bytes, MetadataError> {
        let mut retry = Retry::until(deadline);
        let mut hint = None;
        let mut may_be_committed = false;
        loop {
            let attempt = match hint.take().or_else(|| self.leader()) {
                None => Attempt::NotLeader(None),
                Some(leader) => self.attempt(leader, envelope.clone(), deadline).await,
            };
            let reason = match attempt {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::NotLeader(leader) => {
                    hint = leader;
                    "no leader is known".to_owned()
                }
                Attempt::Unsent(reason) => reason,
                Attempt::Unknown(reason) => {
                    may_be_committed = true;
                    reason
                }
            };
            tracing::debug!(group = %self.id(), reason, "a proposal is tried again");
            match retry.pause() {
                Some(pause) => self.changed(pause).await,
                None if may_be_committed => return Err(self.unknown()),
                None => return Err(self.unavailable(reason)),
            }
        }
    }

    async fn attempt(&self, leader: u64, envelope: Bytes, deadline: Instant) -> Attempt {
        let deadline = deadline.min(Instant::now() + ATTEMPT_DEADLINE);
        let attempt = async {
            if leader == self.own() {
                self.write(envelope).await
            } else {
                self.forward(leader, envelope).await
            }
        };
        match tokio::time::timeout_at(deadline, attempt).await {
            Ok(attempt) => attempt,
            Err(_) => Attempt::Unknown("the leader did not answer in time".to_owned()),
        }
    }

    /// Proposes on this node, which only works while it leads.
    pub(crate) async fn write(&self, envelope: Bytes) -> Attempt {
        // It would stop this node, once committed.
        if !Envelope::is_understood(&envelope) {
            return Attempt::Unsent("the leader runs an older version".to_owned());
        }
        match self.raft.client_write(Proposal(envelope)).await {
            Ok(written) => Attempt::Answered(written.data.0),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Attempt::NotLeader(forward.leader_id)
            }
            Err(error) => Attempt::Unknown(error.to_string()),
        }
    }

    async fn forward(&self, leader: u64, envelope: Bytes) -> Attempt {
        use peer::propose_reply::Result as Reply;
        let Some(channel) = self.channel(leader) else {
            return Attempt::Unsent(format!("node {leader} is not of this cluster"));
        };
        let mut client = MetadataClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let request = peer::ProposeRequest {
            group: self.id().to_string(),
            envelope,
        };
        let reply = match client.propose(request).await {
            Ok(reply) => reply.into_inner(),
            Err(status) if never_sent(&status) => return Attempt::Unsent(status.to_string()),
            Err(status) => return Attempt::Unknown(status.to_string()),
        };
        match reply.result {
            Some(Reply::Response(answer)) => Attempt::Answered(answer),
            Some(Reply::NotLeader(other)) => {
                Attempt::NotLeader(Some(other.leader).filter(|leader| *leader != 0))
            }
            None => Attempt::Unknown("the leader's answer is empty".to_owned()),
        }
    }

    fn unknown(&self) -> MetadataError {
        MetadataError::Unknown {
            group: self.id().clone(),
        }
    }
}

/// Whether a call failed before anything went out: no connection was had.
fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
