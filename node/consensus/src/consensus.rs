//! All groups of a node, and what the rest of the node sees of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use entrepot_metadata::{Command, GroupId, KeyValue, Metadata, MetadataError, Response, query};
use entrepot_proto::peer::metadata_server::MetadataServer;
use entrepot_proto::peer::raft_server::RaftServer;
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, Peers};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tonic::Status;

use crate::applied::{AppliedStore, Opened};
use crate::config::{ConsensusConfig, GroupConfig};
use crate::error::ConsensusError;
use crate::files::{self, Files};
use crate::group::{Group, GroupStatus, Shared};
use crate::keeper;
use crate::raftlog::{LogOptions, RaftLog};
use crate::server::{MetadataService, RaftService};

/// How often the log is looked at, whether it has failed.
const FAILURE_INTERVAL: Duration = Duration::from_millis(500);

/// The groups of this node.
#[derive(Debug)]
pub struct Consensus {
    groups: Arc<Groups>,
    log: Arc<RaftLog>,
    applied: Arc<AppliedStore>,
    files: Arc<dyn Files>,
    index: IndexState,
    stop: watch::Sender<bool>,
    keepers: Mutex<JoinSet<()>>,
}

/// How the index was found at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// There was none.
    Fresh,
    /// It was kept as it was.
    Kept,
    /// It was set aside for this reason, and is built again from snapshots and
    /// log.
    Rebuilt(String),
}

/// The groups by their names, as messages name them.
#[derive(Debug)]
pub(crate) struct Groups {
    own: u64,
    by_name: BTreeMap<String, Arc<Group>>,
}

// === impl Consensus ===

impl Consensus {
    /// Recovers what this node has and starts its groups; a fresh group is
    /// initialised. Peers have to be able to reach the servers soon after.
    pub async fn start(
        config: ConsensusConfig,
        peers: Arc<Peers>,
    ) -> Result<Arc<Self>, ConsensusError> {
        let known: BTreeSet<u64> = peers.all().iter().map(|peer| peer.id).collect();
        for group in &config.groups {
            group.check(&known)?;
        }
        let (log, applied, opened) = open(&config).await?;
        let index = match opened {
            Opened::Fresh => IndexState::Fresh,
            Opened::Kept => IndexState::Kept,
            Opened::SetAside(reason) => {
                tracing::warn!(reason, "the index is built again");
                IndexState::Rebuilt(reason)
            }
        };
        let shared = Shared {
            peers,
            log,
            applied,
        };
        let own = shared.peers.own().id;
        let mut by_name = BTreeMap::new();
        let waits = |group: &GroupConfig| group.voters.is_empty();
        let takes_part = |group: &&GroupConfig| waits(group) || group.has_member(own);
        for group in config.groups.iter().filter(takes_part) {
            let started = Group::start(&config, group.clone(), &shared).await?;
            by_name.insert(group.id.to_string(), started);
        }
        let stop = watch::Sender::new(false);
        let mut keepers = JoinSet::new();
        let records = by_name.get(&GroupId::global().to_string()).cloned();
        for group in by_name.values() {
            let log_bytes_max = config.compaction.log_bytes_max;
            keepers.spawn(keeper::keep(
                Arc::clone(group),
                records.clone(),
                log_bytes_max,
                stop.subscribe(),
            ));
        }
        Ok(Arc::new(Self {
            groups: Arc::new(Groups { own, by_name }),
            log: shared.log,
            applied: shared.applied,
            files: Arc::clone(&config.files),
            index,
            stop,
            keepers: Mutex::new(keepers),
        }))
    }

    /// Raft's messages, for the peer port.
    pub fn raft_server(&self) -> RaftServer<RaftService> {
        RaftServer::new(RaftService(Arc::clone(&self.groups)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Forwarded proposals and reads, for the peer port.
    pub fn metadata_server(&self) -> MetadataServer<MetadataService> {
        MetadataServer::new(MetadataService(Arc::clone(&self.groups)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Lets this node take part in the groups in which it has no vote yet: it is
    /// new, and not one that has lost its votes. Until then it answers nobody
    /// who leads or wants to lead them.
    pub fn admit(&self) {
        for group in self.groups.all() {
            group.admit();
        }
    }

    /// Makes a group of these voters, which include this node; all of them may
    /// do so. A group that exists stays as it is.
    pub async fn found(
        &self,
        group: &GroupId,
        voters: BTreeSet<u64>,
    ) -> Result<(), ConsensusError> {
        match self.groups.by_name.get(&group.to_string()) {
            Some(found) => found.initialize(voters).await,
            None => Ok(()),
        }
    }

    pub fn status(&self) -> Vec<GroupStatus> {
        self.groups.all().map(|group| group.status()).collect()
    }

    /// How the index was found when this started.
    pub fn index_state(&self) -> &IndexState {
        &self.index
    }

    /// Waits until every group has a leader and this node's copy has caught up
    /// with it.
    ///
    /// # Errors
    ///
    /// [`ConsensusError::NotReady`] when that takes longer than `at_most`.
    pub async fn ready(&self, at_most: Duration) -> Result<(), ConsensusError> {
        let deadline = tokio::time::Instant::now() + at_most;
        for group in self.groups.all() {
            let mut reason = "no answer yet".to_owned();
            let ready = async {
                while let Err(error) = group.linearize().await {
                    reason = error.to_string();
                }
            };
            if tokio::time::timeout_at(deadline, ready).await.is_err() {
                let group = group.id().clone();
                return Err(ConsensusError::NotReady { group, reason });
            }
        }
        Ok(())
    }

    /// Waits until consensus has failed for good on this node, by a damaged or
    /// full disk, and returns why. The process has to end then: only a start
    /// finds out what is left.
    pub async fn failed(&self) -> ConsensusError {
        let mut groups: FuturesUnordered<_> =
            self.groups.all().map(|group| group.failed()).collect();
        let log = async {
            loop {
                if let Some(reason) = self.log.failure() {
                    return reason;
                }
                tokio::time::sleep(FAILURE_INTERVAL).await;
            }
        };
        let reason = tokio::select! {
            // What the groups say of a log that failed is a consequence.
            biased;
            reason = log => reason,
            Some(reason) = groups.next() => self.log.failure().unwrap_or(reason),
        };
        ConsensusError::Failed { reason }
    }

    /// Stops the groups and leaves everything on the disk, so that the next
    /// start need not doubt it.
    pub async fn shutdown(&self) -> Result<(), ConsensusError> {
        self.stop.send_replace(true);
        for group in self.groups.all() {
            group.retire();
        }
        while self.keepers.lock().await.join_next().await.is_some() {}
        for group in self.groups.all() {
            group.shutdown().await;
        }
        let (log, applied) = (Arc::clone(&self.log), Arc::clone(&self.applied));
        let closing = files::run(&self.files, move || {
            log.close();
            applied.close()
        });
        let closed = closing.await.map_err(ConsensusError::index)?;
        closed.map_err(ConsensusError::index)
    }

    /// A command of a `level` that a node does not understand would stop that
    /// node: it waits until all nodes have told that they do.
    fn check_level(&self, group: &GroupId, level: u32) -> Result<(), MetadataError> {
        if self.understands(level)? {
            return Ok(());
        }
        Err(MetadataError::NotYetKnown {
            group: group.clone(),
        })
    }
}

async fn open(
    config: &ConsensusConfig,
) -> Result<(Arc<RaftLog>, Arc<AppliedStore>, Opened), ConsensusError> {
    let (data, rebuild) = (config.data.clone(), config.rebuild_index);
    let (index, cache_bytes) = (config.index.clone(), config.index_cache_bytes);
    let files = Arc::clone(&config.files);
    // Not on another thread: in a simulation the log's writer is a task.
    let opening = files::run(&config.files, move || {
        let log = RaftLog::open(&files, &data.join("log"), LogOptions::default());
        let log = log.map_err(ConsensusError::log)?;
        let (applied, opened) = match index {
            Some(index) => AppliedStore::in_memory(&index, rebuild),
            None => AppliedStore::open(&data.join("index"), rebuild, cache_bytes)
                .map_err(ConsensusError::index)?,
        };
        Ok((Arc::new(log), Arc::new(applied), opened))
    });
    opening.await.map_err(ConsensusError::log)?
}

#[async_trait]
impl Metadata for Consensus {
    async fn propose(&self, group: &GroupId, command: Command) -> Result<Response, MetadataError> {
        self.check_level(group, command.level())?;
        self.groups.get(group)?.propose(command).await
    }

    async fn linearize(&self, group: &GroupId) -> Result<(), MetadataError> {
        self.groups.get(group)?.linearize().await
    }

    fn view(&self, group: &GroupId) -> Result<Arc<dyn KeyValue>, MetadataError> {
        let view: Arc<dyn KeyValue> = Arc::clone(&self.groups.get(group)?.state) as _;
        Ok(view)
    }

    fn understands(&self, level: u32) -> Result<bool, MetadataError> {
        Ok(level == 0 || level <= query::level(self.view(&GroupId::global())?.as_ref())?)
    }

    fn applied(&self, group: &GroupId) -> Result<u64, MetadataError> {
        Ok(self.groups.get(group)?.machine.applied_now())
    }

    async fn applied_after(&self, group: &GroupId, after: u64) -> Result<u64, MetadataError> {
        let group = self.groups.get(group)?;
        let mut applied = group.machine.applied();
        let reached = applied.wait_for(|applied| *applied > after).await;
        let stopped = |_| group.unavailable("the group stopped");
        reached.map(|applied| *applied).map_err(stopped)
    }
}

// === impl Groups ===

impl Groups {
    fn all(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.by_name.values()
    }

    fn get(&self, id: &GroupId) -> Result<&Arc<Group>, MetadataError> {
        // There are two or so, and every request asks more than once.
        let group = self.all().find(|group| group.id() == id);
        group.ok_or_else(|| MetadataError::UnknownGroup { group: id.clone() })
    }

    /// The group that a message is about.
    pub(crate) fn named(&self, name: &str) -> Result<&Arc<Group>, Status> {
        let group = self.by_name.get(name);
        group.ok_or_else(|| Status::not_found("this node has no such group"))
    }

    /// The group that a message is about, if this is the node it is meant for
    /// and takes part in it.
    pub(crate) fn addressed(&self, name: &str, target: u64) -> Result<&Arc<Group>, Status> {
        if target != self.own {
            let reason = format!("this is node {}, not {target}", self.own);
            return Err(Status::failed_precondition(reason));
        }
        let group = self.named(name)?;
        if !group.is_admitted() {
            let reason = format!("node {} does not take part in group {name} yet", self.own);
            return Err(Status::unavailable(reason));
        }
        Ok(group)
    }
}

#[cfg(test)]
mod tests;
