//! `entrepot repair status`

use entrepot_proto::admin::NodeRepair;
use serde::Serialize;

use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct RepairReport {
    nodes: Vec<Node>,
}

/// Of a node that did not answer, nothing else is known.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names of the JSON")]
struct Node {
    node: u64,
    answered: bool,
    whole_at_ms: Option<i64>,
    missing_blobs: Option<u64>,
    missing_bytes: Option<u64>,
    failing_blobs: Option<u64>,
    fetched_blobs: Option<u64>,
    fetched_bytes: Option<u64>,
    remaining_ms: Option<u64>,
    surplus_dropped: Option<u64>,
    cached_bytes: Option<u64>,
    cache_limit_bytes: Option<u64>,
    lost_nodes: Option<Vec<u64>>,
}

impl From<Vec<NodeRepair>> for RepairReport {
    fn from(nodes: Vec<NodeRepair>) -> Self {
        let nodes = nodes.into_iter().map(Node::from).collect();
        Self { nodes }
    }
}

impl From<NodeRepair> for Node {
    fn from(node: NodeRepair) -> Self {
        let known = |number: u64| node.answered.then_some(number);
        Self {
            node: node.node,
            answered: node.answered,
            whole_at_ms: (node.answered && node.whole_at_ms != 0).then_some(node.whole_at_ms),
            missing_blobs: known(node.missing_blobs),
            missing_bytes: known(node.missing_bytes),
            failing_blobs: known(node.failing_blobs),
            fetched_blobs: known(node.fetched_blobs),
            fetched_bytes: known(node.fetched_bytes),
            remaining_ms: known(node.remaining_ms).filter(|ms| *ms != 0),
            surplus_dropped: known(node.surplus_dropped),
            cached_bytes: known(node.cached_bytes),
            cache_limit_bytes: known(node.cache_limit_bytes),
            lost_nodes: node.answered.then_some(node.lost_nodes),
        }
    }
}

// === impl Node ===

impl Node {
    fn state(&self) -> &'static str {
        match (self.answered, self.missing_blobs, self.whole_at_ms) {
            (false, _, _) => "no answer",
            (true, Some(0), None) => "looking",
            (true, Some(0), Some(_)) => "whole",
            (true, _, _) => "restoring",
        }
    }

    fn row(&self, now_ms: i64) -> [String; 10] {
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let size = |bytes: Option<u64>| bytes.map(human::size).unwrap_or_default();
        [
            self.node.to_string(),
            self.state().to_owned(),
            number(self.missing_blobs),
            size(self.missing_bytes),
            number(self.failing_blobs),
            self.remaining_ms.map(human::duration).unwrap_or_default(),
            size(self.fetched_bytes),
            number(self.surplus_dropped),
            size(self.cached_bytes),
            self.whole_at_ms
                .map(|at_ms| human::between(at_ms, now_ms))
                .unwrap_or_default(),
        ]
    }
}

impl Report for RepairReport {
    fn people(&self, now_ms: i64) -> String {
        let table = human::table(
            [
                "NODE",
                "STATE",
                "MISSING",
                "BYTES",
                "FAILING",
                "TIME LEFT",
                "FETCHED",
                "SURPLUS DROPPED",
                "CACHED",
                "LAST WHOLE",
            ],
            self.nodes.iter().map(|node| node.row(now_ms)),
        );
        let mut lost: Vec<u64> = self
            .nodes
            .iter()
            .flat_map(|node| node.lost_nodes.iter().flatten().copied())
            .collect();
        lost.sort_unstable();
        lost.dedup();
        if lost.is_empty() {
            return table;
        }
        format!(
            "{table}\n\nTaken for lost, their copies are restored elsewhere: {}.",
            human::list(&lost)
        )
    }
}
