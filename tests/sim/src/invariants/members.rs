//! Everybody is where they belong: in the end the nodes of the records are those
//! that are there, all of them active; each group has them as members and nobody
//! else, and as many of them vote as should; and a node that was removed has
//! ended.

use std::collections::BTreeSet;

use entrepot_consensus::{GroupStatus, voters_of};
use entrepot_metadata::{GroupId, GroupKind, Metadata as _, query};

use crate::machine::{Machine, Standing};

pub(super) fn look(machines: &[Machine]) -> Vec<String> {
    let mut violations = Vec::new();
    for machine in machines {
        match machine.standing() {
            Standing::In => look_at(machine, machines, &mut violations),
            Standing::Gone if machine.is_running() => {
                violations.push(format!("node {} was removed and goes on", machine.id));
            }
            Standing::Gone => {}
            Standing::Spare => violations.push(format!("node {} never joined", machine.id)),
            Standing::Leaving => violations.push(format!("node {} never left", machine.id)),
        }
    }
    violations
}

fn look_at(machine: &Machine, machines: &[Machine], violations: &mut Vec<String>) {
    let Some(consensus) = machine.consensus() else {
        return;
    };
    let all = machines.iter().filter(|other| other.is_in());
    let expected: BTreeSet<u64> = all.clone().map(|other| other.id).collect();
    let view = consensus.view(&GroupId::global());
    let records = view.map(|view| query::members(&*view).unwrap_or_default());
    let active = records.unwrap_or_default();
    let active = active.iter().filter(|member| member.is_active());
    let active: BTreeSet<u64> = active.map(|member| member.node).collect();
    if active != expected {
        violations.push(format!(
            "node {} takes {active:?} for the active nodes, which are {expected:?}",
            machine.id
        ));
    }
    for status in consensus.status() {
        let expected: BTreeSet<u64> = match &status.group.kind {
            GroupKind::Global => expected.clone(),
            GroupKind::Region(region) => {
                let own = all.clone().filter(|other| other.region == *region);
                own.map(|other| other.id).collect()
            }
        };
        if !is_made_of(&status, &expected) {
            violations.push(format!(
                "by node {}, {} is not made of {expected:?}: voters {:?}, learners {:?}",
                machine.id, status.group, status.voters, status.learners
            ));
        }
    }
}

fn is_made_of(status: &GroupStatus, expected: &BTreeSet<u64>) -> bool {
    let members = status.voters.iter().chain(&status.learners);
    let members: BTreeSet<u64> = members.copied().collect();
    members == *expected && status.voters.len() == voters_of(expected.len())
}
