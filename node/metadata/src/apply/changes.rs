//! What an entry changes, as those who watch a repository are told it.
//!
//! Read off the batch that the entry writes, so the two can never disagree,
//! whatever command wrote it. A push of what is there already writes nothing
//! here, and so it is no change.

use std::collections::{BTreeMap, BTreeSet};

use crate::keys::{Namespace, Parts};
use crate::limits::CHANGES_PER_ENTRY_MAX;
use crate::overlay::Overlay;
use crate::read;
use crate::records::changes::change_record::Kind;
use crate::records::changes::{
    ChangeRecord, ChangesRecord, ManifestPutRecord, RepositoryChangesRecord, StorageClassRecord,
    TagDeletedRecord, TagMovedRecord,
};
use crate::records::{ManifestRecord, TagRecord};
use crate::store::StorageError;

/// Account and repository.
type Home = (String, String);

/// A manifest whose record was written.
struct Written {
    put: ManifestPutRecord,
    is_archived: bool,
    /// It was in the archive, and has come back.
    is_activated: bool,
}

/// What the batch says of one repository.
#[derive(Default)]
struct Batch {
    manifests: Vec<Written>,
    /// What is not deleted any more: it came back, unless it went for good.
    restored: BTreeSet<String>,
    manifests_deleted: Vec<String>,
    /// Tags as they are now; none: deleted.
    tags: BTreeMap<String, Option<TagRecord>>,
    /// Tags that point to another manifest than before.
    arrived: BTreeSet<String>,
    /// The manifests that tags no longer point to.
    left: BTreeMap<String, String>,
}

/// `None`: nothing that is watched.
pub(super) fn of(overlay: &Overlay<'_>) -> Result<Option<ChangesRecord>, StorageError> {
    let mut batches: BTreeMap<Home, Batch> = BTreeMap::new();
    for (key, value) in overlay.written() {
        match key.first().copied().and_then(Namespace::of) {
            Some(Namespace::Manifest) => {
                let (batch, mut parts) = home(&mut batches, key)?;
                let digest = parts.digest()?.to_string();
                match value {
                    Some(value) => {
                        let record = read::decode(key, value.clone())?;
                        batch.manifests.push(Written::new(digest, record));
                    }
                    None => batch.manifests_deleted.push(digest),
                }
            }
            Some(Namespace::Deleted) if value.is_none() => {
                let (batch, mut parts) = home(&mut batches, key)?;
                batch.restored.insert(parts.digest()?.to_string());
            }
            Some(Namespace::Tag) => {
                let (batch, mut parts) = home(&mut batches, key)?;
                let tag = parts.text("tag")?.to_owned();
                let record = value.map(|value| read::decode::<TagRecord>(key, value.clone()));
                batch.tags.insert(tag, record.transpose()?);
            }
            Some(Namespace::TagOf) => {
                let (batch, mut parts) = home(&mut batches, key)?;
                let digest = parts.digest()?.to_string();
                let tag = parts.text("tag")?.to_owned();
                match value {
                    Some(_) => {
                        batch.arrived.insert(tag);
                    }
                    None => {
                        batch.left.insert(tag, digest);
                    }
                }
            }
            _ => {}
        }
    }
    let mut room = CHANGES_PER_ENTRY_MAX;
    let repositories: Vec<_> = batches
        .into_iter()
        .map(|(home, batch)| batch.record(home, &mut room))
        .filter(|record| record.truncated || !record.changes.is_empty())
        .collect();
    Ok((!repositories.is_empty()).then_some(ChangesRecord { repositories }))
}

fn home<'a, 'k>(
    batches: &'a mut BTreeMap<Home, Batch>,
    key: &'k [u8],
) -> Result<(&'a mut Batch, Parts<'k>), StorageError> {
    let mut parts = Parts::of(key);
    let account = parts.registry()?.to_string();
    let repository = parts.text("repository")?.to_owned();
    Ok((batches.entry((account, repository)).or_default(), parts))
}

/// The manifests that came, and those that went into the archive or came back from
/// there: a record is written for either. What was restored came, whatever its record
/// says of the archive, and may have come into that.
fn arrivals(
    manifests: Vec<Written>,
    restored: &BTreeSet<String>,
) -> (Vec<ManifestPutRecord>, Vec<StorageClassRecord>) {
    let (mut put, mut moved) = (Vec::new(), Vec::new());
    for written in manifests {
        let archived = written.is_archived;
        let is_new = !archived && !written.is_activated;
        let came = is_new || restored.contains(&written.put.digest);
        if archived || !came {
            let digest = written.put.digest.clone();
            moved.push(StorageClassRecord { digest, archived });
        }
        if came {
            put.push(written.put);
        }
    }
    (put, moved)
}

// === impl Written ===

impl Written {
    fn new(digest: String, record: ManifestRecord) -> Self {
        Self {
            is_archived: record.archived_at_ms.is_some(),
            is_activated: record.activated_at_ms.is_some(),
            put: ManifestPutRecord {
                digest,
                media_type: record.media_type,
                artifact_type: record.artifact_type,
                subject: record.subject,
            },
        }
    }
}

// === impl Batch ===

impl Batch {
    /// In an order that leaves no tag without its manifest on the way. `room`:
    /// how many changes may still be listed.
    fn record(self, (account, repository): Home, room: &mut usize) -> RepositoryChangesRecord {
        let (manifests_put, moved) = arrivals(self.manifests, &self.restored);
        let Self {
            manifests_deleted,
            tags,
            arrived,
            mut left,
            ..
        } = self;
        let tags = tags.into_iter().filter_map(|(tag, record)| match record {
            // Only where it came from was noted anew.
            Some(_) if !arrived.contains(&tag) => None,
            Some(record) => Some(Kind::TagMoved(TagMovedRecord {
                previous: left.remove(&tag),
                tag,
                digest: record.digest,
                source_region: record.origin.map(|origin| origin.region),
            })),
            None => Some(Kind::TagDeleted(TagDeletedRecord {
                previous: left.remove(&tag),
                tag,
            })),
        });
        let mut all = manifests_put
            .into_iter()
            .map(Kind::ManifestPut)
            .chain(moved.into_iter().map(Kind::StorageClass))
            .chain(tags)
            .chain(manifests_deleted.into_iter().map(Kind::ManifestDeleted))
            .map(|kind| ChangeRecord { kind: Some(kind) });
        let changes: Vec<_> = all.by_ref().take(*room).collect();
        *room -= changes.len();
        let truncated = all.next().is_some();
        RepositoryChangesRecord {
            account,
            repository,
            changes,
            truncated,
        }
    }
}
