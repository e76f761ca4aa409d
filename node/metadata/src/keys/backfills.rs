//! Keys of backfills.

use entrepot_oci::RegistryId;

use super::{Key, Namespace};
use crate::query::Place;
use crate::records::backfills::ItemState;

pub(crate) fn backfills_of(account: &RegistryId) -> Key {
    Key::new(Namespace::Backfill).account(account)
}

pub(crate) fn backfill(account: &RegistryId, sequence: u64) -> Key {
    backfills_of(account).number(sequence)
}

pub(crate) fn running_backfill(account: &RegistryId, sequence: u64) -> Key {
    Key::new(Namespace::RunningBackfill)
        .account(account)
        .number(sequence)
}

/// The prefix of the images and tags of a backfill that stand so.
pub(crate) fn backfill_items(account: &RegistryId, sequence: u64, state: ItemState) -> Key {
    Key::new(Namespace::BackfillItem)
        .account(account)
        .number(sequence)
        .raw(&[state.byte()])
}

pub(crate) fn backfill_item(
    account: &RegistryId,
    sequence: u64,
    state: ItemState,
    place: &Place,
) -> Key {
    backfill_items(account, sequence, state)
        .name(place.repository.as_str())
        .digest(&place.digest)
        .name(place.tag.as_ref().map_or("", |tag| tag.as_str()))
}

pub(crate) fn wanted_backfills(account: &RegistryId) -> Key {
    Key::new(Namespace::WantedBackfill).account(account)
}

/// `destination`: its name.
pub(crate) fn wanted_backfill(account: &RegistryId, destination: &str, rule: &str) -> Key {
    wanted_backfills(account).name(destination).name(rule)
}
