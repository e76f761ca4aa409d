//! Replication rules.

use std::collections::BTreeSet;

use entrepot_oci::{AccountId, RegionName};

use super::tasks::{self, Swept};
use super::{Stop, invalid, parse, settings};
use crate::command::{DeleteRule, PutRule, ReplaceRules};
use crate::keys;
use crate::limits::{PREFIX_BYTES_MAX, PREFIXES_MAX, RULE_ID_BYTES_MAX, RULES_MAX};
use crate::overlay::Overlay;
use crate::query;
use crate::records::RuleRecord;
use crate::response::{Outcome, Refused, RulesChanged};

pub(super) fn put(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: PutRule,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    check_id(&command.id)?;
    let destination: RegionName = parse("destination", &command.destination_region)?;
    let prefixes = checked_prefixes(command.prefixes)?;
    let before = query::rule(overlay, &account, &command.id)?;
    if before.is_none() && query::rules(overlay, &account)?.len() >= RULES_MAX {
        let max = u32::try_from(RULES_MAX).unwrap_or(u32::MAX);
        return Err(Refused::RuleLimit(max).into());
    }
    let narrowed = before
        .as_ref()
        .is_some_and(|before| before.destination != destination || before.prefixes != prefixes);
    let record = RuleRecord {
        prefixes,
        destination_region: destination.to_string(),
        updated_at_ms: command.at_ms,
        index,
    };
    overlay.put(keys::rule(&account, &command.id), &record);
    let swept = if narrowed {
        tasks::sweep(overlay, &account)?
    } else {
        Swept {
            dropped: 0,
            more: false,
        }
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
        let max = u32::try_from(RULES_MAX).unwrap_or(u32::MAX);
        return Err(Refused::RuleLimit(max).into());
    }
    for rule in query::rules(overlay, &account)? {
        overlay.delete(keys::rule(&account, &rule.id));
    }
    for rule in command.rules {
        check_id(&rule.id)?;
        let destination: RegionName = parse("destination", &rule.destination_region)?;
        let record = RuleRecord {
            prefixes: checked_prefixes(rule.prefixes)?,
            destination_region: destination.to_string(),
            updated_at_ms: command.at_ms,
            index,
        };
        overlay.put(keys::rule(&account, &rule.id), &record);
    }
    settings::put_configuration(overlay, &account, command.document, command.at_ms)?;
    Ok(changed(false, &tasks::sweep(overlay, &account)?))
}

pub(super) fn delete(overlay: &mut Overlay<'_>, command: &DeleteRule) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    check_id(&command.id)?;
    if query::rule(overlay, &account, &command.id)?.is_none() {
        return Err(Refused::RuleUnknown(command.id.clone()).into());
    }
    overlay.delete(keys::rule(&account, &command.id));
    let swept = tasks::sweep(overlay, &account)?;
    Ok(changed(false, &swept))
}

fn changed(replaced: bool, swept: &Swept) -> Outcome {
    Outcome::RulesChanged(RulesChanged {
        replaced,
        tasks_dropped: swept.dropped,
        tasks_left: swept.more,
    })
}

fn check_id(id: &str) -> Result<(), Refused> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=RULE_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(valid) {
        Ok(())
    } else {
        Err(invalid(
            "rule id",
            "must be 1 to 128 of a-z, A-Z, 0-9, '.', '_' and '-'",
        ))
    }
}

/// Sorted, without duplicates.
fn checked_prefixes(mut prefixes: Vec<String>) -> Result<Vec<String>, Refused> {
    if prefixes.len() > PREFIXES_MAX {
        return Err(invalid("prefixes", "must be at most 100"));
    }
    // What no repository name can begin with is a mistake.
    let valid = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'.' | b'_' | b'-' | b'/')
    };
    for prefix in &prefixes {
        if !(1..=PREFIX_BYTES_MAX).contains(&prefix.len()) || !prefix.bytes().all(valid) {
            return Err(invalid(
                "prefix",
                "must be 1 to 256 of a-z, 0-9, '.', '_', '-' and '/'",
            ));
        }
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    Ok(prefixes)
}
