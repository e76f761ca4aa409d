//! Linearizable reads from any node's copy.
//!
//! The leader makes sure that it still leads, by its lease or else by one round
//! of heartbeats, and says up to where the log is committed; the node that asked
//! waits until its own copy has got there. Callers at the same time share the
//! round.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::MetadataError;
use entrepot_proto::peer;
use entrepot_proto::peer::metadata_client::MetadataClient;
use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use tokio::time::Instant;

use crate::group::Group;
use crate::retry::Retry;

/// After this a read is refused: the front end answers 503.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// One question to one leader.
const ASK_DEADLINE: Duration = Duration::from_secs(2);

/// Log index that a read has to have applied, or why nobody could say.
pub(crate) type ReadResult = Result<u64, Unconfirmed>;

/// Nobody could say up to where the log is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unconfirmed {
    /// Who may know better.
    pub(crate) leader: Option<u64>,
    pub(crate) reason: Arc<str>,
}

impl Group {
    /// Returns once this node's copy shows everything that was acknowledged
    /// before the call.
    pub(crate) async fn linearize(self: &Arc<Self>) -> Result<(), MetadataError> {
        if cfg!(feature = "broken-reads") {
            return Ok(());
        }
        let deadline = Instant::now() + READ_DEADLINE;
        let lag = |_| self.unavailable("this node's copy lags behind");
        if self.lease.holds(&self.raft) {
            let index = self.machine.reached().index();
            return self.wait_applied(index, deadline).await.map_err(lag);
        }
        let group = Arc::clone(self);
        let round = self.reads.join(async move { group.ask().await });
        let index = match tokio::time::timeout_at(deadline, round).await {
            Ok(Ok(index)) => index,
            Ok(Err(unconfirmed)) => return Err(self.unavailable(&*unconfirmed.reason)),
            Err(_) => return Err(self.unavailable("no leader answered in time")),
        };
        self.wait_applied(index, deadline).await.map_err(lag)
    }

    /// Asks whoever leads, again and again until the deadline.
    async fn ask(self: Arc<Self>) -> ReadResult {
        let mut retry = Retry::until(Instant::now() + READ_DEADLINE);
        let mut hint = None;
        loop {
            let failed = match hint.take().or_else(|| self.leader()) {
                None => Unconfirmed::new(None, "no leader is known"),
                Some(leader) if leader == self.own() => match self.confirm().await {
                    Ok(index) => return Ok(index),
                    Err(failed) => failed,
                },
                Some(leader) => match self.ask_leader(leader).await {
                    Ok(index) => return Ok(index),
                    Err(failed) => failed,
                },
            };
            let Some(pause) = retry.pause() else {
                return Err(failed);
            };
            hint = failed.leader;
            self.changed(pause).await;
        }
    }

    /// The answer of this node, which only a leader can give.
    pub(crate) async fn confirm(self: &Arc<Self>) -> ReadResult {
        if self.lease.holds(&self.raft) {
            // Read after the lease: what anybody was shown before is below it.
            return Ok(self.machine.reached().index());
        }
        let group = Arc::clone(self);
        let round = self
            .confirmations
            .join(async move { group.confirm_alone().await });
        round.await
    }

    async fn confirm_alone(&self) -> ReadResult {
        let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        match linearizer.await {
            Ok(linearizer) => Ok(linearizer.read_log_id().log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(Unconfirmed::new(forward.leader_id, "another node leads"))
            }
            Err(error) => Err(Unconfirmed::new(None, error.to_string())),
        }
    }

    async fn ask_leader(&self, leader: u64) -> ReadResult {
        use peer::read_index_reply::Result as Reply;
        let Some(channel) = self.channel(leader) else {
            let reason = format!("node {leader} leads and is not of this cluster");
            return Err(Unconfirmed::new(None, reason));
        };
        let mut client = MetadataClient::new(channel);
        let call = client.read_index(peer::ReadIndexRequest {
            group: self.id().to_string(),
        });
        let reply = match tokio::time::timeout(ASK_DEADLINE, call).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return Err(Unconfirmed::new(None, status.to_string())),
            Err(_) => return Err(Unconfirmed::new(None, "the leader did not answer")),
        };
        match reply.result {
            Some(Reply::Index(index)) => Ok(index),
            Some(Reply::NotLeader(other)) => {
                let leader = Some(other.leader).filter(|leader| *leader != 0);
                Err(Unconfirmed::new(leader, "another node leads"))
            }
            None => Err(Unconfirmed::new(None, "the leader's answer is empty")),
        }
    }
}

// === impl Unconfirmed ===

impl Unconfirmed {
    fn new(leader: Option<u64>, reason: impl Into<Arc<str>>) -> Self {
        Self {
            leader,
            reason: reason.into(),
        }
    }
}
