//! Each tag is linearizable: what clients were told fits one order of what they
//! did.

use entrepot_harness::linearizable::{self, Verdict};

use crate::oracle::Oracle;

pub(super) fn look(oracle: &Oracle) -> Vec<String> {
    let mut violations = Vec::new();
    for ((region, repository, tag), history) in &oracle.histories {
        let verdict = linearizable::check(history);
        if matches!(verdict, Verdict::Linearizable { .. }) {
            continue;
        }
        let minimal = linearizable::minimal(history);
        let lines: Vec<String> = minimal.iter().map(ToString::to_string).collect();
        violations.push(format!(
            "{repository}:{tag} in {region} is not linearizable ({verdict:?}):\n  {}",
            lines.join("\n  ")
        ));
    }
    violations
}
