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
