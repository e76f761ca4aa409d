//! Settings, rules and repositories can be read, and are bounded; counts are true.

use entrepot_oci::RepositoryName;

use super::{Check, Pair};
use crate::keys::{self, Key, Namespace};
use crate::limits::{DESTINATIONS_MAX, PREFIXES_MAX, RULES_MAX, SCAN_PAGE};
use crate::query;
use crate::read;
use crate::records::{CountRecord, RepositoryRecord, SettingsRecord};
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
    parts.name::<RepositoryName>("repository")?;
    parts.end()?;
    pair.decode::<RepositoryRecord>().map(drop)
}

pub(super) fn repository_count(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    parts.end()?;
    count(
        check,
        pair,
        &Key::new(Namespace::Repository).account(&account),
    )
}

pub(super) fn image_count(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let repository: RepositoryName = parts.name("repository")?;
    parts.end()?;
    let home = keys::repository(&account, &repository);
    check.require_key(
        &home,
        "what is counted is of a repository that is there",
        pair,
    )?;
    let prefix = Key::new(Namespace::Manifest).home(&account, &repository);
    count(check, pair, &prefix)
}

pub(super) fn tag_count(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let repository: RepositoryName = parts.name("repository")?;
    let digest = parts.digest()?;
    parts.end()?;
    let manifest = keys::manifest(&account, &repository, &digest);
    check.require_key(
        &manifest,
        "tags are counted of a manifest that is there",
        pair,
    )?;
    let prefix = keys::of_digest(Namespace::TagOf, &account, &repository, &digest);
    count(check, pair, &prefix)
}

/// A count says how many keys there are, as far as it has got.
fn count(check: &mut Check<'_>, pair: &Pair, prefix: &Key) -> Result<(), StorageError> {
    let record: CountRecord = pair.decode()?;
    let end = match &record.counted_to {
        Some(last) => Key::of(last.to_vec()).successor().into_bytes(),
        None => prefix.prefix_end(),
    };
    let (mut found, mut start) = (0, prefix.clone());
    loop {
        let page = check.view.scan(start.as_bytes(), &end, SCAN_PAGE)?;
        found += page.len() as u64;
        match page.last() {
            Some((last, _)) if page.len() == SCAN_PAGE => {
                start = Key::of(last.to_vec()).successor();
            }
            _ => break,
        }
    }
    check.require(
        record.number == found,
        "a count is the number of what there is",
        (&pair.key, record.number, found),
    );
    Ok(())
}
