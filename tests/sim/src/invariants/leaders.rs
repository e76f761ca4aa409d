//! No two leaders in one term, once messages arrive again.
//!
//! openraft names a leader by its term *and* its node, and the greater name
//! wins: within one term a second node may be elected before the first has
//! heard of it. The first can commit nothing any more then. So what has to be
//! true is that it gives way; and that both never committed different entries
//! is what [`state`](super::state) looks at.

use std::collections::BTreeMap;

use crate::machine::Machine;

/// In the end: who leads which group.
pub(super) fn look(machines: &[Machine]) -> Vec<String> {
    let mut leaders: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for machine in machines {
        let Some(consensus) = machine.consensus() else {
            continue;
        };
        for status in consensus.status() {
            if status.leader == Some(machine.id) {
                let leaders = leaders.entry(status.group.to_string()).or_default();
                leaders.push((status.term, machine.id));
            }
        }
    }
    leaders
        .into_iter()
        .filter(|(_, leaders)| leaders.len() > 1)
        .map(|(group, leaders)| format!("{group} has several leaders (term, node): {leaders:?}"))
        .collect()
}
