//! What is kept of replicas that are gone, and how long it has to be kept.
//!
//! What a source last said of a tag or an image outlives them here, so that nothing
//! older undoes it. It is needed for as long as something older may still come:
//! until the source has no task open any more that is as old. From then on, whatever
//! is as old is refused, and what was kept for it may go. So nothing comes out
//! otherwise than if all had been kept for ever.

use bytes::Bytes;
use entrepot_oci::{AccountId, RegionName, RegistryId, RepositoryName, Tag};

use super::{Destination, Source, denied_tasks, open_tasks, tag, task};
use crate::keys::{self, Namespace, Parts};
use crate::limits::SETTLED_LOOK_MAX;
use crate::read;
use crate::records::{ReplicaRecord, SettledRecord, TagOriginRecord};
use crate::store::{KeyValue, StorageError};

/// What is kept of something that is not here any more, or not its source's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadReplica {
    /// Where it is kept.
    pub key: Bytes,
    /// Whose registry it is.
    pub account: RegistryId,
    pub source: Source,
    /// The newest push or deletion that it tells of.
    pub sequence: u64,
}

/// Up to where an account in a region has no task open any more for a registry of
/// this region.
pub fn settled(
    view: &dyn KeyValue,
    account: &RegistryId,
    region: &RegionName,
    source: &RegistryId,
) -> Result<u64, StorageError> {
    let key = keys::settled(account, region, source);
    let record: Option<SettledRecord> = read::record(view, &key)?;
    Ok(record.unwrap_or_default().sequence)
}

/// Looks at so many records, after `after`: those that are dead, and after which to
/// go on.
pub fn dead_replicas(
    view: &dyn KeyValue,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Vec<DeadReplica>, Option<Vec<u8>>), StorageError> {
    let start = after.map_or_else(
        || vec![Namespace::TagOrigin as u8],
        |after| [after, &[0]].concat(),
    );
    let page = view.scan(&start, &[Namespace::Replica as u8 + 1], limit)?;
    let last = page.get(limit.saturating_sub(1));
    let next = last.map(|(key, _)| key.to_vec());
    let mut dead = Vec::new();
    for (key, value) in page {
        dead.extend(dead_replica(view, &key, value)?);
    }
    Ok((dead, next))
}

/// None: it is of something that is here, or of no replica at all.
pub(crate) fn dead_replica(
    view: &dyn KeyValue,
    key: &Bytes,
    value: Bytes,
) -> Result<Option<DeadReplica>, StorageError> {
    let Some(namespace) = key.first().copied().and_then(Namespace::of) else {
        return Ok(None);
    };
    let mut parts = Parts::of(key);
    let dead = |account, source, sequence| {
        Some(DeadReplica {
            key: key.clone(),
            account,
            source,
            sequence,
        })
    };
    match namespace {
        Namespace::TagOrigin => {
            let account = parts.registry()?;
            let repository: RepositoryName = parts.name("repository")?;
            let name: Tag = parts.name("tag")?;
            let source = parts.source(&account, &repository)?;
            let record: TagOriginRecord = read::decode(key, value)?;
            let origin = tag(view, &account, &repository, &name)?.and_then(|tag| tag.origin);
            if origin.is_some_and(|origin| origin.source == source) {
                return Ok(None);
            }
            Ok(dead(account, source, record.sequence))
        }
        Namespace::Replica => {
            let account = parts.registry()?;
            let repository: RepositoryName = parts.name("repository")?;
            parts.digest()?;
            let record: ReplicaRecord = read::decode(key, value)?;
            // This registry's own is never dead.
            if record.pushed > record.deleted {
                return Ok(None);
            }
            let source = parts.source(&account, &repository)?;
            Ok(dead(account, source, record.deleted))
        }
        _ => Ok(None),
    }
}

/// Up to which log index no task of `account` for `destination` is open, or may be
/// again. `applied`: the index of the view, which must not move on meanwhile. None:
/// too much is open to tell.
pub fn settled_up_to(
    view: &dyn KeyValue,
    account: &AccountId,
    destination: &Destination,
    applied: u64,
) -> Result<Option<u64>, StorageError> {
    let open = open_tasks(view, 0, SETTLED_LOOK_MAX)?;
    let denied = denied_tasks(view, None, SETTLED_LOOK_MAX)?;
    if denied.len() >= SETTLED_LOOK_MAX || open.len() >= SETTLED_LOOK_MAX {
        return Ok(None);
    }
    let mut left = open;
    for key in denied {
        left.extend(task(view, &key)?);
    }
    // Those that were denied and are open again since the first look.
    left.extend(open_tasks(view, 0, SETTLED_LOOK_MAX)?);
    let oldest = left
        .iter()
        .filter(|task| task.key.account == *account && task.key.destination == *destination)
        .map(|task| {
            task.deleted_before
                .unwrap_or(task.sequence)
                .min(task.sequence)
        })
        .min();
    Ok(Some(oldest.map_or(applied, |oldest| {
        applied.min(oldest.saturating_sub(1))
    })))
}
