//! Keys of settings that follow their repositories to other regions.

use entrepot_oci::{RegionName, RegistryId, RepositoryName};

use super::{Key, Namespace};

/// The prefix of what is to be told of a repository, or was told to it.
pub(crate) fn settings_of(
    namespace: Namespace,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Key {
    Key::new(namespace).home(account, repository)
}

/// `destination`: its name.
pub(crate) fn settings_task(
    account: &RegistryId,
    repository: &RepositoryName,
    destination: &str,
) -> Key {
    settings_of(Namespace::SettingsTask, account, repository).name(destination)
}

pub(crate) fn settings_outbox(
    sequence: u64,
    account: &RegistryId,
    repository: &RepositoryName,
    destination: &str,
) -> Key {
    Key::new(Namespace::SettingsOutbox)
        .number(sequence)
        .home(account, repository)
        .name(destination)
}

pub(crate) fn settings_origin(
    account: &RegistryId,
    repository: &RepositoryName,
    region: &RegionName,
    source: &RepositoryName,
) -> Key {
    settings_of(Namespace::SettingsOrigin, account, repository)
        .name(region.as_str())
        .name(source.as_str())
}
