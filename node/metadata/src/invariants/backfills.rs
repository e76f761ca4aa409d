//! Backfills know what of them is under way, and have all their images.

use super::{Check, Pair};
use crate::keys;
use crate::query::{self, ItemState};
use crate::records::backfills::{BackfillRecord, WantedBackfillRecord};
use crate::store::StorageError;

/// Images under way that are counted: more than there may be.
const WAITING_MAX: usize = 10_000;

pub(super) fn backfill(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let (account, found) = query::backfill_of(&pair.key, pair.value.clone())?;
    let record: BackfillRecord = pair.decode()?;
    if let Some(cursor) = &record.cursor {
        query::Cursor::of(&pair.key, cursor)?;
    }
    let running = keys::running_backfill(&account, found.sequence);
    let is_running = crate::read::exists(check.view, &running)?;
    let is_over = found.phase.is_over();
    check.require(
        is_running != is_over && found.ended_at_ms.is_some() == is_over,
        "a backfill runs until it is over",
        &pair.key,
    );
    let state = ItemState::Waiting;
    let (view, sequence) = (check.view, found.sequence);
    let waiting = query::backfill_items(view, &account, sequence, state, None, WAITING_MAX)?;
    check.require(
        waiting.len() as u64 == found.waiting && (!is_over || waiting.is_empty()),
        "a backfill knows how much of it is under way",
        (&pair.key, found.waiting, waiting.len()),
    );
    Ok(())
}

pub(super) fn running(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    let account = parts.account()?;
    let sequence = parts.number()?;
    parts.end()?;
    check.require_key(
        &keys::backfill(&account, sequence),
        "a backfill that runs is there",
        pair,
    )
}

pub(super) fn item(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let (account, sequence, item) = query::item_of(&pair.key, pair.value.clone())?;
    check.require_key(
        &keys::backfill(&account, sequence),
        "an image is of a backfill that is there",
        pair,
    )?;
    check.require(
        item.reason.is_some() == (item.state == ItemState::Failed),
        "an image of a backfill has a reason if it failed",
        &pair.key,
    );
    Ok(())
}

pub(super) fn wanted(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let wanted = query::wanted_of(&pair.key)?;
    pair.decode::<WantedBackfillRecord>()?;
    let rule = query::rule(check.view, &wanted.account, &wanted.rule)?;
    check.require(
        rule.is_some_and(|rule| {
            rule.options.backfill && rule.destinations.contains(&wanted.destination)
        }),
        "a backfill that is wanted is asked for by a rule",
        &pair.key,
    );
    Ok(())
}
