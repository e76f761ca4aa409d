//! What operators do with the nodes and regions of the cluster.
//!
//! The records decide who is who; here it is decided whether a node may go. The
//! invariants: nobody but the cluster's operators is told or changes anything; a
//! node that is removed without force has no vote and no last copy
//! of anything; with or without, no group is left without a majority.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::command::{AddRegion, RemoveMember, RemoveRegion, SetMemberState};
use entrepot_metadata::query::{self, Member, MemberState, Region};
use entrepot_metadata::{Command, GroupId, KeyValue};
use entrepot_oci::RegionName;
use tokio::time::Instant;

use crate::departure::{Counted, Departure};
use crate::metadata::refused;
use crate::{Caller, Registry, ServiceError};

/// For a node that is removed by force to give its votes away: a few changes of
/// its groups, one a second.
const VOTES_MOVE_MAX: Duration = Duration::from_secs(20);
const VOTES_LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// A node of the cluster.
#[derive(Debug, Clone)]
pub struct MemberInfo {
    pub member: Member,
    /// As this node sees it.
    pub alive: bool,
    /// 0: not known.
    pub free_bytes: u64,
    pub is_full: bool,
}

/// A node that is to leave for ever.
#[derive(Debug, Clone, Copy)]
pub struct Removal {
    pub node: u64,
    /// Although it is not drained, or has the last copy of something.
    pub force: bool,
    /// It is lost, and this one has joined in its place.
    pub successor: Option<u64>,
}

/// A region and how many nodes it has.
#[derive(Debug, Clone)]
pub struct RegionInfo {
    pub region: Region,
    pub nodes: usize,
}

impl Registry {
    /// The nodes of the cluster by their ids.
    ///
    /// # Errors
    /// As [`Registry::observes`].
    pub async fn members(&self, who: &Caller) -> Result<Vec<MemberInfo>, ServiceError> {
        self.observes(who)?;
        let members = query::members(self.cluster_records().await?.as_ref())?;
        Ok(members.into_iter().map(|it| self.member_info(it)).collect())
    }

    /// Moves what a node holds to others, or takes that back. A node that
    /// drains already goes on.
    pub async fn drain(
        &self,
        who: &Caller,
        node: u64,
        cancel: bool,
    ) -> Result<MemberInfo, ServiceError> {
        self.operates(who)?;
        let member = self.member(node).await?;
        let command = if cancel {
            let active = SetMemberState::new(node, MemberState::Active);
            match member.state {
                MemberState::Draining => active.only_from(MemberState::Draining),
                MemberState::Active => active,
                _ => return Err(ServiceError::Conflict(in_state(&member))),
            }
        } else {
            self.others_can_take_over(&member).await?;
            SetMemberState::new(node, MemberState::Draining)
        };
        self.propose_global(command).await?;
        Ok(self.member_info(self.member(node).await?))
    }

    /// What would be missing without a node, or after `patience` how far the
    /// count is.
    pub async fn departure(
        self: &Arc<Self>,
        who: &Caller,
        node: u64,
        patience: Option<Duration>,
    ) -> Result<(MemberInfo, Counted), ServiceError> {
        self.observes(who)?;
        let member = self.member(node).await?;
        let counted = self.departure_of(&member, patience).await?;
        Ok((self.member_info(member), counted))
    }

    /// A node leaves for ever; what is missing since. Nothing is done when
    /// `patience` ends before it is known what that is.
    pub async fn remove_member(
        self: &Arc<Self>,
        who: &Caller,
        removal: &Removal,
        patience: Option<Duration>,
    ) -> Result<Counted, ServiceError> {
        self.operates(who)?;
        let Removal { node, force, .. } = *removal;
        let member = self.member(node).await?;
        if let Some(successor) = removal.successor {
            self.check_successor(&member, successor).await?;
        }
        let counted = match self.departure_of(&member, patience).await {
            Err(error) if force => self
                .departure_of_gone(&member)
                .map(Counted::All)
                .ok_or(error)?,
            found => found?,
        };
        let Counted::All(mut departure) = counted else {
            return Ok(counted);
        };
        let members = query::members(self.cluster_records().await?.as_ref())?;
        let mut others = members.iter().filter(|other| other.node != node);
        if force && !others.any(|other| other.region == member.region) {
            // The group of a region ends with the region's last node.
            let group = GroupId::region(member.region.clone()).to_string();
            departure.votes_in.retain(|found| *found != group);
            departure.needed_in.retain(|found| *found != group);
        }
        if let Some(group) = departure.needed_in.first() {
            return Err(ServiceError::Conflict(format!(
                "node {node} cannot be removed: group {group} would be left without a majority of \
                 its voters that answers; start the others first"
            )));
        }
        // What is lost cannot be drained.
        let lost = removal.successor.is_some();
        if !force {
            check_last(node, &departure, lost)?;
        }
        if force {
            self.move_votes(&member, departure.votes_in.clone()).await?;
        } else if !lost {
            check_drained(&member, &departure)?;
        }
        let remove = RemoveMember {
            node,
            at_ms: self.clock.now_ms(),
            force: force || lost,
        };
        self.propose_global(remove).await?;
        Ok(Counted::All(departure))
    }

    /// That `member` is lost, and `successor` can take its place.
    async fn check_successor(&self, member: &Member, successor: u64) -> Result<(), ServiceError> {
        let node = member.node;
        let health = self.blobs.health();
        if health.is_alive(node) {
            return Err(ServiceError::Conflict(format!(
                "node {node} answers, so it is not lost: drain it, and remove it then"
            )));
        }
        let new = self.member(successor).await?;
        let takes_part = new.is_active() && health.is_alive(successor);
        if takes_part && new.region == member.region && successor != node {
            return Ok(());
        }
        Err(ServiceError::Conflict(format!(
            "node {successor} cannot take the place of node {node}: it has to be an active node of \
             the same region, and to answer"
        )))
    }

    /// A node that runs gives its votes away before it goes, even by force: it
    /// ends once it is removed, and what it still had to agree to would wait for
    /// ever.
    async fn move_votes(
        &self,
        member: &Member,
        mut votes: Vec<String>,
    ) -> Result<(), ServiceError> {
        let node = member.node;
        if votes.is_empty() || !self.blobs.health().is_alive(node) {
            return Ok(());
        }
        self.propose_global(SetMemberState::new(node, MemberState::Draining))
            .await?;
        let deadline = Instant::now() + VOTES_MOVE_MAX;
        while let Some(group) = votes.first() {
            if Instant::now() >= deadline {
                return Err(ServiceError::Conflict(format!(
                    "node {node} answers and still votes in group {group}: it is draining now; \
                     try again once others vote in its place, or stop it first"
                )));
            }
            tokio::time::sleep(VOTES_LOOK_INTERVAL).await;
            let left = self.votes_of(member).await?;
            votes.retain(|group| left.contains(group));
        }
        Ok(())
    }

    /// The regions of the cluster by their names.
    pub async fn regions(&self, who: &Caller) -> Result<Vec<RegionInfo>, ServiceError> {
        self.observes(who)?;
        let view = self.cluster_records().await?;
        let members = query::members(view.as_ref())?;
        let regions = query::regions(view.as_ref())?.into_iter();
        let counted = regions.map(|region| RegionInfo {
            nodes: members
                .iter()
                .filter(|member| member.region == region.name)
                .count(),
            region,
        });
        Ok(counted.collect())
    }

    /// Makes a region for nodes to come; one that exists is fine.
    pub async fn add_region(&self, who: &Caller, name: &RegionName) -> Result<(), ServiceError> {
        self.operates(who)?;
        let command = AddRegion::new(name, self.clock.now_ms());
        self.propose_global(command).await
    }

    /// Removes a region that has no nodes.
    pub async fn remove_region(&self, who: &Caller, name: &RegionName) -> Result<(), ServiceError> {
        self.operates(who)?;
        self.propose_global(RemoveRegion::new(name)).await
    }

    pub(crate) async fn member(&self, node: u64) -> Result<Member, ServiceError> {
        let view = self.cluster_records().await?;
        if !query::is_formed(view.as_ref())? {
            // Nobody is in the records yet: that says nothing about anybody.
            let reason = "the cluster is being formed, and its nodes are not known yet";
            return Err(ServiceError::unavailable(reason));
        }
        query::member(view.as_ref(), node)?
            .filter(|member| !member.is_removed())
            .ok_or_else(|| ServiceError::NotFound(format!("there is no node {node}")))
    }

    /// That there is a node to which what `member` holds can move.
    async fn others_can_take_over(&self, member: &Member) -> Result<(), ServiceError> {
        let members = query::members(self.cluster_records().await?.as_ref())?;
        let takes_over = |other: &Member| {
            other.node != member.node && other.region == member.region && other.is_active()
        };
        if members.iter().any(takes_over) {
            return Ok(());
        }
        Err(ServiceError::Conflict(format!(
            "node {} is the last active node of region {}: nothing that it holds can move",
            member.node, member.region
        )))
    }

    fn member_info(&self, member: Member) -> MemberInfo {
        let health = self.blobs.health();
        let space = health.space(member.node).unwrap_or_default();
        MemberInfo {
            alive: health.is_alive(member.node),
            free_bytes: space.free_bytes,
            is_full: space.is_full,
            member,
        }
    }

    /// This node's copy of the global group, with all that was acknowledged.
    async fn cluster_records(&self) -> Result<Arc<dyn KeyValue>, ServiceError> {
        self.metadata.linearize(&self.global).await?;
        Ok(self.metadata.view(&self.global)?)
    }

    pub(crate) async fn propose_global(
        &self,
        command: impl Into<Command>,
    ) -> Result<(), ServiceError> {
        let response = self.propose_to(&self.global, command.into()).await?;
        response.into_result().map(drop).map_err(refused)
    }
}

/// That nothing is lost with a node.
fn check_last(node: u64, departure: &Departure, lost: bool) -> Result<(), ServiceError> {
    if departure.blobs_last == 0 {
        return Ok(());
    }
    let instead = if lost { "start it again" } else { "drain it" };
    Err(ServiceError::Conflict(format!(
        "node {node} has the last copy of {} of {} blobs: {instead}, or lose them by force",
        departure.blobs_last, departure.blobs
    )))
}

/// That a node has nothing left to give away.
fn check_drained(member: &Member, departure: &Departure) -> Result<(), ServiceError> {
    let node = member.node;
    let refuse = |reason: String| Err(ServiceError::Conflict(reason));
    if member.is_active() {
        return refuse(format!("node {node} is active: drain it first"));
    }
    if let Some(group) = departure.votes_in.first() {
        return refuse(format!(
            "node {node} still votes in group {group}: wait for its drain"
        ));
    }
    Ok(())
}

fn in_state(member: &Member) -> String {
    format!("node {} is {}", member.node, member.state.name())
}
