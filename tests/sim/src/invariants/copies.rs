//! Copies converge: in the end as many of the nodes that are there hold a blob as
//! there are to be copies, or all of them where there are fewer.

use entrepot_metadata::query;

use super::manifests::holders;
use super::region_view;
use crate::machine::Machine;

const PAGE: usize = 1_000;

pub(super) fn look(machines: &[Machine], copies: usize) -> Vec<String> {
    let mut violations = Vec::new();
    let machines = machines.iter().filter(|machine| machine.is_in());
    let machines: Vec<Machine> = machines.cloned().collect();
    for machine in &machines {
        let Some(view) = region_view(machine) else {
            violations.push(format!("node {} does not run", machine.id));
            continue;
        };
        let region = &machine.region;
        let nodes = machines
            .iter()
            .filter(|other| other.region == *region)
            .count();
        let wanted = copies.min(nodes);
        for blob in query::blobs(&*view, None, PAGE).unwrap_or_default() {
            let found = holders(&machines, region, &blob.digest);
            if blob.content.is_none() && found < wanted {
                violations.push(format!(
                    "blob {} has {found} copies in {region} instead of {wanted}",
                    blob.digest
                ));
            }
        }
    }
    violations
}
