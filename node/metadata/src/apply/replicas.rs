//! What other registries bring and take away, in the order in which they did.
//!
//! The invariants: of one source, what came later there is never undone here by
//! what came earlier, in whatever order the two arrive. A deletion takes nothing
//! that its source pushed after it, nothing that its source pushed before it comes
//! back, and nothing goes that somebody else brought. Between two sources, and
//! between a source and the pushes of this registry, the order of this group's log
//! decides.

mod claims;
mod settling;

use entrepot_oci::{AccountId, Digest, RegistryId, RepositoryName, Tag};

pub(super) use self::claims::Claims;
pub(super) use self::settling::{require_unsettled, settle};
use super::history::{Change, Named};
use super::undelete::{self, Departure};
use super::{Stop, invalid, manifests, parse, tags, tasks};
use crate::command::DeleteReplica;
use crate::keys;
use crate::limits::SCAN_PAGE;
use crate::overlay::Overlay;
use crate::query::{self, TagEntry, TagOrigin};
use crate::read;
use crate::records::{ReplicaRecord, TagOriginRecord};
use crate::response::{Done, Outcome};
use crate::store::{KeyValue, StorageError};

/// An image here, and the push or deletion elsewhere that is about it.
#[derive(Clone, Copy)]
pub(super) struct Replica<'a> {
    pub(super) account: &'a RegistryId,
    pub(super) repository: &'a RepositoryName,
    pub(super) digest: &'a Digest,
    pub(super) origin: &'a TagOrigin,
}

/// Notes the deletion also where there is nothing to delete, not even the
/// repository: what it deletes may come later.
pub(super) fn delete(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &DeleteReplica,
) -> Result<Outcome, Stop> {
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
    let origin =
        TagOrigin::read(origin, &account, &repository).map_err(|error| invalid("origin", error))?;
    undelete::check(command.author.as_ref())?;
    require_unsettled(overlay, &account, &origin)?;
    let replica = Replica {
        account: &account,
        repository: &repository,
        digest: &digest,
        origin: &origin,
    };
    match tag {
        Some(tag) => {
            let change = Change {
                index,
                at_ms: command.at_ms,
                author: command.author.as_ref(),
                forgets: false,
            };
            replica.delete_tag(overlay, &tag, change)?;
        }
        None => replica.delete_image(overlay, index, command)?,
    }
    Ok(Outcome::Done(Done {}))
}

// === impl Replica ===

impl Replica<'_> {
    fn record(&self, view: &dyn KeyValue) -> Result<ReplicaRecord, StorageError> {
        let record: Option<ReplicaRecord> = read::record(view, &self.key())?;
        Ok(record.unwrap_or_default())
    }

    fn named<'a>(&'a self, tag: &'a Tag) -> Named<'a> {
        Named {
            account: self.account,
            repository: self.repository,
            tag,
        }
    }

    fn key(&self) -> keys::Key {
        let source = &self.origin.source;
        keys::replica(self.account, self.repository, self.digest, source)
    }

    fn claims(&self) -> Claims<'_> {
        Claims {
            account: self.account,
            repository: self.repository,
            digest: self.digest,
        }
    }

    /// Whether its source has deleted the image after this push.
    pub(super) fn is_deleted(&self, view: &dyn KeyValue) -> Result<bool, StorageError> {
        query::was_deleted(
            view,
            self.account,
            self.repository,
            self.digest,
            self.origin,
        )
    }

    /// Notes a push of what its source has not deleted since.
    pub(super) fn arrive(&self, overlay: &mut Overlay<'_>, index: u64) -> Result<(), StorageError> {
        let before = self.record(overlay)?;
        if before.pushed >= self.origin.sequence {
            return Ok(());
        }
        self.claims().share(overlay, index)?;
        let record = ReplicaRecord {
            pushed: self.origin.sequence,
            ..before
        };
        overlay.put(self.key(), &record);
        Ok(())
    }

    /// Only where it is this source's, and unless that has set it later.
    pub(super) fn delete_tag(
        &self,
        overlay: &mut Overlay<'_>,
        tag: &Tag,
        change: Change<'_>,
    ) -> Result<(), StorageError> {
        let source = &self.origin.source;
        let key = keys::tag_origin(self.account, self.repository, tag, source);
        let newest: Option<TagOriginRecord> = read::record(overlay, &key)?;
        if newest.is_some_and(|newest| newest.sequence >= self.origin.sequence) {
            return Ok(());
        }
        // No older push of the source sets it any more.
        let record = TagOriginRecord {
            sequence: self.origin.sequence,
        };
        overlay.put(key, &record);
        let Some(entry) = query::tag(overlay, self.account, self.repository, tag)? else {
            return Ok(());
        };
        if self.is_of_source(&entry) {
            tags::remove(overlay, self.named(tag), &entry.digest, change)?;
            change.bound(overlay, (self.account, self.repository), 1)?;
        }
        Ok(())
    }

    /// With those of its tags that its source set before. The image stays while
    /// anybody else has brought it, tags it, or names it in an index.
    fn delete_image(
        &self,
        overlay: &mut Overlay<'_>,
        index: u64,
        command: &DeleteReplica,
    ) -> Result<(), Stop> {
        let before = self.record(overlay)?;
        if before.deleted >= self.origin.sequence {
            return Ok(());
        }
        let record = ReplicaRecord {
            deleted: self.origin.sequence,
            ..before
        };
        overlay.put(self.key(), &record);
        let change = Change {
            index,
            at_ms: command.at_ms,
            author: command.author.as_ref(),
            forgets: false,
        };
        let (tags, is_tagged) = self.delete_tags(overlay, change)?;
        change.bound(overlay, (self.account, self.repository), tags.len())?;
        let is_its = claims::is_live(&before) && !claims::is_live(&record);
        if is_tagged || !is_its || self.claims().any(overlay)? {
            return Ok(());
        }
        let (account, repository) = (self.account, self.repository);
        let Some(entry) = query::manifest_entry(overlay, account, repository, self.digest)? else {
            return Ok(());
        };
        if self.is_named_by_another(overlay)? {
            return Ok(());
        }
        // An index that its source brought may be deleted in a moment.
        manifests::require_unreferenced(overlay, account, repository, self.digest)?;
        tasks::delete_all(overlay, account, repository, self.digest)?;
        let departure = Departure {
            account,
            repository,
            entry: &entry,
            tags: &tags,
            author: command.author.as_ref(),
            index,
            at_ms: command.at_ms,
        };
        departure.run(overlay)?;
        Ok(())
    }

    /// Those that went, sorted, and whether the image has tags then.
    fn delete_tags(
        &self,
        overlay: &mut Overlay<'_>,
        change: Change<'_>,
    ) -> Result<(Vec<String>, bool), StorageError> {
        let (account, repository) = (self.account, self.repository);
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        loop {
            let limit = SCAN_PAGE + kept.len();
            let found = query::tags_of(overlay, account, repository, self.digest, limit)?;
            let found: Vec<Tag> = found
                .into_iter()
                .filter(|tag| !kept.contains(tag))
                .collect();
            if found.is_empty() {
                return Ok((gone, !kept.is_empty()));
            }
            for tag in found {
                let entry = query::tag(overlay, account, repository, &tag)?;
                let goes = entry.is_some_and(|entry| {
                    let mut origin = entry.origin.iter();
                    let is_older = origin.any(|it| it.sequence <= self.origin.sequence);
                    is_older && self.is_of_source(&entry)
                });
                if !goes {
                    kept.push(tag);
                    continue;
                }
                // Nothing is noted of the tag: the source may have moved it to another
                // image before, and that push may come later. Those of this image do
                // not come back, whatever their tags.
                tags::remove(overlay, self.named(&tag), self.digest, change)?;
                gone.push(tag.to_string());
            }
        }
    }

    fn is_of_source(&self, entry: &TagEntry) -> bool {
        let mut origin = entry.origin.iter();
        origin.any(|origin| origin.source == self.origin.source)
    }

    /// Whether an index names it that its source did not bring, or has deleted: that
    /// one is not going to be deleted by what the source sends.
    fn is_named_by_another(&self, view: &dyn KeyValue) -> Result<bool, StorageError> {
        let (account, repository) = (self.account, self.repository);
        let mut after = None;
        loop {
            let limit = SCAN_PAGE;
            let page = manifests::parents(view, account, repository, self.digest, after, limit)?;
            for parent in &page {
                let digest = parent;
                let record = Replica { digest, ..*self }.record(view)?;
                if !claims::is_live(&record) {
                    return Ok(true);
                }
            }
            if page.len() < limit {
                return Ok(false);
            }
            after = page.into_iter().next_back();
        }
    }
}
