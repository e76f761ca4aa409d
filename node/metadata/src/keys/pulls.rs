//! Keys of when images were last pulled.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::{Key, Namespace, of_digest};

pub(crate) fn pull(account: &RegistryId, repository: &RepositoryName, digest: &Digest) -> Key {
    of_digest(Namespace::Pull, account, repository, digest)
}

pub(crate) fn pulls_since() -> Key {
    Key::new(Namespace::PullsSince)
}
