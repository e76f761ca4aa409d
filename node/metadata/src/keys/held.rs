//! Keys of how much registries and repositories hold.

use entrepot_oci::{RegistryId, RepositoryName};

use super::{Key, Namespace};

pub(crate) fn held(account: &RegistryId) -> Key {
    Key::new(Namespace::Held).account(account)
}

/// The prefix of what a registry's repositories hold.
pub(crate) fn held_of(account: &RegistryId) -> Key {
    Key::new(Namespace::RepositoryHeld).account(account)
}

pub(crate) fn repository_held(account: &RegistryId, repository: &RepositoryName) -> Key {
    Key::new(Namespace::RepositoryHeld).home(account, repository)
}
