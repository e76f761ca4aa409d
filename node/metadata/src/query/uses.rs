//! What names what in a repository, and what was brought there.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::Source;
use crate::keys::{self, Namespace, Parts};
use crate::read;
use crate::records::ReplicaRecord;
use crate::store::{KeyValue, StorageError};

/// At most `limit` manifests of a repository that name a blob.
pub fn images_naming(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    blob: &Digest,
    limit: usize,
) -> Result<Vec<Digest>, StorageError> {
    naming(view, Namespace::BlobUse, (account, repository, blob), limit)
}

/// At most `limit` indexes of a repository that name a manifest.
pub fn indexes_naming(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    manifest: &Digest,
    limit: usize,
) -> Result<Vec<Digest>, StorageError> {
    let named = (account, repository, manifest);
    naming(view, Namespace::ChildUse, named, limit)
}

/// At most `limit` manifests of a repository whose subject is `subject`.
pub(crate) fn referring_to(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    subject: &Digest,
    limit: usize,
) -> Result<Vec<Digest>, StorageError> {
    let named = (account, repository, subject);
    naming(view, Namespace::Referrer, named, limit)
}

fn naming(
    view: &dyn KeyValue,
    namespace: Namespace,
    (account, repository, named): (&RegistryId, &RepositoryName, &Digest),
    limit: usize,
) -> Result<Vec<Digest>, StorageError> {
    let prefix = keys::of_digest(namespace, account, repository, named);
    read::page(view, &prefix, None, limit)?
        .into_iter()
        .map(|(key, _)| {
            let mut parts = Parts::of(&key);
            parts.registry()?;
            parts.text("repository")?;
            parts.digest()?;
            parts.digest()
        })
        .collect()
}

/// Whether a source has brought a manifest and not deleted it since.
pub fn is_brought_by(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    manifest: &Digest,
    source: &Source,
) -> Result<bool, StorageError> {
    let key = keys::replica(account, repository, manifest, source);
    let found: Option<ReplicaRecord> = read::record(view, &key)?;
    Ok(found.is_some_and(|record| record.pushed > record.deleted))
}

/// Whether a manifest came from elsewhere, and from here not as well.
pub fn is_replica(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    manifest: &Digest,
) -> Result<bool, StorageError> {
    /// More regions than a cluster has.
    const SOURCES_MAX: usize = 1_000;
    let is_brought = |record: ReplicaRecord| record.pushed > record.deleted;
    let here = keys::replica_of_here(account, repository, manifest);
    if read::record(view, &here)?.is_some_and(is_brought) {
        return Ok(false);
    }
    let prefix = keys::of_digest(Namespace::Replica, account, repository, manifest);
    for (key, value) in read::page(view, &prefix, None, SOURCES_MAX)? {
        if is_brought(read::decode(&key, value)?) {
            return Ok(true);
        }
    }
    Ok(false)
}
