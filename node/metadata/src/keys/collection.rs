//! Keys of what nothing refers to any more, and of what was collected.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::{Key, Namespace};

pub(crate) fn collection() -> Key {
    Key::new(Namespace::Collection)
}

/// Sorts by time; what was before 1970 counts as of then.
pub(crate) fn unused(
    since_ms: i64,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Key {
    unused_at(since_ms).home(account, repository).digest(digest)
}

/// The prefix of what nothing has named since then.
pub(crate) fn unused_at(since_ms: i64) -> Key {
    Key::new(Namespace::Unused).number(u64::try_from(since_ms).unwrap_or(0))
}

pub(crate) fn unlinked(digest: &Digest) -> Key {
    Key::new(Namespace::Unlinked).digest(digest)
}

pub(crate) fn collected(digest: &Digest) -> Key {
    Key::new(Namespace::Collected).digest(digest)
}

/// The prefix of what was collected at a log index.
pub(crate) fn collected_at(index: u64) -> Key {
    Key::new(Namespace::CollectedAt).number(index)
}

pub(crate) fn to_delete(node: u64, digest: &Digest) -> Key {
    to_delete_of(node).digest(digest)
}

/// The prefix of what a node has still to delete.
pub(crate) fn to_delete_of(node: u64) -> Key {
    Key::new(Namespace::ToDelete).number(node)
}
