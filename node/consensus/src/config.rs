//! What consensus is told at its start.
//!
//! Every node of a cluster must be given the same groups: who votes is part of
//! the first entry of a group's log.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::{GroupId, GroupKind};
use openraft::SnapshotPolicy;

use crate::applied::MemoryIndex;
use crate::error::ConsensusError;
use crate::files::{Disk, Files};

/// Everything consensus needs to know.
#[derive(Debug, Clone)]
pub struct ConsensusConfig {
    /// Directory of the log, the index and the snapshots.
    pub data: PathBuf,
    /// Where the log and the snapshots are kept.
    pub files: Arc<dyn Files>,
    /// All groups of the cluster; this node takes part in those that name it.
    pub groups: Vec<GroupConfig>,
    /// Of groups within a region.
    pub region_timing: Timing,
    /// Of the group that spans the regions.
    pub global_timing: Timing,
    pub compaction: Compaction,
    /// None: sled, beside the log.
    pub index: Option<MemoryIndex>,
    /// What sled keeps in memory of the applied state of all groups, bytes: as it
    /// counts them, which is less than what they take. None: as much as suits the
    /// size that the index has at the start.
    pub index_cache_bytes: Option<u64>,
    /// Build the index anew, whatever state it is in.
    pub rebuild_index: bool,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    pub id: GroupId,
    /// Nodes that elect the leader and commit, when the group is new. None: it
    /// exists, or others make it, and this node waits until it is added.
    pub voters: Vec<u64>,
    /// Nodes that have a copy and no vote.
    pub learners: Vec<u64>,
}

/// How fast a dead leader is noticed, ms. An election starts between `min` and
/// `max` after the lease (`max`) of the last leader has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    /// How long after a message that a quorum answered its sender may trust that
    /// it leads; at most half of `election_max_ms`. 0: it asks for every read.
    pub lease_ms: u64,
}

/// When a log is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Entries after which a snapshot is made.
    pub snapshot_every: u64,
    /// Entries before a snapshot that stay, for followers that lag a little.
    pub keep_entries: u64,
    /// A group whose entries take more than this makes a snapshot and keeps
    /// none, bytes.
    pub log_bytes_max: u64,
}

// === impl ConsensusConfig ===

impl ConsensusConfig {
    /// The defaults: LAN timing within regions, WAN timing between them.
    pub fn new(data: PathBuf, groups: Vec<GroupConfig>) -> Self {
        Self {
            data,
            files: Arc::new(Disk),
            groups,
            region_timing: Timing::LAN,
            global_timing: Timing::WAN,
            compaction: Compaction::default(),
            index: None,
            index_cache_bytes: None,
            rebuild_index: false,
        }
    }

    pub(crate) fn timing(&self, group: &GroupId) -> Timing {
        match group.kind {
            GroupKind::Global => self.global_timing,
            GroupKind::Region(_) => self.region_timing,
        }
    }

    pub(crate) fn raft_config(&self, group: &GroupId) -> Result<openraft::Config, ConsensusError> {
        let timing = self.timing(group);
        if 2 * timing.lease_ms > timing.election_max_ms {
            return Err(ConsensusError::Config {
                group: group.clone(),
                reason: "a lease is longer than half an election timeout".to_owned(),
            });
        }
        let compaction = self.compaction;
        let config = openraft::Config {
            cluster_name: group.to_string(),
            heartbeat_interval: timing.heartbeat_ms,
            heartbeat_min_interval: Some(timing.heartbeat_ms),
            election_timeout_min: timing.election_min_ms,
            election_timeout_max: timing.election_max_ms,
            enable_pre_vote: Some(true),
            // What a restarted node has applied may be older than what it had:
            // it has to be elected before it leads again.
            enable_leader_restore: Some(false),
            install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(compaction.snapshot_every),
            max_in_snapshot_log_to_keep: compaction.keep_entries,
            // Above both, or a snapshot would not end a lag.
            replication_lag_threshold: compaction.snapshot_every + compaction.keep_entries,
            purge_batch_size: PURGE_ENTRIES.min(compaction.snapshot_every),
            max_payload_entries: PAYLOAD_ENTRIES_MAX,
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| ConsensusError::Config {
            group: group.clone(),
            reason: error.to_string(),
        })
    }
}

/// A snapshot of gigabytes over a slow link takes minutes.
const SNAPSHOT_TIMEOUT_MS: u64 = 600_000;

/// Entries that are purged at a time.
const PURGE_ENTRIES: u64 = 1_000;

/// Entries of one message to a follower; their bytes are limited as well.
const PAYLOAD_ENTRIES_MAX: u64 = 1_000;

// === impl GroupConfig ===

impl GroupConfig {
    pub(crate) fn has_voter(&self, node: u64) -> bool {
        self.voters.contains(&node)
    }

    pub(crate) fn has_member(&self, node: u64) -> bool {
        self.has_voter(node) || self.learners.contains(&node)
    }

    /// `known`: the nodes of the cluster.
    pub(crate) fn check(&self, known: &BTreeSet<u64>) -> Result<(), ConsensusError> {
        let invalid = |reason: String| {
            Err(ConsensusError::Config {
                group: self.id.clone(),
                reason,
            })
        };
        let mut seen = BTreeSet::new();
        for node in self.voters.iter().chain(&self.learners) {
            if !seen.insert(*node) {
                return invalid(format!("node {node} is listed twice"));
            }
            if !known.contains(node) {
                return invalid(format!("node {node} is not of this cluster"));
            }
        }
        Ok(())
    }
}

// === impl Timing, Compaction ===

impl Timing {
    /// Nodes next to each other: an election starts 0.9 to 1.2 s after the last
    /// word of a dead leader, and a new one stands within 2 s.
    pub const LAN: Self = Self {
        heartbeat_ms: 100,
        election_min_ms: 300,
        election_max_ms: 600,
        lease_ms: 300,
    };

    /// Round trips of up to 400 ms. For an answer openraft waits three quarters of
    /// a heartbeat: a leader further away is heard, and never hears.
    pub const WAN: Self = Self {
        heartbeat_ms: 600,
        election_min_ms: 2_000,
        election_max_ms: 4_000,
        // Nothing that clients wait for reads the global group linearizably.
        lease_ms: 0,
    };

    pub(crate) fn lease(self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            snapshot_every: 50_000,
            keep_entries: 20_000,
            log_bytes_max: 256 * 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(voters: &[u64], learners: &[u64]) -> GroupConfig {
        GroupConfig {
            id: GroupId::global(),
            voters: voters.to_vec(),
            learners: learners.to_vec(),
        }
    }

    #[test]
    fn members_are_checked() {
        let known = BTreeSet::from([1, 2, 3]);
        assert!(group(&[1, 2], &[3]).check(&known).is_ok());
        assert!(group(&[], &[]).check(&known).is_ok());
        assert!(group(&[1, 2], &[2]).check(&known).is_err());
        assert!(group(&[1, 9], &[]).check(&known).is_err());
    }

    #[test]
    fn the_timings_are_valid() {
        let config = ConsensusConfig::new(PathBuf::new(), Vec::new());
        let region = GroupId::region("us-east-1".parse().unwrap());
        for group in [GroupId::global(), region] {
            let raft = config.raft_config(&group).unwrap();
            let heartbeat = raft.heartbeat_interval + raft.heartbeat_min_interval.unwrap();
            // openraft ticks at about a fifth of the heartbeat.
            let tick = raft.heartbeat_interval / 4;
            assert!(heartbeat + tick < raft.election_timeout_min);
            // As long as the last leader is believed in, one message in two may
            // be lost.
            assert!(2 * (heartbeat + tick) < raft.election_timeout_max);
        }
    }

    #[test]
    fn answers_from_another_region_come_in_time() {
        let config = ConsensusConfig::new(PathBuf::new(), Vec::new());
        let raft = config.raft_config(&GroupId::global()).unwrap();
        let (round_trip, work) = (400, 50);
        assert!(round_trip + work <= raft.heartbeat_interval * 3 / 4);
        // Of a vote, and of the vote before it.
        assert!(round_trip + work <= raft.election_timeout_min * 3 / 4);
    }
}
