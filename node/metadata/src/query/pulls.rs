//! When images were last pulled.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use crate::keys;
use crate::read;
use crate::records::pulls::{PullRecord, PullsSinceRecord};
use crate::store::{KeyValue, StorageError};

/// The last pull of an image that was recorded.
pub fn pulled_at_ms(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<i64>, StorageError> {
    let key = keys::pull(account, repository, digest);
    let record: Option<PullRecord> = read::record(view, &key)?;
    Ok(record.map(|record| record.pulled_at_ms))
}

/// Since when pulls are recorded; none: they are not yet.
pub fn pulls_since_ms(view: &dyn KeyValue) -> Result<Option<i64>, StorageError> {
    let record: Option<PullsSinceRecord> = read::record(view, &keys::pulls_since())?;
    Ok(record.map(|record| record.since_ms))
}
