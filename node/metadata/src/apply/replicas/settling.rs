//! What is kept of replicas goes, once nothing older can come.
//!
//! The invariant: what goes is at or below what its source has settled, and nothing
//! at or below that is taken any more.

use entrepot_oci::{RegionName, RegistryId};

use super::super::{Stop, invalid, parse};
use crate::command::SettleReplicas;
use crate::keys::{self, Key};
use crate::limits::SETTLED_AT_ONCE_MAX;
use crate::overlay::Overlay;
use crate::query::{self, TagOrigin};
use crate::records::SettledRecord;
use crate::response::{Done, Outcome};
use crate::store::KeyValue;

/// Records that are of something else, or of something that is here again, stay.
pub(in super::super) fn settle(
    overlay: &mut Overlay<'_>,
    command: SettleReplicas,
) -> Result<Outcome, Stop> {
    let account: RegistryId = parse("account", &command.account)?;
    let region: RegionName = parse("source region", &command.region)?;
    let from: RegistryId = parse("source account", &command.source_account)?;
    if command.records.len() > SETTLED_AT_ONCE_MAX {
        return Err(invalid("records", "must be at most 1000").into());
    }
    let before = query::settled(overlay, &account, &region, &from)?;
    let sequence = before.max(command.sequence);
    if sequence == 0 {
        return Err(invalid("sequence", "must be above 0").into());
    }
    let key = keys::settled(&account, &region, &from);
    overlay.put(key, &SettledRecord { sequence });
    for key in command.records {
        // What is not in the store need not be a key at all.
        let Some(value) = overlay.get(&key)? else {
            continue;
        };
        let Some(dead) = query::dead_replica(overlay, &key, value)? else {
            continue;
        };
        let is_its =
            dead.account == account && dead.source.region == region && dead.source.account == from;
        if is_its && dead.sequence <= sequence {
            overlay.delete(Key::of(key.to_vec()));
        }
    }
    Ok(Outcome::Done(Done {}))
}

/// That something that comes from a source is not as old as what that has settled.
pub(in super::super) fn require_unsettled(
    view: &dyn KeyValue,
    account: &RegistryId,
    origin: &TagOrigin,
) -> Result<(), Stop> {
    let source = &origin.source;
    let settled = query::settled(view, account, &source.region, &source.account)?;
    if origin.sequence > settled {
        return Ok(());
    }
    Err(invalid("origin", "is older than what its source has settled").into())
}
