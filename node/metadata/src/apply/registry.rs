//! Repositories, and the settings of a registry and of a repository.

use entrepot_oci::{RegistryId, RepositoryName};

use super::counts::{self, Counted};
use super::{Stop, following, held, invalid, parse, settings};
use crate::command::{CreateRepository, PutRegistrySettings, PutRepositorySettings, QuotasChange};
use crate::keys;
use crate::limits::{
    QUOTA_BYTES_MAX, QUOTA_LAYER_BYTES_MAX, QUOTA_MAX, QUOTA_TAGS_MAX, UNDELETE_WINDOW_MS_MAX,
};
use crate::overlay::Overlay;
use crate::query::{self, Quotas, RepositorySettings};
use crate::read;
use crate::records::{QuotasRecord, RepositoryRecord, SettingsRecord};
use crate::response::{Done, Outcome, Refused, RepositoryPut};

pub(super) fn put_settings(
    overlay: &mut Overlay<'_>,
    command: &PutRegistrySettings,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let before = query::registry_settings(overlay, &account)?;
    let key = keys::settings(&account);
    let record: Option<SettingsRecord> = read::record(overlay, &key)?;
    let record = record.unwrap_or(SettingsRecord {
        create_on_push: before.create_on_push,
        ..SettingsRecord::default()
    });
    let mut after = SettingsRecord {
        create_on_push: command.create_on_push.unwrap_or(record.create_on_push),
        ..record
    };
    if let Some(change) = &command.quotas {
        let mut quotas = record.quotas.unwrap_or_default();
        if command.is_granted {
            let granted = record.granted.unwrap_or_default();
            after.granted = Some(changed(granted, change)?);
            // From now on it has what it was given.
            quotas = changed(quotas, &reset(change))?;
        } else {
            check_granted(&before.granted, change)?;
            quotas = changed(quotas, change)?;
        }
        after.quotas = Some(quotas);
        let sets = [
            change.bytes,
            change.repository_bytes,
            change.registry_images,
        ];
        if sets.into_iter().flatten().any(|max| max != 0) {
            held::begin(&mut after);
        }
    }
    if let Some(window_ms) = command.undelete_window_ms {
        if window_ms > UNDELETE_WINDOW_MS_MAX {
            return Err(invalid("undelete window", "must be at most 366 days").into());
        }
        after.undelete_window_ms = Some(window_ms);
    }
    if after != record {
        overlay.put(key, &after);
    }
    Ok(Outcome::Done(Done {}))
}

/// That a registry gives itself no more than it was given.
fn check_granted(granted: &Quotas, change: &QuotasChange) -> Result<(), Refused> {
    let all = [
        ("repositories", change.repositories, granted.repositories),
        ("images", change.images, granted.images_per_repository),
        ("tags", change.tags, granted.tags_per_image),
        ("layer parts", change.layer_parts, granted.layer_parts),
        ("layer bytes", change.layer_bytes, granted.layer_bytes),
        ("bytes", change.bytes, granted.bytes),
        (
            "bytes of a repository",
            change.repository_bytes,
            granted.bytes_per_repository,
        ),
        ("all images", change.registry_images, granted.images),
    ];
    for (what, wanted, max) in all {
        if wanted.is_some_and(|wanted| wanted > max) {
            return Err(invalid(
                "quota",
                format_args!(
                    "of {what} must be at most {max}, unless an operator of the cluster raises it"
                ),
            ));
        }
    }
    Ok(())
}

/// What is changed back to as much as is granted.
fn reset(change: &QuotasChange) -> QuotasChange {
    QuotasChange {
        repositories: change.repositories.map(|_| 0),
        images: change.images.map(|_| 0),
        tags: change.tags.map(|_| 0),
        layer_parts: change.layer_parts.map(|_| 0),
        layer_bytes: change.layer_bytes.map(|_| 0),
        bytes: change.bytes.map(|_| 0),
        repository_bytes: change.repository_bytes.map(|_| 0),
        registry_images: change.registry_images.map(|_| 0),
    }
}

fn changed(before: QuotasRecord, change: &QuotasChange) -> Result<QuotasRecord, Refused> {
    let all = [
        ("repositories", change.repositories, QUOTA_MAX),
        ("images", change.images, QUOTA_MAX),
        ("tags", change.tags, QUOTA_TAGS_MAX),
        ("layer parts", change.layer_parts, QUOTA_MAX),
        ("layer bytes", change.layer_bytes, QUOTA_LAYER_BYTES_MAX),
        ("bytes", change.bytes, QUOTA_BYTES_MAX),
        (
            "bytes of a repository",
            change.repository_bytes,
            QUOTA_BYTES_MAX,
        ),
        ("all images", change.registry_images, QUOTA_MAX),
    ];
    for (what, wanted, max) in all {
        if wanted.is_some_and(|wanted| wanted > max) {
            return Err(invalid(
                "quota",
                format_args!("of {what} must be at most {max}"),
            ));
        }
    }
    Ok(QuotasRecord {
        repositories: change.repositories.unwrap_or(before.repositories),
        images: change.images.unwrap_or(before.images),
        tags: change.tags.unwrap_or(before.tags),
        layer_parts: change.layer_parts.unwrap_or(before.layer_parts),
        layer_bytes: change.layer_bytes.unwrap_or(before.layer_bytes),
        bytes: change.bytes.unwrap_or(before.bytes),
        repository_bytes: change.repository_bytes.unwrap_or(before.repository_bytes),
        registry_images: change.registry_images.unwrap_or(before.registry_images),
    })
}

pub(super) fn put_repository_settings(
    overlay: &mut Overlay<'_>,
    index: u64,
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
    bound_repository(overlay, &account, &command)?;
    let after = RepositoryRecord {
        sparse_indexes: command.sparse_indexes.unwrap_or(before.sparse_indexes),
        mutability: command.mutability.or_else(|| before.mutability.clone()),
        scan_on_push: command.scan_on_push.unwrap_or(before.scan_on_push),
        bytes_max: command.bytes_max.unwrap_or(before.bytes_max),
        images_max: command.images_max.unwrap_or(before.images_max),
        ..before.clone()
    };
    let is_told = after.mutability != before.mutability;
    if after != before {
        overlay.put(key, &after);
    }
    if is_told {
        following::changed(overlay, &account, &repository, index)?;
    }
    Ok(Outcome::Done(Done {}))
}

/// Lets what is counted that a repository is given quotas of.
fn bound_repository(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    command: &PutRepositorySettings,
) -> Result<(), Stop> {
    if command.bytes_max.is_none() && command.images_max.is_none() {
        return Ok(());
    }
    let before = query::registry_settings(overlay, account)?;
    let change = QuotasChange {
        images: command.images_max,
        repository_bytes: command.bytes_max,
        ..QuotasChange::default()
    };
    check_granted(&before.granted, &change)?;
    changed(QuotasRecord::default(), &change)?;
    let key = keys::settings(account);
    let record: Option<SettingsRecord> = read::record(overlay, &key)?;
    let record = record.unwrap_or(SettingsRecord {
        create_on_push: before.create_on_push,
        ..SettingsRecord::default()
    });
    let mut after = record;
    after.quotas.get_or_insert_default();
    if command.bytes_max.is_some_and(|max| max != 0) {
        held::begin(&mut after);
    }
    if after != record {
        overlay.put(key, &after);
    }
    Ok(())
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
        is_bounded: true,
    }
    .ensured(overlay, &account, &repository)?;
    if !created && command.must_be_new {
        return Err(Refused::RepositoryExists(repository.to_string()).into());
    }
    if created && let Some(spec) = command.spec {
        let at_ms = command.at_ms;
        settings::furnish(overlay, &account, &repository, spec, &mut record, at_ms)?;
        overlay.put(keys::repository(&account, &repository), &record);
        following::changed(overlay, &account, &repository, index)?;
    }
    Ok(Outcome::RepositoryPut(RepositoryPut { created }))
}

/// What a push does about a repository that does not exist.
pub(super) struct Creation {
    pub(super) wanted: bool,
    pub(super) index: u64,
    pub(super) at_ms: i64,
    /// By what the registry may have. Replicas come whatever that is: their source
    /// has had its answer.
    pub(super) is_bounded: bool,
}

// === impl Creation ===

impl Creation {
    /// Whether the repository was created; one that exists is fine, unless it is
    /// being deleted. With it, as it is then.
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
        if let Some(quotas) = counts::quotas(overlay, account)? {
            let max = self.is_bounded.then_some(quotas.repositories);
            Counted::Repositories(account).add(overlay, &key, max)?;
        }
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
