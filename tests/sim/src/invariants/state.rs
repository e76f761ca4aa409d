//! The copies of a group agree: after the same entry of the log they hold the
//! same, and each of them keeps the state machine's own invariants.

use std::collections::BTreeMap;

use entrepot_metadata::{KeyValue, Metadata as _, invariants};

use crate::machine::Machine;

const PAGE: usize = 1_000;
const LAST_KEY: [u8; 9] = [0xff; 9];

/// What each group held after an entry, and at which node that was seen first.
#[derive(Debug, Default)]
pub(super) struct States(BTreeMap<(String, u64), (blake3::Hash, u64)>);

impl States {
    pub(super) fn look(&mut self, machines: &[Machine]) -> Vec<String> {
        let mut violations = Vec::new();
        for machine in machines {
            let Some(consensus) = machine.consensus() else {
                continue;
            };
            for status in consensus.status() {
                let Ok(view) = consensus.view(&status.group) else {
                    continue;
                };
                let (group, applied) = (status.group.to_string(), status.applied);
                for violation in invariants::check(&*view).err().unwrap_or_default() {
                    violations.push(format!("node {}, {group}: {violation}", machine.id));
                }
                let found = hash(&*view);
                let entry = self.0.entry((group.clone(), applied));
                let (first, node) = *entry.or_insert((found, machine.id));
                if first != found {
                    violations.push(format!(
                        "nodes {node} and {} hold different states of {group} after entry {applied}",
                        machine.id
                    ));
                }
            }
        }
        violations
    }
}

/// Of everything in a state.
fn hash(view: &dyn KeyValue) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut start = vec![0];
    while let Ok(pairs) = view.scan(&start, &LAST_KEY, PAGE) {
        let Some((last, _)) = pairs.last() else {
            break;
        };
        start = [last.as_ref(), [0].as_slice()].concat();
        for (key, value) in &pairs {
            for part in [key, value] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
    }
    hasher.finalize()
}
