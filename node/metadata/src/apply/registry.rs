//! Repositories, and the settings of a registry and of a repository.

use entrepot_oci::{RegistryId, RepositoryName};

use super::{Stop, parse, settings};
use crate::command::{CreateRepository, PutRegistrySettings, PutRepositorySettings};
use crate::keys;
use crate::overlay::Overlay;
use crate::query::{self, RegistrySettings, RepositorySettings};
use crate::read;
use crate::records::{RepositoryRecord, SettingsRecord};
use crate::response::{Done, Outcome, Refused, RepositoryPut};

pub(super) fn put_settings(
    overlay: &mut Overlay<'_>,
    command: &PutRegistrySettings,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let before = query::registry_settings(overlay, &account)?;
    let after = RegistrySettings {
        create_on_push: command.create_on_push.unwrap_or(before.create_on_push),
    };
    if after != before {
        let record = SettingsRecord {
            create_on_push: after.create_on_push,
        };
        overlay.put(keys::settings(&account), &record);
    }
    Ok(Outcome::Done(Done {}))
}

pub(super) fn put_repository_settings(
    overlay: &mut Overlay<'_>,
    command: PutRepositorySettings,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    let key = keys::repository(&account, &repository);
    let Some(before) = read::record::<RepositoryRecord>(overlay, &key)? else {
        return Err(unknown(&repository));
    };
    if before.deleting {
        return Err(deleting(&repository));
    }
    if let Some(mutability) = &command.mutability {
        settings::check_mutability(mutability)?;
    }
    let after = RepositoryRecord {
        sparse_indexes: command.sparse_indexes.unwrap_or(before.sparse_indexes),
        mutability: command.mutability.or_else(|| before.mutability.clone()),
        scan_on_push: command.scan_on_push.unwrap_or(before.scan_on_push),
        ..before.clone()
    };
    if after != before {
        overlay.put(key, &after);
    }
    Ok(Outcome::Done(Done {}))
}

pub(super) fn create_repository(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: CreateRepository,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    let (created, mut record) = Creation {
        wanted: true,
        index,
        at_ms: command.at_ms,
    }
    .ensured(overlay, &account, &repository)?;
    if !created && command.must_be_new {
        return Err(Refused::RepositoryExists(repository.to_string()).into());
    }
    if created && let Some(spec) = command.spec {
        let at_ms = command.at_ms;
        settings::furnish(overlay, &account, &repository, spec, &mut record, at_ms)?;
        overlay.put(keys::repository(&account, &repository), &record);
    }
    Ok(Outcome::RepositoryPut(RepositoryPut { created }))
}

/// What a push does about a repository that does not exist.
pub(super) struct Creation {
    pub(super) wanted: bool,
    pub(super) index: u64,
    pub(super) at_ms: i64,
}

// === impl Creation ===

impl Creation {
    /// Whether the repository was created; one that exists is fine, unless it is
    /// being deleted.
    pub(super) fn ensure(
        &self,
        overlay: &mut Overlay<'_>,
        account: &RegistryId,
        repository: &RepositoryName,
    ) -> Result<bool, Stop> {
        let (created, _) = self.ensured(overlay, account, repository)?;
        Ok(created)
    }

    /// The same, with the repository as it is then.
    pub(super) fn ensured(
        &self,
        overlay: &mut Overlay<'_>,
        account: &RegistryId,
        repository: &RepositoryName,
    ) -> Result<(bool, RepositoryRecord), Stop> {
        let key = keys::repository(account, repository);
        if let Some(found) = read::record::<RepositoryRecord>(overlay, &key)? {
            return if found.deleting {
                Err(deleting(repository))
            } else {
                Ok((false, found))
            };
        }
        if !self.wanted {
            return Err(unknown(repository));
        }
        let record = RepositoryRecord {
            created_at_ms: self.at_ms,
            index: self.index,
            sparse_indexes: RepositorySettings::default().sparse_indexes,
            ..RepositoryRecord::default()
        };
        overlay.put(key, &record);
        Ok((true, record))
    }
}

pub(super) fn require_repository(
    overlay: &Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<(), Stop> {
    if read::exists(overlay, &keys::repository(account, repository))? {
        Ok(())
    } else {
        Err(unknown(repository))
    }
}

fn deleting(repository: &RepositoryName) -> Stop {
    Refused::RepositoryDeleting(repository.to_string()).into()
}

fn unknown(repository: &RepositoryName) -> Stop {
    Refused::RepositoryUnknown(repository.to_string()).into()
}
