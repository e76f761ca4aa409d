//! What is acknowledged is durable on a majority of its copies: so many disks of
//! its region hold a blob at the moment when a client hears that it is stored.

use entrepot_metadata::limits::INLINE_BYTES_MAX;
use entrepot_oci::Digest;

use super::manifests::holders;
use crate::machine::Machine;
use crate::oracle::{Kind, Oracle, Stored};
use crate::plan::Plan;

/// How many acknowledgements have been looked at.
#[derive(Debug, Default)]
pub(super) struct Majorities(usize);

impl Majorities {
    pub(super) fn look(
        &mut self,
        machines: &[Machine],
        oracle: &Oracle,
        plan: &Plan,
    ) -> Vec<String> {
        let new = oracle.acknowledged.iter().skip(self.0);
        let violations = new.filter_map(|stored| lack(machines, stored, plan));
        let violations = violations.collect();
        self.0 = oracle.acknowledged.len();
        violations
    }
}

fn lack(machines: &[Machine], stored: &Stored, plan: &Plan) -> Option<String> {
    // The metadata keeps what is small.
    if stored.kind != Kind::Blob || stored.content.len() <= INLINE_BYTES_MAX {
        return None;
    }
    let digest: Digest = stored.digest.parse().ok()?;
    let own = |machine: &&Machine| machine.region.as_str() == stored.region;
    let region = &machines.iter().find(own)?.region;
    // Whoever stored it may not have known of more.
    let nodes = plan.fewest(&stored.region);
    let needed = plan.copies.min(nodes) / 2 + 1;
    let found = holders(machines, region, &digest);
    (found < needed).then(|| {
        format!("blob {digest} was acknowledged with {found} copies on disks instead of {needed}")
    })
}
