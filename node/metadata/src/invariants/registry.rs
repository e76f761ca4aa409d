//! Settings, rules and repositories can be read, and are bounded.

use super::{Check, Pair};
use crate::keys::{Key, Namespace};
use crate::limits::{DESTINATIONS_MAX, PREFIXES_MAX, RULES_MAX};
use crate::query;
use crate::read;
use crate::records::{RepositoryRecord, SettingsRecord};
use crate::store::StorageError;

pub(super) fn settings(_: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    parts.registry()?;
    parts.end()?;
    pair.decode::<SettingsRecord>().map(drop)
}

pub(super) fn rule(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.rules += 1;
    let mut parts = pair.parts();
    let account = parts.registry()?;
    parts.text("rule")?;
    parts.end()?;
    let rule = query::rule_of(&pair.key, pair.value.clone())?;
    check.require(
        rule.prefixes.is_sorted_by(|a, b| a < b) && rule.prefixes.len() <= PREFIXES_MAX,
        "a rule's prefixes are few, sorted and unlike",
        &pair.key,
    );
    check.require(
        rule.destinations.is_sorted_by(|a, b| a < b) && rule.destinations.len() <= DESTINATIONS_MAX,
        "a rule's destinations are few, sorted and unlike",
        &pair.key,
    );
    let prefix = Key::new(Namespace::Rule).account(&account);
    let rules = read::page(check.view, &prefix, None, RULES_MAX + 1)?;
    check.require(
        rules.len() <= RULES_MAX,
        "a registry has no more rules than it may",
        &pair.key,
    );
    Ok(())
}

pub(super) fn repository(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.repositories += 1;
    let mut parts = pair.parts();
    parts.registry()?;
    parts.name::<entrepot_oci::RepositoryName>("repository")?;
    parts.end()?;
    pair.decode::<RepositoryRecord>().map(drop)
}
