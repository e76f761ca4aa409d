//! `entrepot node` and `entrepot region`

use entrepot_proto::admin;
use serde::Serialize;

use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct NodesReport {
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: u64,
    region: String,
    peer_address: String,
    client_address: Option<String>,
    state: &'static str,
    alive: bool,
    capacity_bytes: u64,
    free_bytes: u64,
    full: bool,
    joined_at_ms: i64,
}

/// How far a drain is.
#[derive(Debug, Serialize)]
pub(crate) struct DrainReport {
    node: u64,
    state: &'static str,
    safe_to_stop: bool,
    votes_in: Vec<String>,
    blobs: u64,
    blobs_short: u64,
    blobs_last: u64,
    silent: Vec<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RemovedNode {
    removed: u64,
    blobs_lost: u64,
    blobs_short: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct RegionsReport {
    regions: Vec<Region>,
}

#[derive(Debug, Serialize)]
struct Region {
    name: String,
    nodes: u32,
    created_at_ms: i64,
}

#[derive(Debug, Serialize)]
pub(crate) struct AddedRegion {
    pub(crate) region: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct RemovedRegion {
    pub(crate) removed: String,
}

fn state(node: &admin::Node) -> &'static str {
    match node.state() {
        admin::NodeState::Joining => "joining",
        admin::NodeState::Active => "active",
        admin::NodeState::Draining => "draining",
        admin::NodeState::Unspecified => "unknown",
    }
}

impl From<Vec<admin::Node>> for NodesReport {
    fn from(nodes: Vec<admin::Node>) -> Self {
        let nodes = nodes.into_iter().map(|node| Node {
            state: state(&node),
            id: node.id,
            region: node.region,
            peer_address: node.peer_address,
            client_address: Some(node.client_address).filter(|address| !address.is_empty()),
            alive: node.alive,
            capacity_bytes: node.capacity_bytes,
            free_bytes: node.free_bytes,
            full: node.is_full,
            joined_at_ms: node.joined_at_ms,
        });
        Self {
            nodes: nodes.collect(),
        }
    }
}

impl DrainReport {
    pub(crate) fn new(node: &admin::Node, departure: admin::Departure) -> Self {
        let draining = node.state() == admin::NodeState::Draining;
        Self {
            node: node.id,
            state: state(node),
            safe_to_stop: draining && departure.votes_in.is_empty() && departure.blobs_short == 0,
            votes_in: departure.votes_in,
            blobs: departure.blobs,
            blobs_short: departure.blobs_short,
            blobs_last: departure.blobs_last,
            silent: departure.silent,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.safe_to_stop
    }

    /// How much of the blobs has moved.
    pub(crate) fn done_per_mille(&self) -> u32 {
        let moved = self.blobs.saturating_sub(self.blobs_short);
        let per_mille = (moved * 1_000).checked_div(self.blobs);
        u32::try_from(per_mille.unwrap_or(1_000)).unwrap_or(1_000)
    }

    /// What is still to be done, on one line.
    pub(crate) fn progress(&self) -> String {
        let mut left = Vec::new();
        if !self.votes_in.is_empty() {
            left.push(format!("votes in {}", human::list(&self.votes_in)));
        }
        if self.blobs_short > 0 {
            let moved = self.blobs - self.blobs_short;
            left.push(format!(
                "{moved} of {} have their copies elsewhere",
                human::count(usize::try_from(self.blobs).unwrap_or(usize::MAX), "blob")
            ));
        }
        if !self.silent.is_empty() {
            left.push(format!("no answer from {}", human::list(&self.silent)));
        }
        format!("Node {} is {}: {}.", self.node, self.state, left.join("; "))
    }
}

impl RemovedNode {
    pub(crate) fn new(removed: u64, departure: &admin::Departure) -> Self {
        Self {
            removed,
            blobs_lost: departure.blobs_last,
            blobs_short: departure.blobs_short,
        }
    }
}

impl From<Vec<admin::Region>> for RegionsReport {
    fn from(regions: Vec<admin::Region>) -> Self {
        let regions = regions.into_iter().map(|region| Region {
            name: region.name,
            nodes: region.nodes,
            created_at_ms: region.created_at_ms,
        });
        Self {
            regions: regions.collect(),
        }
    }
}

impl Report for NodesReport {
    fn people(&self, _now_ms: i64) -> String {
        if self.nodes.is_empty() {
            return "The cluster is not formed yet.".to_owned();
        }
        human::table(
            [
                "NODE",
                "REGION",
                "STATE",
                "PEER ADDRESS",
                "CAPACITY",
                "FREE",
            ],
            self.nodes.iter().map(|node| {
                let state = match (node.alive, node.full) {
                    (false, _) => format!("{}, no answer", node.state),
                    (true, true) => format!("{}, full", node.state),
                    (true, false) => node.state.to_owned(),
                };
                let size = |bytes| match bytes {
                    0 => "unknown".to_owned(),
                    bytes => human::size(bytes),
                };
                [
                    node.id.to_string(),
                    node.region.clone(),
                    state,
                    node.peer_address.clone(),
                    size(node.capacity_bytes),
                    size(node.free_bytes),
                ]
            }),
        )
    }
}

impl Report for DrainReport {
    fn people(&self, _now_ms: i64) -> String {
        if self.safe_to_stop {
            return format!(
                "Node {0} is safe to stop: it votes nowhere, and all of {1} have their copies on \
                 other nodes. Stop it, then run `entrepot node remove {0} --yes`.",
                self.node,
                human::count(usize::try_from(self.blobs).unwrap_or(usize::MAX), "blob")
            );
        }
        match self.state {
            "active" => format!("Node {} takes part.", self.node),
            _ => format!("{} Do not stop it yet.", self.progress()),
        }
    }
}

impl Report for RemovedNode {
    fn people(&self, _now_ms: i64) -> String {
        let mut text = format!("Removed node {}.", self.removed);
        let count = |blobs| human::count(usize::try_from(blobs).unwrap_or(usize::MAX), "blob");
        if self.blobs_lost > 0 {
            text.push_str(" Lost with it: ");
            text.push_str(&count(self.blobs_lost));
            text.push('.');
        }
        if self.blobs_short > self.blobs_lost {
            text.push_str(" Copies are being made of ");
            text.push_str(&count(self.blobs_short - self.blobs_lost));
            text.push('.');
        }
        text
    }
}

impl Report for RegionsReport {
    fn people(&self, _now_ms: i64) -> String {
        if self.regions.is_empty() {
            return "The cluster is not formed yet.".to_owned();
        }
        human::table(
            ["REGION", "NODES"],
            self.regions
                .iter()
                .map(|region| [region.name.clone(), region.nodes.to_string()]),
        )
    }
}

impl Report for AddedRegion {
    fn people(&self, _now_ms: i64) -> String {
        format!("Region {} is ready for nodes.", human::plain(&self.region))
    }
}

impl Report for RemovedRegion {
    fn people(&self, _now_ms: i64) -> String {
        format!("Removed region {}.", human::plain(&self.removed))
    }
}
