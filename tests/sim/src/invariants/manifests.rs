//! A manifest never names a missing blob: what it names is known to its region,
//! and its bytes are on a disk there, be its node up or down, as long as it is of
//! the cluster.

use entrepot_metadata::query;
use entrepot_oci::{Digest, RegionName};
use futures::FutureExt as _;

use super::region_view;
use crate::machine::{ACCOUNT, Machine, Standing};

const PAGE: usize = 1_000;

pub(super) fn look(machines: &[Machine]) -> Vec<String> {
    machines
        .iter()
        .flat_map(|machine| look_at(machine, machines))
        .collect()
}

fn look_at(machine: &Machine, machines: &[Machine]) -> Vec<String> {
    named(machine)
        .into_iter()
        .filter(|(_, digest)| !is_there(machine, digest, machines))
        .map(|(manifest, digest)| {
            format!(
                "manifest {manifest} at node {} names {digest}, which is nowhere",
                machine.id
            )
        })
        .collect()
}

/// What the manifests of a copy name.
fn named(machine: &Machine) -> Vec<(Digest, Digest)> {
    let (Some(view), Ok(account)) = (region_view(machine), ACCOUNT.parse()) else {
        return Vec::new();
    };
    let mut named = Vec::new();
    let repositories = query::repositories(&*view, &account, None, PAGE);
    for repository in repositories.unwrap_or_default() {
        let manifests = query::manifests(&*view, &account, &repository.name, None, PAGE);
        for manifest in manifests.unwrap_or_default() {
            named.extend(manifest.blobs.iter().map(|blob| (manifest.digest, *blob)));
        }
    }
    named
}

fn is_there(machine: &Machine, digest: &Digest, machines: &[Machine]) -> bool {
    let Some(view) = region_view(machine) else {
        return true;
    };
    match query::blob(&*view, digest) {
        Ok(Some(blob)) => {
            let there = machines.iter().filter(|it| it.standing() != Standing::Gone);
            let there: Vec<Machine> = there.cloned().collect();
            blob.content.is_some() || holders(&there, &machine.region, digest) > 0
        }
        _ => false,
    }
}

/// The disks of a region that have it.
pub(super) fn holders(machines: &[Machine], region: &RegionName, digest: &Digest) -> usize {
    let own = machines.iter().filter(|machine| machine.region == *region);
    own.filter(|machine| holds(machine, digest)).count()
}

fn holds(machine: &Machine, digest: &Digest) -> bool {
    use entrepot_blobs::BlobStore as _;
    // Memory answers at once.
    let found = machine.blobs.stat(digest).now_or_never();
    found.is_some_and(|found| found.is_ok_and(|found| found.is_some()))
}
