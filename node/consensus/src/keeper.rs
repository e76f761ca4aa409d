//! What has to be done for a group again and again.
//!
//! The leader brings the group's members to what the cluster's records say, one
//! step at a time. Every node cuts its log when the entries take too much space
//! although they are not many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::query::{self, Member};
use entrepot_metadata::{GroupId, GroupKind, StorageError};
use openraft::ChangeMembers;
use openraft::impls::EmptyNode;
use openraft::type_config::async_runtime::instant::Instant as _;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::applied::GroupState;
use crate::group::Group;
use crate::plan::{self, Candidate, Situation, Step};

const INTERVAL: Duration = Duration::from_secs(1);
/// A step that takes longer is tried again: what it was about may have changed.
const STEP_DEADLINE: Duration = Duration::from_secs(15);
/// A follower that has not answered for as many heartbeats is not counted on.
const HEARTBEATS_MISSED_MAX: u32 = 10;
/// Entries that a follower may be behind when it is made a voter: it has them
/// before anybody notices.
const ENTRIES_BEHIND_MAX: u64 = 1_000;

/// Where the cluster's records are: the global group.
pub(crate) type Records = Option<Arc<Group>>;

/// Looks after a group until `stop` says so.
pub(crate) async fn keep(
    group: Arc<Group>,
    records: Records,
    log_bytes_max: u64,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::select! {
            () = group.keep(&records, log_bytes_max) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// The nodes that are to be in `group`; none before the cluster was formed.
fn wanted(group: &GroupId, records: &GroupState) -> Result<BTreeMap<u64, Candidate>, StorageError> {
    let is_of_it = |member: &Member| match &group.kind {
        GroupKind::Global => true,
        GroupKind::Region(region) => member.region == *region,
    };
    let members = query::members(records)?.into_iter().filter(is_of_it);
    let candidates = members.map(|member| {
        let candidate = Candidate {
            region: member.region.to_string(),
            may_vote: member.is_active(),
        };
        (member.node, candidate)
    });
    Ok(candidates.collect())
}

/// The step by records that are up to date. This node's copy of them, which says
/// `first`, may be one of long ago, or on its way: that is no reason to take votes
/// from anybody, so it is asked `again` once it is `confirmed`. A step that was
/// interrupted is finished without.
async fn sure<E>(
    first: Option<Step>,
    confirmed: impl Future<Output = Result<(), E>>,
    again: impl Future<Output = Option<Step>>,
) -> Result<Option<Step>, E> {
    if first.is_none() || first == Some(Step::Finish) {
        return Ok(first);
    }
    confirmed.await?;
    Ok(again.await)
}

impl Group {
    async fn keep(&self, records: &Records, log_bytes_max: u64) {
        self.incoming.tidy().await;
        if self.leads() && !self.is_retired() {
            self.keep_members(records).await;
        }
        if self.log.bytes() > log_bytes_max {
            self.cut_log().await;
        }
    }

    async fn keep_members(&self, records: &Records) {
        let Some(records) = records.as_ref() else {
            self.add_learners().await;
            return;
        };
        let first = self.next_step(records).await;
        let again = self.next_step(records);
        let step = match sure(first, records.linearize(), again).await {
            Ok(Some(step)) => step,
            Ok(None) => return,
            Err(error) => {
                tracing::info!(group = %self.id(), %error, "the group's members stay for now");
                return;
            }
        };
        tracing::info!(group = %self.id(), ?step, "the group's members change");
        match tokio::time::timeout(STEP_DEADLINE, self.take(step)).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                tracing::warn!(group = %self.id(), reason, "the members could not be changed");
            }
            Err(_) => tracing::warn!(group = %self.id(), "a change of the members takes long"),
        }
    }

    /// By this node's copy of the records.
    async fn next_step(&self, records: &Group) -> Option<Step> {
        match wanted(self.id(), &records.state) {
            Ok(wanted) if wanted.is_empty() => {
                // Before the cluster was formed, the configuration says it.
                self.add_learners().await;
                None
            }
            Ok(wanted) => plan::next(&self.situation(), &wanted),
            Err(error) => {
                tracing::warn!(group = %self.id(), %error, "the cluster's nodes cannot be read");
                None
            }
        }
    }

    fn situation(&self) -> Situation {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let silent_max = self.heartbeat * HEARTBEATS_MISSED_MAX;
        let heard = metrics.heartbeat.iter().flatten();
        let alive = heard
            .filter(|(_, at)| at.is_some_and(|at| at.into_inner().elapsed() < silent_max))
            .map(|(node, _)| *node);
        let enough = metrics.last_log_index.unwrap_or(0);
        let enough = enough.saturating_sub(ENTRIES_BEHIND_MAX);
        let matched = metrics.replication.iter().flatten();
        let caught_up = matched
            .filter(|(_, log)| log.as_ref().is_some_and(|log| log.index() >= enough))
            .map(|(node, _)| *node);
        Situation {
            own: metrics.id,
            voters: membership.get_joint_config().clone(),
            learners: membership.learner_ids().collect(),
            is_settled: metrics.membership_config == metrics.committed_membership_config,
            alive: alive.collect(),
            caught_up: caught_up.collect(),
        }
    }

    async fn take(&self, step: Step) -> Result<(), String> {
        match step {
            Step::HandOver(node) => {
                self.hand_over_to(node).await;
                Ok(())
            }
            Step::AddLearner(node) => {
                let added = self.raft.add_learner(node, EmptyNode::new(), false).await;
                added.map(drop).map_err(|error| error.to_string())
            }
            Step::Finish => {
                let nobody = ChangeMembers::AddVoterIds(BTreeSet::new());
                self.change(nobody).await
            }
            Step::Vote(voters) => self.change(ChangeMembers::ReplaceAllVoters(voters)).await,
            Step::Remove(nodes) => self.change(ChangeMembers::RemoveNodes(nodes)).await,
        }
    }

    /// Whoever does not vote any more learns.
    async fn change(&self, change: ChangeMembers<u64, EmptyNode>) -> Result<(), String> {
        let changed = self.raft.change_membership(change, true).await;
        changed.map(drop).map_err(|error| error.to_string())
    }

    async fn add_learners(&self) {
        let known = self.status();
        for node in &self.config.learners {
            if known.learners.contains(node) || known.voters.contains(node) {
                continue;
            }
            // One membership change at a time; the next round does the rest.
            match self.raft.add_learner(*node, EmptyNode::new(), false).await {
                Ok(_) => tracing::info!(group = %self.id(), node, "added a learner"),
                Err(error) => {
                    tracing::debug!(group = %self.id(), node, %error, "cannot add a learner yet");
                    return;
                }
            }
        }
    }

    /// Makes a snapshot of what is applied, or cuts the log off before the one
    /// that is there.
    async fn cut_log(&self) {
        let (applied, snapshot, purged) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.last_applied, metrics.snapshot, metrics.purged)
        };
        let requested = match snapshot {
            Some(snapshot) if purged < Some(snapshot) => {
                self.raft.trigger().purge_log(snapshot.index()).await
            }
            _ if snapshot < applied => self.raft.trigger().snapshot().await,
            _ => return,
        };
        if let Err(error) = requested {
            tracing::debug!(group = %self.id(), %error, "cannot cut the log");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// The steps that a node's copy of the records asks for, before and after it
    /// is made sure of.
    async fn found(
        before: Option<Step>,
        after: Result<Option<Step>, ()>,
    ) -> Result<Option<Step>, ()> {
        let records = RefCell::new(before.clone());
        let confirmed = async {
            *records.borrow_mut() = after?;
            Ok(())
        };
        sure(before, confirmed, async { records.borrow().clone() }).await
    }

    fn vote(voters: impl IntoIterator<Item = u64>) -> Step {
        Step::Vote(voters.into_iter().collect())
    }

    #[tokio::test]
    async fn members_change_only_by_records_that_are_up_to_date() {
        // Its copy is one from before nodes 4 and 5 joined.
        let old = || Some(vote(1..=3));
        assert_eq!(found(old(), Ok(None)).await, Ok(None));
        let gone = Some(Step::Remove([4].into()));
        assert_eq!(found(old(), Ok(gone.clone())).await, Ok(gone));
        // It is cut off from those who know.
        assert_eq!(found(old(), Err(())).await, Err(()));
        assert_eq!(found(old(), Ok(old())).await, Ok(old()));
    }

    #[tokio::test]
    async fn nobody_is_asked_for_nothing_nor_for_what_was_begun() {
        assert_eq!(found(None, Err(())).await, Ok(None));
        let finish = Some(Step::Finish);
        assert_eq!(found(finish.clone(), Err(())).await, Ok(finish));
    }
}
