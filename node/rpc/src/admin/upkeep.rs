//! The care for copies on the wire. A node that did not answer is said to be
//! one, and all else of it is empty.

use entrepot_proto::admin;
use entrepot_service::NodeUpkeep;

pub(super) fn start(node: NodeUpkeep) -> admin::ScrubStart {
    admin::ScrubStart {
        node: node.node,
        answered: node.upkeep.is_some(),
        started: node.upkeep.is_some_and(|upkeep| upkeep.scrub_started),
    }
}

pub(super) fn scrub(node: NodeUpkeep) -> admin::NodeScrub {
    let answered = node.upkeep.is_some();
    let scrub = node.upkeep.and_then(|upkeep| upkeep.scrub);
    let scrub = scrub.unwrap_or_default();
    admin::NodeScrub {
        node: node.node,
        answered,
        running: scrub.running,
        started_at_ms: scrub.started_at_ms,
        verified_blobs: scrub.verified_blobs,
        verified_bytes: scrub.verified_bytes,
        permille: scrub.permille,
        remaining_ms: scrub.remaining_ms,
        damaged: scrub.damaged,
        repaired: scrub.repaired,
        last_ended_at_ms: scrub.last_ended_at_ms,
        last_damaged: scrub.last_damaged,
    }
}

pub(super) fn repair(node: NodeUpkeep) -> admin::NodeRepair {
    let answered = node.upkeep.is_some();
    let repair = node.upkeep.and_then(|upkeep| upkeep.repair);
    let repair = repair.unwrap_or_default();
    admin::NodeRepair {
        node: node.node,
        answered,
        whole_at_ms: repair.whole_at_ms,
        missing_blobs: repair.missing_blobs,
        missing_bytes: repair.missing_bytes,
        fetched_blobs: repair.fetched_blobs,
        fetched_bytes: repair.fetched_bytes,
        remaining_ms: repair.remaining_ms,
        failing_blobs: repair.failing_blobs,
        surplus_dropped: repair.surplus_dropped,
        cached_bytes: repair.cached_bytes,
        cache_limit_bytes: repair.cache_limit_bytes,
        lost_nodes: repair.lost_nodes,
    }
}
