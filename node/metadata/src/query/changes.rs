//! What single entries of the log changed, for as long as it is remembered.

use std::str::FromStr;

use entrepot_oci::{Digest, MediaType, RegionName, RegistryId, RepositoryName, Tag};

use super::parsed;
use crate::keys;
use crate::limits::ENVELOPES_KEPT;
use crate::read;
use crate::records::SlotRecord;
use crate::records::changes::change_record::Kind;
use crate::records::changes::{ChangeRecord, RepositoryChangesRecord};
use crate::store::{KeyValue, StorageError};

/// What one entry of the log changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryChanges {
    /// Sorted by account and name.
    pub repositories: Vec<RepositoryChanges>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryChanges {
    pub account: RegistryId,
    pub repository: RepositoryName,
    /// Manifests that came, then tags, then manifests that went.
    pub changes: Vec<Change>,
    /// There were more than [`CHANGES_PER_ENTRY_MAX`](crate::limits::CHANGES_PER_ENTRY_MAX).
    pub truncated: bool,
}

/// One change to a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    ManifestPut {
        digest: Digest,
        media_type: MediaType,
        /// The manifest's own, else its config's media type.
        artifact_type: Option<MediaType>,
        subject: Option<Digest>,
    },
    ManifestDeleted {
        digest: Digest,
    },
    TagMoved {
        tag: Tag,
        digest: Digest,
        /// None: there was no such tag.
        previous: Option<Digest>,
        /// Where it was pushed; none: in this region.
        source_region: Option<RegionName>,
    },
    TagDeleted {
        tag: Tag,
        previous: Option<Digest>,
    },
    /// A manifest went into the archive, or came back.
    StorageClass {
        digest: Digest,
        archived: bool,
    },
}

/// What the entry at log index `index` changed. The caller knows that it was
/// applied. None: that is forgotten, as it is of all but the last
/// [`ENVELOPES_KEPT`] entries.
pub fn changes(view: &dyn KeyValue, index: u64) -> Result<Option<EntryChanges>, StorageError> {
    let key = keys::envelope_slot(index % ENVELOPES_KEPT);
    let Some(slot) = read::record::<SlotRecord>(view, &key)? else {
        return Ok(Some(EntryChanges::default()));
    };
    // An older version did not say which entry it was.
    if slot.index > index || slot.index == 0 {
        return Ok(None);
    }
    // Raft's own entries, repeats and nonsense take no slot.
    let changes = slot.changes.filter(|_| slot.index == index);
    let repositories = changes
        .unwrap_or_default()
        .repositories
        .into_iter()
        .map(|record| repository_changes(key.as_bytes(), record))
        .collect::<Result<_, _>>()?;
    Ok(Some(EntryChanges { repositories }))
}

fn repository_changes(
    key: &[u8],
    record: RepositoryChangesRecord,
) -> Result<RepositoryChanges, StorageError> {
    let changes = record.changes.into_iter().map(|it| change(key, it));
    Ok(RepositoryChanges {
        account: parsed(key, "account", &record.account)?,
        repository: parsed(key, "repository", &record.repository)?,
        changes: changes.collect::<Result<_, _>>()?,
        truncated: record.truncated,
    })
}

fn change(key: &[u8], record: ChangeRecord) -> Result<Change, StorageError> {
    let digest = |text: &str| parsed::<Digest>(key, "digest", text);
    match record.kind {
        Some(Kind::ManifestPut(put)) => Ok(Change::ManifestPut {
            digest: digest(&put.digest)?,
            media_type: parsed(key, "media type", &put.media_type)?,
            artifact_type: optional(key, "artifact type", put.artifact_type.as_deref())?,
            subject: optional(key, "subject", put.subject.as_deref())?,
        }),
        Some(Kind::ManifestDeleted(text)) => Ok(Change::ManifestDeleted {
            digest: digest(&text)?,
        }),
        Some(Kind::TagMoved(moved)) => Ok(Change::TagMoved {
            tag: parsed(key, "tag", &moved.tag)?,
            digest: digest(&moved.digest)?,
            previous: optional(key, "digest", moved.previous.as_deref())?,
            source_region: optional(key, "region", moved.source_region.as_deref())?,
        }),
        Some(Kind::TagDeleted(deleted)) => Ok(Change::TagDeleted {
            tag: parsed(key, "tag", &deleted.tag)?,
            previous: optional(key, "digest", deleted.previous.as_deref())?,
        }),
        Some(Kind::StorageClass(set)) => Ok(Change::StorageClass {
            digest: digest(&set.digest)?,
            archived: set.archived,
        }),
        None => Err(StorageError::corrupt(key, "a change without its kind")),
    }
}

fn optional<T: FromStr>(
    key: &[u8],
    what: &str,
    text: Option<&str>,
) -> Result<Option<T>, StorageError> {
    text.map(|text| parsed(key, what, text)).transpose()
}
