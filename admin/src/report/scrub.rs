//! `entrepot scrub start|status`

use entrepot_proto::admin::{NodeScrub, ScrubStart};
use serde::Serialize;

use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct StartedScrub {
    nodes: Vec<Started>,
}

#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names of the JSON")]
struct Started {
    node: u64,
    answered: bool,
    /// None: nobody knows.
    started: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ScrubReport {
    nodes: Vec<Node>,
}

/// Of a node that did not answer, nothing else is known.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names of the JSON")]
struct Node {
    node: u64,
    answered: bool,
    running: Option<bool>,
    started_at_ms: Option<i64>,
    verified_blobs: Option<u64>,
    verified_bytes: Option<u64>,
    permille: Option<u32>,
    remaining_ms: Option<u64>,
    damaged: Option<u64>,
    repaired: Option<u64>,
    last_ended_at_ms: Option<i64>,
    last_damaged: Option<u64>,
}

impl From<Vec<ScrubStart>> for StartedScrub {
    fn from(nodes: Vec<ScrubStart>) -> Self {
        let started = |node: ScrubStart| Started {
            node: node.node,
            answered: node.answered,
            started: node.answered.then_some(node.started),
        };
        Self {
            nodes: nodes.into_iter().map(started).collect(),
        }
    }
}

impl From<Vec<NodeScrub>> for ScrubReport {
    fn from(nodes: Vec<NodeScrub>) -> Self {
        let nodes = nodes.into_iter().map(Node::from).collect();
        Self { nodes }
    }
}

impl From<NodeScrub> for Node {
    fn from(node: NodeScrub) -> Self {
        let known = |number: u64| node.answered.then_some(number);
        let time = |at_ms: i64| (node.answered && at_ms != 0).then_some(at_ms);
        Self {
            node: node.node,
            answered: node.answered,
            running: node.answered.then_some(node.running),
            started_at_ms: time(node.started_at_ms).filter(|_| node.running),
            verified_blobs: known(node.verified_blobs),
            verified_bytes: known(node.verified_bytes),
            permille: node.answered.then_some(node.permille),
            remaining_ms: known(node.remaining_ms).filter(|ms| *ms != 0),
            damaged: known(node.damaged),
            repaired: known(node.repaired),
            last_ended_at_ms: time(node.last_ended_at_ms),
            last_damaged: time(node.last_ended_at_ms).map(|_| node.last_damaged),
        }
    }
}

// === impl Node ===

impl Node {
    fn row(&self, now_ms: i64) -> [String; 9] {
        let running = self.running == Some(true);
        let state = match self.running {
            None => "no answer",
            Some(true) => "running",
            Some(false) => "waiting",
        };
        let of_pass = |number: Option<u64>| {
            let number = number.filter(|_| running);
            number.map(|number| number.to_string()).unwrap_or_default()
        };
        let done = self.permille.filter(|_| running);
        let ago = |at_ms| human::between(at_ms, now_ms) + " ago";
        [
            self.node.to_string(),
            state.to_owned(),
            done.map(|done| format!("{}.{} %", done / 10, done % 10))
                .unwrap_or_default(),
            self.verified_bytes
                .filter(|_| running)
                .map(human::size)
                .unwrap_or_default(),
            self.remaining_ms.map(human::duration).unwrap_or_default(),
            of_pass(self.damaged),
            of_pass(self.repaired),
            self.last_ended_at_ms.map(ago).unwrap_or_default(),
            self.last_damaged
                .map(|damaged| damaged.to_string())
                .unwrap_or_default(),
        ]
    }
}

impl Report for ScrubReport {
    fn people(&self, now_ms: i64) -> String {
        human::table(
            [
                "NODE",
                "STATE",
                "DONE",
                "VERIFIED",
                "TIME LEFT",
                "DAMAGED",
                "REPLACED",
                "LAST ENDED",
                "DAMAGED THEN",
            ],
            self.nodes.iter().map(|node| node.row(now_ms)),
        )
    }
}

impl Report for StartedScrub {
    fn people(&self, _now_ms: i64) -> String {
        human::table(
            ["NODE", "SCRUB"],
            self.nodes.iter().map(|node| {
                let state = match node.started {
                    None => "no answer",
                    Some(true) => "started",
                    Some(false) => "under way already",
                };
                [node.node.to_string(), state.to_owned()]
            }),
        )
    }
}
