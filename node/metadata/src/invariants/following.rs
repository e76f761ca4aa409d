//! Settings that are to follow are in the outbox, and nothing else is.

use entrepot_oci::{RegionName, RepositoryName};

use super::{Check, Pair};
use crate::keys;
use crate::query;
use crate::records::following::SettingsOriginRecord;
use crate::store::StorageError;

pub(super) fn task(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let task = query::settings_task_of(&pair.key, pair.value.clone())?;
    let name = task.destination.name(&task.account);
    check.require_key(
        &keys::settings_outbox(task.sequence, &task.account, &task.repository, &name),
        "settings that are to follow are in the outbox",
        pair,
    )?;
    check.require_key(
        &keys::repository(&task.account, &task.repository),
        "settings that are to follow are of a repository",
        pair,
    )?;
    check.require(
        task.destination.account == task.account,
        "settings follow to the same account",
        &pair.key,
    );
    Ok(())
}

pub(super) fn outbox(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    parts.number()?;
    let account = parts.account()?;
    let repository: RepositoryName = parts.name("repository")?;
    let name = parts.text("destination")?;
    parts.end()?;
    check.require_key(
        &keys::settings_task(&account, &repository, name),
        "what is in the outbox of settings is a task",
        pair,
    )
}

pub(super) fn origin(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.account()?;
    let repository: RepositoryName = parts.name("repository")?;
    parts.name::<RegionName>("region")?;
    parts.name::<RepositoryName>("source")?;
    parts.end()?;
    pair.decode::<SettingsOriginRecord>()?;
    check.require_key(
        &keys::repository(&account, &repository),
        "settings came to a repository that is there",
        pair,
    )
}
