//! Settings follow their repositories to the account's registries in other regions.
//!
//! A task says that the settings are to go there as they are when it is done, and
//! carries the place of the last change in the log: whoever does it sends all of
//! them. The invariants: of one source, older settings never come over newer ones,
//! in whatever order they arrive; what came from elsewhere goes no further; and no
//! account changes the settings of another one.

use entrepot_oci::{AccountId, RegionName, RegistryId, RepositoryName};

use super::registry::Creation;
use super::{Stop, invalid, parse, settings};
use crate::command::{EndSettingsTask, PutReplicaSettings};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{DESTINATIONS_MAX, SCAN_PAGE};
use crate::overlay::Overlay;
use crate::query::{self, Destination};
use crate::read;
use crate::records::following::{SettingsOriginRecord, SettingsTaskRecord};
use crate::records::settings::{ResourceTagsRecord, TextKind};
use crate::response::{Done, Outcome};
use crate::store::StorageError;

/// Settings of a repository have been changed by people of this registry.
pub(super) fn changed(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    index: u64,
) -> Result<(), StorageError> {
    for rule in query::rules(overlay, account)? {
        if !rule.options.settings || !rule.matches(repository) {
            continue;
        }
        for destination in rule.destinations {
            ask(overlay, account, repository, &destination, index)?;
        }
    }
    Ok(())
}

/// The settings are to go to one destination, if that is of the same account.
pub(super) fn ask(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    destination: &Destination,
    index: u64,
) -> Result<(), StorageError> {
    if !account.is_of(&destination.account) {
        return Ok(());
    }
    let name = destination.name(&account.account());
    let key = keys::settings_task(account, repository, &name);
    let before: Option<SettingsTaskRecord> = read::record(overlay, &key)?;
    if let Some(before) = before {
        let sequence = before.sequence;
        overlay.delete(keys::settings_outbox(sequence, account, repository, &name));
    }
    overlay.put(key, &SettingsTaskRecord { sequence: index });
    overlay.mark(keys::settings_outbox(index, account, repository, &name));
    Ok(())
}

pub(super) fn end(overlay: &mut Overlay<'_>, command: &EndSettingsTask) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let repository: RepositoryName = parse("repository", &command.repository)?;
    let destination = Destination::named(&command.destination, &account)
        .map_err(|error| invalid("destination", error))?;
    let name = destination.name(&account);
    let key = keys::settings_task(&account, &repository, &name);
    let record: Option<SettingsTaskRecord> = read::record(overlay, &key)?;
    if record.is_some_and(|record| record.sequence == command.sequence) {
        let sequence = command.sequence;
        overlay.delete(key);
        overlay.delete(keys::settings_outbox(
            sequence,
            &account,
            &repository,
            &name,
        ));
    }
    Ok(Outcome::Done(Done {}))
}

pub(super) fn put(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: PutReplicaSettings,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let repository: RepositoryName = parse("repository", &command.repository)?;
    let region: RegionName = parse("source region", &command.source_region)?;
    let source: RepositoryName = parse("source repository", &command.source_repository)?;
    let at_ms = command.at_ms;
    let creation = Creation {
        wanted: true,
        index,
        at_ms,
        is_bounded: false,
    };
    let (_, mut record) = creation.ensured(overlay, &account, &repository)?;
    let origin = keys::settings_origin(&account, &repository, &region, &source);
    let newest: Option<SettingsOriginRecord> = read::record(overlay, &origin)?;
    if newest.is_some_and(|newest| newest.sequence >= command.sequence) {
        return Ok(Outcome::Done(Done {}));
    }
    let sequence = command.sequence;
    overlay.put(origin, &SettingsOriginRecord { sequence });
    if let Some(mutability) = &command.mutability {
        settings::check_mutability(mutability)?;
    }
    record.mutability = command.mutability;
    overlay.put(keys::repository(&account, &repository), &record);
    let tags = ResourceTagsRecord { tags: command.tags };
    settings::check_tags(&tags)?;
    let key = keys::resource_tags(&account, &repository);
    if tags.tags.is_empty() {
        overlay.delete(key);
    } else {
        overlay.put(key, &tags);
    }
    for (kind, text) in [
        (TextKind::Policy, command.policy),
        (TextKind::Lifecycle, command.lifecycle),
    ] {
        if text.is_empty() {
            overlay.delete(keys::repository_text(&account, &repository, kind));
        } else {
            settings::put(overlay, &account, &repository, kind, text, at_ms)?;
        }
    }
    Ok(Outcome::Done(Done {}))
}

/// A repository goes, and with it what is to be told of it and was told to it.
pub(super) fn forget(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<(), StorageError> {
    let tasks = keys::settings_of(Namespace::SettingsTask, account, repository);
    for (key, value) in read::page(overlay, &tasks, None, DESTINATIONS_MAX)? {
        let record: SettingsTaskRecord = read::decode(&key, value)?;
        let mut parts = Parts::of(&key);
        parts.registry()?;
        parts.text("repository")?;
        let name = parts.text("destination")?;
        let sequence = record.sequence;
        overlay.delete(keys::settings_outbox(sequence, account, repository, name));
        overlay.delete(Key::of(key.to_vec()));
    }
    let origins = keys::settings_of(Namespace::SettingsOrigin, account, repository);
    for (key, _) in read::page(overlay, &origins, None, SCAN_PAGE)? {
        overlay.delete(Key::of(key.to_vec()));
    }
    Ok(())
}
