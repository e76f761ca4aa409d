//! Nothing acknowledged is lost: in the end every copy of a region's state
//! knows what clients of that region were told is stored. (That nodes serve it
//! is what the clients look at.)

use entrepot_metadata::query;
use entrepot_oci::{AccountId, Digest, RepositoryName};

use super::region_view;
use crate::machine::{ACCOUNT, Machine};
use crate::oracle::{Kind, Oracle, Stored};

pub(super) fn look(machines: &[Machine], oracle: &Oracle) -> Vec<String> {
    let mut violations = Vec::new();
    for machine in machines.iter().filter(|machine| machine.is_in()) {
        let own = oracle.acknowledged.iter();
        let own = own.filter(|stored| machine.region.as_str() == stored.region);
        for stored in own {
            if knows(machine, stored) != Some(true) {
                violations.push(format!(
                    "node {} does not know the acknowledged {:?} {}",
                    machine.id, stored.kind, stored.digest
                ));
            }
        }
    }
    violations
}

fn knows(machine: &Machine, stored: &Stored) -> Option<bool> {
    let view = region_view(machine)?;
    let account: AccountId = ACCOUNT.parse().ok()?;
    let repository: RepositoryName = stored.repository.parse().ok()?;
    let digest: Digest = stored.digest.parse().ok()?;
    Some(match stored.kind {
        Kind::Blob => query::linked(&*view, &account, &repository, &digest).ok()?,
        Kind::Manifest => query::manifest_entry(&*view, &account, &repository, &digest)
            .ok()?
            .is_some(),
    })
}
