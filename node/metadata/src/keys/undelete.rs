//! Keys of deleted images that can be restored.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::{Key, Namespace, of_digest};

pub(crate) fn deleted(account: &RegistryId, repository: &RepositoryName, digest: &Digest) -> Key {
    of_digest(Namespace::Deleted, account, repository, digest)
}

/// Sorts by time; what was to go before 1970 counts as of then.
pub(crate) fn deleted_until(
    until_ms: i64,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Key {
    deleted_until_then(until_ms)
        .home(account, repository)
        .digest(digest)
}

/// The prefix of what goes for good at that time.
pub(crate) fn deleted_until_then(until_ms: i64) -> Key {
    Key::new(Namespace::DeletedUntil).number(u64::try_from(until_ms).unwrap_or(0))
}

pub(crate) fn kept(account: &RegistryId) -> Key {
    Key::new(Namespace::Kept).account(account)
}

/// The prefix of how much is kept of each repository of a registry.
pub(crate) fn kept_of(account: &RegistryId) -> Key {
    Key::new(Namespace::RepositoryKept).account(account)
}

pub(crate) fn repository_kept(account: &RegistryId, repository: &RepositoryName) -> Key {
    Key::new(Namespace::RepositoryKept).home(account, repository)
}

/// Sorts by when it was deleted.
pub(crate) fn kept_order(
    account: &RegistryId,
    repository: &RepositoryName,
    index: u64,
    digest: &Digest,
) -> Key {
    Key::new(Namespace::KeptOrder)
        .home(account, repository)
        .number(index)
        .digest(digest)
}
