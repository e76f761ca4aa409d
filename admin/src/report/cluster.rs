//! `entrepot cluster status`

use entrepot_proto::admin::{ClusterStatusReply, GroupStatus, NodeStatus};
use serde::Serialize;

use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct ClusterReport {
    /// The node that answered.
    node: u64,
    region: String,
    account: String,
    version: String,
    nodes: Vec<Node>,
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: u64,
    region: String,
    peer_address: String,
    alive: bool,
}

#[derive(Debug, Serialize)]
struct Group {
    #[serde(rename = "group")]
    id: String,
    leader: Option<u64>,
    term: u64,
    applied: u64,
    voters: Vec<u64>,
    learners: Vec<u64>,
}

impl From<ClusterStatusReply> for ClusterReport {
    fn from(reply: ClusterStatusReply) -> Self {
        Self {
            node: reply.node,
            region: reply.region,
            account: reply.account,
            version: reply.version,
            nodes: reply.nodes.into_iter().map(Node::from).collect(),
            groups: reply.groups.into_iter().map(Group::from).collect(),
        }
    }
}

impl From<NodeStatus> for Node {
    fn from(node: NodeStatus) -> Self {
        Self {
            id: node.id,
            region: node.region,
            peer_address: node.peer_address,
            alive: node.alive,
        }
    }
}

impl From<GroupStatus> for Group {
    fn from(group: GroupStatus) -> Self {
        Self {
            id: group.group,
            leader: (group.leader != 0).then_some(group.leader),
            term: group.term,
            applied: group.applied,
            voters: group.voters,
            learners: group.learners,
        }
    }
}

impl Report for ClusterReport {
    fn people(&self, _now_ms: i64) -> String {
        let alive = self.nodes.iter().filter(|node| node.alive).count();
        let led = self
            .groups
            .iter()
            .filter(|group| group.leader.is_some())
            .count();
        let nodes = human::table(
            ["NODE", "REGION", "PEER ADDRESS", "STATE"],
            self.nodes.iter().map(|node| {
                let state = if node.alive { "alive" } else { "no answer" };
                [
                    node.id.to_string(),
                    node.region.clone(),
                    node.peer_address.clone(),
                    state.to_owned(),
                ]
            }),
        );
        let groups = human::table(
            ["GROUP", "LEADER", "TERM", "APPLIED", "VOTERS", "LEARNERS"],
            self.groups.iter().map(|group| {
                [
                    group.id.clone(),
                    group
                        .leader
                        .map_or("none".to_owned(), |leader| leader.to_string()),
                    group.term.to_string(),
                    group.applied.to_string(),
                    human::list(&group.voters),
                    human::list(&group.learners),
                ]
            }),
        );
        format!(
            "Asked node {} (region {}, account {}, version {}): {alive} of {} alive, {led} of {} \
             with a leader.\n\n{nodes}\n\n{groups}",
            self.node,
            human::plain(&self.region),
            human::plain(&self.account),
            human::plain(&self.version),
            human::count(self.nodes.len(), "node"),
            human::count(self.groups.len(), "group"),
        )
    }
}
