//! Settings that are still to follow their repositories to other regions.

use bytes::Bytes;
use entrepot_oci::{AccountId, RepositoryName};

use super::Destination;
use crate::keys::{Key, Namespace, Parts};
use crate::read;
use crate::records::following::SettingsTaskRecord;
use crate::store::{KeyValue, StorageError};

/// The settings of a repository are to go to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsTask {
    pub account: AccountId,
    pub repository: RepositoryName,
    pub destination: Destination,
    /// Log index of the last change that asked for it.
    pub sequence: u64,
}

/// At most `limit`, the oldest first, after one of them.
pub fn settings_tasks(
    view: &dyn KeyValue,
    after: Option<&SettingsTask>,
    limit: usize,
) -> Result<Vec<SettingsTask>, StorageError> {
    let all = Key::new(Namespace::SettingsOutbox);
    let start = after.map(|after| {
        let name = after.destination.name(&after.account);
        crate::keys::settings_outbox(after.sequence, &after.account, &after.repository, &name)
            .successor()
    });
    let mut tasks = Vec::new();
    for (key, _) in read::page(view, &all, start.as_ref(), limit)? {
        let mut parts = Parts::of(&key);
        let sequence = parts.number()?;
        let account = parts.account()?;
        let repository: RepositoryName = parts.name("repository")?;
        let name = parts.text("destination")?;
        let key = crate::keys::settings_task(&account, &repository, name);
        let found = view.get(key.as_bytes())?;
        // Asked for anew since the scan: it comes later.
        tasks.extend(
            found
                .map(|value| settings_task_of(key.as_bytes(), value))
                .transpose()?
                .filter(|task| task.sequence == sequence),
        );
    }
    Ok(tasks)
}

/// The pair of a key in namespace `SettingsTask`.
pub(crate) fn settings_task_of(key: &[u8], value: Bytes) -> Result<SettingsTask, StorageError> {
    let mut parts = Parts::of(key);
    let account = parts.account()?;
    let repository = parts.name("repository")?;
    let destination = Destination::named(parts.text("destination")?, &account)
        .map_err(|error| StorageError::corrupt(key, error))?;
    parts.end()?;
    let record: SettingsTaskRecord = read::decode(key, value)?;
    Ok(SettingsTask {
        account,
        repository,
        destination,
        sequence: record.sequence,
    })
}
