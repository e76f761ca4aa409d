//! How much is kept of deleted images.

use entrepot_oci::{RegistryId, RepositoryName};

use crate::keys::{self, Key, Namespace, Parts};
use crate::read;
use crate::records::undelete::KeptRecord;
use crate::store::{KeyValue, StorageError};

/// Deleted images that can be restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub images: u64,
    /// Of their manifests: a blob counts as what its repository holds.
    pub bytes: u64,
}

/// What a registry keeps.
pub fn kept(view: &dyn KeyValue, account: &RegistryId) -> Result<Kept, StorageError> {
    let record: Option<KeptRecord> = read::record(view, &keys::kept(account))?;
    Ok(record.unwrap_or_default().into())
}

/// What a repository keeps.
pub fn repository_kept(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<Kept, StorageError> {
    let key = keys::repository_kept(account, repository);
    let record: Option<KeptRecord> = read::record(view, &key)?;
    Ok(record.unwrap_or_default().into())
}

/// At most `limit` of the registries that keep anything and sort after `after`.
pub fn registries_kept(
    view: &dyn KeyValue,
    after: Option<&RegistryId>,
    limit: usize,
) -> Result<Vec<(RegistryId, Kept)>, StorageError> {
    let prefix = Key::new(Namespace::Kept);
    let start = after.map(|after| keys::kept(after).successor());
    let found = read::page(view, &prefix, start.as_ref(), limit)?;
    let found = found.into_iter().map(|(key, value)| {
        let mut parts = Parts::of(&key);
        let account = parts.registry()?;
        parts.end()?;
        let record: KeptRecord = read::decode(&key, value)?;
        Ok((account, record.into()))
    });
    found.collect()
}

// === impl Kept ===

impl From<KeptRecord> for Kept {
    fn from(record: KeptRecord) -> Self {
        Self {
            images: record.images,
            bytes: record.bytes,
        }
    }
}
