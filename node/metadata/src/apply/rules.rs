//! Replication rules.

mod checks;

use std::collections::BTreeSet;

use entrepot_oci::AccountId;

use self::checks::Checked;
use super::tasks::{self, Swept};
use super::{Stop, backfills, invalid, parse, settings};
use crate::command::{DeleteRule, PutRule, ReplaceRules, RuleSpec};
use crate::keys;
use crate::limits::{DESTINATIONS_MAX, RULES_MAX};
use crate::overlay::Overlay;
use crate::query;
use crate::response::{Outcome, Refused, RulesChanged};

pub(super) fn put(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: PutRule,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let (at_ms, spec) = (command.at_ms, RuleSpec::from(command));
    let id = spec.id.clone();
    let rule = Checked::new(&account, spec)?;
    let before = query::rule(overlay, &account, &id)?;
    if before.is_none() && query::rules(overlay, &account)?.len() >= RULES_MAX {
        return Err(too_many().into());
    }
    overlay.put(keys::rule(&account, &id), &rule.record(at_ms, index));
    check_destinations(overlay, &account)?;
    if before.as_ref().is_none_or(|before| !rule.is_same(before)) {
        backfills::want(overlay, &account, &id, index)?;
    }
    let swept = if before.as_ref().is_some_and(|before| !rule.is_same(before)) {
        tasks::sweep(overlay, &account)?
    } else {
        Swept::default()
    };
    Ok(changed(before.is_some(), &swept))
}

/// All of them at once: pushes meet the old rules or the new ones.
pub(super) fn replace(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: ReplaceRules,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let ids: BTreeSet<&str> = command.rules.iter().map(|rule| rule.id.as_str()).collect();
    if ids.len() < command.rules.len() {
        return Err(invalid("rule id", "must be given once").into());
    }
    if ids.len() > RULES_MAX {
        return Err(too_many().into());
    }
    let before = query::rules(overlay, &account)?;
    for rule in &before {
        overlay.delete(keys::rule(&account, &rule.id));
    }
    let mut changed_ids = Vec::new();
    for spec in command.rules {
        let id = spec.id.clone();
        let rule = Checked::new(&account, spec)?;
        let record = rule.record(command.at_ms, index);
        overlay.put(keys::rule(&account, &id), &record);
        let mut before = before.iter();
        if !before.any(|before| before.id == id && rule.is_same(before)) {
            changed_ids.push(id);
        }
    }
    for id in changed_ids {
        backfills::want(overlay, &account, &id, index)?;
    }
    backfills::forget_unwanted(overlay, &account)?;
    check_destinations(overlay, &account)?;
    settings::put_configuration(overlay, &account, command.document, command.at_ms)?;
    Ok(changed(false, &tasks::sweep(overlay, &account)?))
}

pub(super) fn delete(overlay: &mut Overlay<'_>, command: &DeleteRule) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    checks::id(&command.id)?;
    if query::rule(overlay, &account, &command.id)?.is_none() {
        return Err(Refused::RuleUnknown(command.id.clone()).into());
    }
    overlay.delete(keys::rule(&account, &command.id));
    backfills::forget_unwanted(overlay, &account)?;
    let swept = tasks::sweep(overlay, &account)?;
    Ok(changed(false, &swept))
}

/// Those of all rules together.
fn check_destinations(overlay: &Overlay<'_>, account: &AccountId) -> Result<(), Stop> {
    let rules = query::rules(overlay, account)?;
    let all: BTreeSet<_> = rules.iter().flat_map(|rule| &rule.destinations).collect();
    if all.len() > DESTINATIONS_MAX {
        return Err(invalid("destinations", "of all rules must be at most 25").into());
    }
    Ok(())
}

fn too_many() -> Refused {
    Refused::RuleLimit(u32::try_from(RULES_MAX).unwrap_or(u32::MAX))
}

fn changed(replaced: bool, swept: &Swept) -> Outcome {
    Outcome::RulesChanged(RulesChanged {
        replaced,
        tasks_dropped: swept.dropped,
        tasks_left: swept.more,
    })
}
