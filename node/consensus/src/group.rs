//! One group on this node: its Raft, its log, its state and its snapshots.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entrepot_metadata::{GroupId, MetadataError};
use entrepot_proto::peers::{PeerChannel, Peers};
use futures::FutureExt as _;
use openraft::ServerState;
use openraft::errors::{Fatal, InitializeError, RaftError};
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::applied::{AppliedStore, GroupState};
use crate::config::{ConsensusConfig, GroupConfig};
use crate::error::ConsensusError;
use crate::files;
use crate::incoming::Incoming;
use crate::lease::Lease;
use crate::log_store::LogStore;
use crate::machine::StateMachine;
use crate::network::Links;
use crate::raftlog::{GroupLog, RaftLog};
use crate::read::ReadResult;
use crate::rounds::Rounds;
use crate::snapshot::SnapshotStore;
use crate::types::Raft;

/// How long a leader that stops waits for another one to stand: the message, the
/// vote and the word of the next leader take two round trips, and syncs between.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(1);
/// The same in heartbeats, where these take longer.
const HAND_OVER_HEARTBEATS: u32 = 3;
const HAND_OVER_POLL: Duration = Duration::from_millis(20);

/// What a node knows of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    pub group: GroupId,
    /// None while no node leads, as far as this node knows.
    pub leader: Option<u64>,
    pub term: u64,
    /// Log index up to which this node's copy is applied; 0 before anything is.
    pub applied: u64,
    /// Log index up to which this node has no entries any more, but a snapshot;
    /// 0 before the log was cut.
    pub purged: u64,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
}

/// One group on this node.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) config: GroupConfig,
    pub(crate) peers: Arc<Peers>,
    pub(crate) raft: Raft,
    pub(crate) log: GroupLog,
    pub(crate) state: Arc<GroupState>,
    pub(crate) machine: StateMachine,
    pub(crate) lease: Lease,
    /// How often the leader is heard of.
    pub(crate) heartbeat: Duration,
    /// Whether Raft's messages are answered. A node without a vote may be new,
    /// or may have lost the disk with its votes: that has to be found out first.
    admitted: AtomicBool,
    /// See [`Group::fail`].
    failure: watch::Sender<Option<String>>,
    /// What the callers of this node ask the leader, whoever that is.
    pub(crate) reads: Rounds<ReadResult>,
    /// What this node, while it leads, asks its followers.
    pub(crate) confirmations: Rounds<ReadResult>,
    /// A snapshot on its way in.
    pub(crate) incoming: Incoming,
    stopping: AtomicBool,
}

/// What all groups of a node stand on.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) peers: Arc<Peers>,
    pub(crate) log: Arc<RaftLog>,
    pub(crate) applied: Arc<AppliedStore>,
}

// === impl Group ===

impl Group {
    /// Recovers the group and starts to take part in it.
    pub(crate) async fn start(
        config: &ConsensusConfig,
        group: GroupConfig,
        shared: &Shared,
    ) -> Result<Arc<Self>, ConsensusError> {
        let id = group.id.clone();
        let name = id.to_string();
        let raft_config = Arc::new(config.raft_config(&id)?);
        let (state, snapshots, machine) = open(config, &id, &shared.applied).await?;
        let log = shared.log.group(&name);
        let lease = Lease::new(config.timing(&id).lease());
        let has_voted = log.vote().is_some();
        if has_voted {
            let voters = known_voters(&state, &group)?;
            lease.sit_out(&voters).await;
        }
        let raft = Raft::new(
            shared.peers.own().id,
            raft_config,
            Links::new(&name, Arc::clone(&shared.peers), machine.reached().clone()),
            LogStore::new(log.clone()),
            machine.clone(),
        );
        let raft = raft
            .await
            .map_err(|error| ConsensusError::raft(&id, &error))?;
        let incoming = Incoming::new(log.files(), &snapshots);
        let group = Arc::new(Self {
            incoming,
            admitted: AtomicBool::new(has_voted || !group.voters.is_empty()),
            config: group,
            peers: Arc::clone(&shared.peers),
            raft,
            log,
            state,
            machine,
            lease,
            heartbeat: Duration::from_millis(config.timing(&id).heartbeat_ms),
            failure: watch::Sender::new(None),
            reads: Rounds::new(),
            confirmations: Rounds::new(),
            stopping: AtomicBool::new(false),
        });
        if group.config.has_voter(group.own()) {
            group
                .initialize(group.config.voters.iter().copied().collect())
                .await?;
        }
        Ok(group)
    }

    /// Every voter of a fresh group writes the same first entry, so it does not
    /// matter which of them is first, or whether one was before. (A voter that
    /// lost its disk looks fresh as well: it must come back under a new id, or
    /// it could vote twice in one term.)
    pub(crate) async fn initialize(&self, voters: BTreeSet<u64>) -> Result<(), ConsensusError> {
        match self.raft.initialize(voters).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(ConsensusError::raft(&self.config.id, &error)),
        }
    }

    pub(crate) fn own(&self) -> u64 {
        self.peers.own().id
    }

    pub(crate) fn id(&self) -> &GroupId {
        &self.config.id
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        self.raft.metrics().borrow_watched().current_leader
    }

    pub(crate) fn leads(&self) -> bool {
        self.raft.metrics().borrow_watched().state == ServerState::Leader
    }

    /// This node cannot go on in the group, which openraft does not know.
    pub(crate) fn fail(&self, reason: &str) {
        self.failure.send_replace(Some(reason.to_owned()));
    }

    /// Waits until the group has stopped on this node otherwise than it should,
    /// or cannot go on, and returns why.
    pub(crate) async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        tokio::select! {
            reason = self.stopped() => reason,
            Ok(reason) = failure.wait_for(Option::is_some) => reason.clone().unwrap_or_default(),
        }
    }

    async fn stopped(&self) -> String {
        let metrics = self.raft.metrics();
        // These hardly ever change; the others do with every entry.
        let mut server = self.raft.server_metrics();
        loop {
            let state = metrics.borrow_watched().running_state.clone();
            match state {
                Ok(()) => {}
                Err(Fatal::Stopped) => return std::future::pending().await,
                Err(fatal) => return fatal.to_string(),
            }
            // A panic reports nothing: it only takes the senders away.
            if server.changed().await.is_err() && metrics.borrow_watched().running_state.is_ok() {
                return format!("group {} panicked", self.id());
            }
        }
    }

    /// A channel to whoever leads.
    pub(crate) fn channel(&self, leader: u64) -> Option<PeerChannel> {
        self.peers.channel(leader)
    }

    /// Waits until something about the group changes, such as its leader, but
    /// not for long.
    pub(crate) async fn changed(&self, at_most: Duration) {
        let mut metrics = self.raft.server_metrics();
        // It knows nothing of what has changed since the group started, which
        // is no news.
        let _ = metrics.changed().now_or_never();
        let changed = async {
            if metrics.changed().await.is_err() {
                // Nothing changes in a group that has stopped, and who asks
                // again and again shall not do so without a pause.
                std::future::pending::<()>().await;
            }
        };
        // Either way the caller looks again.
        let _ = tokio::time::timeout(at_most, changed).await;
    }

    /// Waits until this node's copy has applied `index`.
    pub(crate) async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), Late> {
        let mut applied = self.machine.applied();
        let reached = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Late),
        }
    }

    pub(crate) fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        GroupStatus {
            group: self.id().clone(),
            leader: metrics.current_leader,
            term: metrics.current_term,
            applied: *self.machine.applied().borrow(),
            purged: metrics.purged.map_or(0, |purged| purged.index()),
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
        }
    }

    pub(crate) fn unavailable(&self, reason: impl Into<String>) -> MetadataError {
        MetadataError::Unavailable {
            group: self.id().clone(),
            reason: reason.into(),
        }
    }

    /// Gives the lead to the voter that has most of the log, so that the others
    /// need not wait until the lease has run out.
    async fn hand_over(&self) {
        let next = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
            let followers = metrics.replication.iter().flatten();
            followers
                .filter(|(node, _)| **node != self.own() && voters.contains(*node))
                .max_by_key(|(_, matched)| **matched)
                .map(|(node, _)| *node)
        };
        if let Some(next) = next {
            self.hand_over_to(next).await;
        }
    }

    pub(crate) async fn hand_over_to(&self, next: u64) {
        if !self.leads() {
            return;
        }
        self.lease.give_up(&self.raft);
        if self.raft.trigger().transfer_leader(next).await.is_err() {
            return;
        }
        let patience = HAND_OVER_DEADLINE.max(self.heartbeat * HAND_OVER_HEARTBEATS);
        let deadline = Instant::now() + patience;
        while self.leader().is_none_or(|leader| leader == self.own()) && Instant::now() < deadline {
            self.changed(HAND_OVER_POLL).await;
        }
    }

    /// From now on nobody hands the lead to this node, which is about to stop.
    pub(crate) fn retire(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// From now on this node takes part.
    pub(crate) fn admit(&self) {
        self.admitted.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::SeqCst)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) async fn shutdown(&self) {
        self.hand_over().await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, group = %self.id(), "the group did not stop as it should");
        }
        self.reads.clear();
        self.confirmations.clear();
    }
}

/// Who voted when this node stopped, as far as its copy knows; else who is to.
/// More are no harm: they only make this node wait.
fn known_voters(state: &GroupState, config: &GroupConfig) -> Result<BTreeSet<u64>, ConsensusError> {
    let position = state.position().map_err(ConsensusError::index)?;
    let mut voters: BTreeSet<u64> = position.meta.last_membership.voter_ids().collect();
    voters.extend(&config.voters);
    Ok(voters)
}

/// The copy of this node did not get there in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late;

type Parts = (Arc<GroupState>, Arc<SnapshotStore>, StateMachine);

async fn open(
    config: &ConsensusConfig,
    id: &GroupId,
    applied: &Arc<AppliedStore>,
) -> Result<Parts, ConsensusError> {
    let (dir, applied, id) = (
        config.data.join("snapshots"),
        Arc::clone(applied),
        id.clone(),
    );
    let files = Arc::clone(&config.files);
    let opening = files::run(&config.files, move || {
        let name = id.to_string();
        let state = applied.group(&name).map_err(ConsensusError::index)?;
        let snapshots = SnapshotStore::open(&files, &dir, &name)
            .map_err(|error| ConsensusError::snapshots(&id, error))?;
        let snapshots = Arc::new(snapshots);
        let machine = StateMachine::new(applied, Arc::clone(&state), Arc::clone(&snapshots));
        Ok((state, snapshots, machine.map_err(ConsensusError::index)?))
    });
    opening.await.map_err(ConsensusError::index)?
}
