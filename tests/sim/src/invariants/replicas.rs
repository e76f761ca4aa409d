//! A replica never goes back: a tag that comes from another region never names
//! an older push than it did, as the copies of its region apply their log.

use std::collections::BTreeMap;

use entrepot_metadata::{GroupId, query};

use super::region_view;
use crate::machine::{ACCOUNT, Machine};

const PAGE: usize = 1_000;

/// For each replicated tag, the newest push that was seen, and after which
/// entry of the log.
#[derive(Debug, Default)]
pub(super) struct Replicas(BTreeMap<(String, String), (u64, u64)>);

impl Replicas {
    pub(super) fn look(&mut self, machines: &[Machine]) -> Vec<String> {
        let mut violations = Vec::new();
        for machine in machines {
            for (tag, sequence, index) in replicated(machine) {
                let newest = self.0.entry(tag.clone()).or_insert((index, sequence));
                if index >= newest.0 && sequence < newest.1 {
                    violations.push(format!(
                        "{}:{} went back from push {} to {sequence} at node {}",
                        tag.0, tag.1, newest.1, machine.id
                    ));
                }
                *newest = (*newest).max((index, sequence));
            }
        }
        violations
    }
}

/// Tags of replicas at a node: the push they come from, and the entry that
/// brought them there.
fn replicated(machine: &Machine) -> Vec<((String, String), u64, u64)> {
    let (Some(view), Ok(account)) = (region_view(machine), ACCOUNT.parse()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for repository in query::repositories(&*view, &account, None, PAGE).unwrap_or_default() {
        let tags = query::tags(&*view, &account, &repository.name, None, PAGE);
        for entry in tags.unwrap_or_default() {
            if let Some(origin) = entry.origin {
                let tag = (
                    format!(
                        "{} {}",
                        GroupId::region(machine.region.clone()),
                        repository.name
                    ),
                    entry.tag.to_string(),
                );
                found.push((tag, origin.sequence, entry.index));
            }
        }
    }
    found
}
