//! What other registries bring and take away, in the order in which they did.
//!
//! The invariants: of one source, what came later there is never undone here by
//! what came earlier, in whatever order the two arrive. A deletion takes nothing
//! that its source pushed after it, and nothing that its source pushed before it
//! comes back. Between two sources, and between a source and the pushes of this
//! registry, the order of this group's log decides.

use entrepot_oci::{AccountId, Digest, RegistryId, RepositoryName, Tag};

use super::{Stop, invalid, manifests, parse, tags, tasks};
use crate::command::DeleteReplica;
use crate::keys;
use crate::limits::SCAN_PAGE;
use crate::overlay::Overlay;
use crate::query::{self, TagEntry, TagOrigin};
use crate::read;
use crate::records::{ReplicaRecord, TagOriginRecord};
use crate::response::{Done, Outcome};
use crate::store::StorageError;

/// An image here, and the source that something of it comes from.
pub(super) struct Replica<'a> {
    pub(super) account: &'a RegistryId,
    pub(super) repository: &'a RepositoryName,
    pub(super) digest: &'a Digest,
    pub(super) origin: &'a TagOrigin,
}

pub(super) fn delete(overlay: &mut Overlay<'_>, command: &DeleteReplica) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    let digest = parse("digest", &command.digest)?;
    let tag: Option<Tag> = match command.tag.as_str() {
        "" => None,
        tag => Some(parse("tag", tag)?),
    };
    let Some(origin) = &command.origin else {
        return Err(invalid("origin", "must be given").into());
    };
    let origin = TagOrigin {
        region: parse("origin region", &origin.region)?,
        sequence: origin.sequence,
    };
    let done = Outcome::Done(Done {});
    if query::repository(overlay, &account, &repository)?.is_none() {
        return Ok(done);
    }
    let replica = Replica {
        account: &account,
        repository: &repository,
        digest: &digest,
        origin: &origin,
    };
    match tag {
        Some(tag) => replica.delete_tag(overlay, &tag)?,
        None => replica.delete_image(overlay)?,
    }
    Ok(done)
}

// === impl Replica ===

impl Replica<'_> {
    fn record(&self, overlay: &Overlay<'_>) -> Result<ReplicaRecord, StorageError> {
        let key = self.key();
        let record: Option<ReplicaRecord> = read::record(overlay, &key)?;
        Ok(record.unwrap_or_default())
    }

    fn key(&self) -> keys::Key {
        keys::replica(
            self.account,
            self.repository,
            self.digest,
            &self.origin.region,
        )
    }

    /// Notes a push. False: the source has deleted the image after it.
    pub(super) fn arrive(&self, overlay: &mut Overlay<'_>) -> Result<bool, StorageError> {
        let before = self.record(overlay)?;
        if before.deleted >= self.origin.sequence {
            return Ok(false);
        }
        if before.pushed < self.origin.sequence {
            let record = ReplicaRecord {
                pushed: self.origin.sequence,
                ..before
            };
            overlay.put(self.key(), &record);
        }
        Ok(true)
    }

    /// Unless its source has set it later. One that somebody has moved to another
    /// image stays.
    pub(super) fn delete_tag(
        &self,
        overlay: &mut Overlay<'_>,
        tag: &Tag,
    ) -> Result<(), StorageError> {
        let region = &self.origin.region;
        let key = keys::tag_origin(self.account, self.repository, tag, region);
        let newest: Option<TagOriginRecord> = read::record(overlay, &key)?;
        if newest.is_some_and(|newest| newest.sequence >= self.origin.sequence) {
            return Ok(());
        }
        self.note(overlay, tag);
        let Some(entry) = query::tag(overlay, self.account, self.repository, tag)? else {
            return Ok(());
        };
        let is_of_source = entry
            .origin
            .is_some_and(|origin| origin.region == self.origin.region);
        if is_of_source || entry.digest == *self.digest {
            tags::remove(overlay, self.account, self.repository, &entry.digest, tag)?;
        }
        Ok(())
    }

    /// With all its tags but those that its source has set later.
    fn delete_image(&self, overlay: &mut Overlay<'_>) -> Result<(), Stop> {
        let before = self.record(overlay)?;
        if before.deleted >= self.origin.sequence {
            return Ok(());
        }
        let record = ReplicaRecord {
            deleted: self.origin.sequence,
            ..before
        };
        overlay.put(self.key(), &record);
        let kept = self.delete_tags(overlay)?;
        if kept || before.pushed > self.origin.sequence {
            return Ok(());
        }
        let (account, repository) = (self.account, self.repository);
        let Some(entry) = query::manifest_entry(overlay, account, repository, self.digest)? else {
            return Ok(());
        };
        // An index that names it may be deleted in a moment.
        manifests::require_unreferenced(overlay, account, repository, self.digest)?;
        tasks::delete_all(overlay, account, repository, self.digest)?;
        manifests::remove(overlay, account, repository, &entry)?;
        Ok(())
    }

    /// Whether some stay.
    fn delete_tags(&self, overlay: &mut Overlay<'_>) -> Result<bool, StorageError> {
        let (account, repository) = (self.account, self.repository);
        let mut kept = Vec::new();
        loop {
            let limit = SCAN_PAGE + kept.len();
            let found = query::tags_of(overlay, account, repository, self.digest, limit)?;
            let found: Vec<Tag> = found
                .into_iter()
                .filter(|tag| !kept.contains(tag))
                .collect();
            if found.is_empty() {
                return Ok(!kept.is_empty());
            }
            for tag in found {
                let entry = query::tag(overlay, account, repository, &tag)?;
                if entry.as_ref().is_some_and(|entry| self.is_newer(entry)) {
                    kept.push(tag);
                    continue;
                }
                // Nothing is noted of the tag: the source may have moved it to another
                // image before, and that push may come later. Those of this image do
                // not come back, whatever their tags.
                tags::remove(overlay, account, repository, self.digest, &tag)?;
            }
        }
    }

    fn is_newer(&self, entry: &TagEntry) -> bool {
        let mut origin = entry.origin.iter();
        origin.any(|it| it.region == self.origin.region && it.sequence > self.origin.sequence)
    }

    /// The source's newest word on a tag: no older push of it sets it any more.
    fn note(&self, overlay: &mut Overlay<'_>, tag: &Tag) {
        let region = &self.origin.region;
        let record = TagOriginRecord {
            sequence: self.origin.sequence,
        };
        let key = keys::tag_origin(self.account, self.repository, tag, region);
        overlay.put(key, &record);
    }
}
