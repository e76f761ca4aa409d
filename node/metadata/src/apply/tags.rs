//! Tags move and go.
//!
//! The invariant: a tag points to a manifest of its repository, and never goes
//! back to an older push of the same source. What a command expects of
//! tags is decided here alone: whoever asked has seen an older state.

use std::collections::BTreeSet;

use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};

use super::counts::Counted;
use super::history::{Change, Named};
use super::manifests;
use super::registry::require_repository;
use super::tasks::{Deletion, Going};
use super::{Stop, invalid, parse, undelete};
use crate::command::{DeleteTag, ImageState, TagCondition, TagState};
use crate::keys::{self, Namespace};
use crate::limits::SCAN_PAGE;
use crate::overlay::Overlay;
use crate::query::{self, ManifestEntry, TagOrigin};
use crate::read;
use crate::records::{TagOriginRecord, TagRecord};
use crate::response::{Done, Outcome, Refused, TagFound};
use crate::store::StorageError;

/// A tag that a push wants to point to its manifest.
pub(super) struct Move<'a> {
    pub(super) account: &'a RegistryId,
    pub(super) repository: &'a RepositoryName,
    pub(super) tag: &'a Tag,
    pub(super) digest: &'a Digest,
    pub(super) origin: Option<&'a TagOrigin>,
    pub(super) change: Change<'a>,
}

pub(super) struct Moved {
    /// It pointed to the manifest before.
    pub(super) was_there: bool,
    /// A newer push of the same source has set it: it stays as it is.
    pub(super) overtaken: bool,
}

/// A [`TagCondition`] whose digest is valid.
pub(super) enum Condition {
    Is(Digest),
    Present,
    Absent,
}

pub(super) fn delete(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &DeleteTag,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    let tag = parse("tag", &command.tag)?;
    let condition = Condition::parse(command.condition.as_ref())?;
    undelete::check(command.author.as_ref())?;
    require_repository(overlay, &account, &repository)?;
    if let Some(condition) = &condition {
        condition.check(overlay, &account, &repository, &tag)?;
    }
    let Some(entry) = query::tag(overlay, &account, &repository, &tag)? else {
        return Err(Refused::TagUnknown(tag.to_string()).into());
    };
    let going = Going::look(overlay, &account, &repository, &entry.digest)?;
    let change = Change {
        index,
        at_ms: command.at_ms,
        author: command.author.as_ref(),
        forgets: false,
    };
    let named = Named {
        account: &account,
        repository: &repository,
        tag: &tag,
    };
    remove(overlay, named, &entry.digest, change)?;
    change.bound(overlay, (&account, &repository), 1)?;
    let with_manifest = command.with_manifest
        && manifests::delete_untagged(
            overlay,
            index,
            &account,
            &repository,
            &entry.digest,
            command,
        )?;
    let deletion = Deletion {
        account: &account,
        repository: &repository,
        digest: &entry.digest,
        tag: Some(&tag).filter(|_| !with_manifest),
        index,
        at_ms: command.at_ms,
    };
    deletion.enqueue(overlay, &going)?;
    Ok(Outcome::Done(Done {}))
}

/// Removes a tag that points to `digest`.
pub(super) fn remove(
    overlay: &mut Overlay<'_>,
    named: Named<'_>,
    digest: &Digest,
    change: Change<'_>,
) -> Result<(), StorageError> {
    let Named {
        account,
        repository,
        tag,
    } = named;
    if change.is_noted(overlay, named)? {
        let before = query::tag(overlay, account, repository, tag)?;
        change.note(overlay, named, before.as_ref(), None)?;
    }
    let tag_of = keys::tag_of(account, repository, digest, tag);
    Counted::Tags(account, repository, digest).remove(overlay, &tag_of)?;
    overlay.delete(keys::tag(account, repository, tag));
    overlay.delete(tag_of);
    Ok(())
}

/// # Errors
/// Unless the image is still as somebody has seen it.
pub(super) fn require_as_expected(
    overlay: &Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    entry: &ManifestEntry,
    expected: &ImageState,
) -> Result<(), Stop> {
    let digest = &entry.digest;
    if (expected.index, expected.archived_at_ms) != (entry.index, entry.archived_at_ms) {
        return Err(Refused::ManifestUnknown(digest.to_string()).into());
    }
    require_tags(overlay, account, repository, digest, &expected.tags)
}

/// # Errors
/// [`Refused::TagNotAsExpected`] unless these are its tags, all of them.
fn require_tags(
    overlay: &Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
    expected: &[String],
) -> Result<(), Stop> {
    let limit = expected.len() + 1;
    let found = query::tags_of(overlay, account, repository, digest, limit)?;
    let found: BTreeSet<&str> = found.iter().map(Tag::as_str).collect();
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    let odd = |these: &BTreeSet<&str>, those: &BTreeSet<&str>| {
        these.difference(those).next().map(ToString::to_string)
    };
    let came = odd(&found, &expected).map(|tag| TagFound {
        tag,
        digest: Some(digest.to_string()),
    });
    let gone = || odd(&expected, &found).map(|tag| TagFound { tag, digest: None });
    match came.or_else(gone) {
        Some(found) => Err(Refused::TagNotAsExpected(found).into()),
        None => Ok(()),
    }
}

/// Deletes the tags of a manifest and returns them, sorted.
pub(super) fn delete_all(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
    change: Change<'_>,
) -> Result<Vec<String>, StorageError> {
    let mut deleted = Vec::new();
    loop {
        // What is deleted is gone from the next page.
        let tags = query::tags_of(overlay, account, repository, digest, SCAN_PAGE)?;
        if tags.is_empty() {
            return Ok(deleted);
        }
        for tag in tags {
            let named = Named {
                account,
                repository,
                tag: &tag,
            };
            remove(overlay, named, digest, change)?;
            deleted.push(tag.to_string());
        }
    }
}

// === impl Condition ===

impl Condition {
    /// # Errors
    /// Also for an expectation of a newer version: to take it for none would
    /// change what was to be left alone.
    pub(super) fn parse(condition: Option<&TagCondition>) -> Result<Option<Self>, Refused> {
        let Some(condition) = condition else {
            return Ok(None);
        };
        match &condition.expected {
            Some(TagState::Is(digest)) => Ok(Some(Self::Is(parse("expected digest", digest)?))),
            Some(TagState::Present(_)) => Ok(Some(Self::Present)),
            Some(TagState::Absent(_)) => Ok(Some(Self::Absent)),
            None => Err(invalid("condition", "expects nothing that is known here")),
        }
    }

    /// # Errors
    /// [`Refused::TagNotAsExpected`].
    pub(super) fn check(
        &self,
        overlay: &Overlay<'_>,
        account: &RegistryId,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<(), Stop> {
        let found = query::tag(overlay, account, repository, tag)?.map(|entry| entry.digest);
        let holds = match self {
            Self::Is(digest) => found.as_ref() == Some(digest),
            Self::Present => found.is_some(),
            Self::Absent => found.is_none(),
        };
        if holds {
            return Ok(());
        }
        let found = TagFound {
            tag: tag.to_string(),
            digest: found.map(|digest| digest.to_string()),
        };
        Err(Refused::TagNotAsExpected(found).into())
    }
}

// === impl Move ===

impl Move<'_> {
    pub(super) fn run(&self, overlay: &mut Overlay<'_>) -> Result<Moved, StorageError> {
        let Change { index, at_ms, .. } = self.change;
        let key = keys::tag(self.account, self.repository, self.tag);
        let before = query::tag(overlay, self.account, self.repository, self.tag)?;
        let was_there = before
            .as_ref()
            .is_some_and(|before| before.digest == *self.digest);
        if let Some(newest) = self.advance(overlay)? {
            return Ok(Moved {
                was_there,
                overtaken: self.origin.is_some_and(|origin| origin.sequence < newest),
            });
        }
        let unchanged = before.as_ref().is_some_and(|before| {
            before.digest == *self.digest && before.origin.as_ref() == self.origin
        });
        if !unchanged {
            let record = TagRecord {
                digest: self.digest.to_string(),
                updated_at_ms: at_ms,
                index,
                origin: self
                    .origin
                    .map(|origin| origin.record(self.account, self.repository)),
            };
            overlay.put(key, &record);
        }
        if !was_there {
            let named = Named {
                account: self.account,
                repository: self.repository,
                tag: self.tag,
            };
            self.change
                .note(overlay, named, before.as_ref(), Some(self.digest))?;
        }
        if let Some(before) = before.filter(|_| !was_there) {
            let key = self.index_key(&before.digest);
            self.counted(&before.digest).remove(overlay, &key)?;
            overlay.delete(key);
        }
        if !was_there {
            let key = self.index_key(self.digest);
            self.counted(self.digest).note(overlay, &key)?;
            overlay.mark(key);
        }
        Ok(Moved {
            was_there,
            overtaken: false,
        })
    }

    /// Notes a replica's push as the newest of its source for this tag; else
    /// returns the sequence of the one that was as new or newer. It need not
    /// stand in the tag itself, which may have been deleted since, or moved by
    /// a push of this region.
    fn advance(&self, overlay: &mut Overlay<'_>) -> Result<Option<u64>, StorageError> {
        let Some(origin) = self.origin else {
            return Ok(None);
        };
        let key = keys::tag_origin(self.account, self.repository, self.tag, &origin.source);
        let newest: Option<TagOriginRecord> = read::record(overlay, &key)?;
        if let Some(newest) = newest.filter(|newest| newest.sequence >= origin.sequence) {
            return Ok(Some(newest.sequence));
        }
        let record = TagOriginRecord {
            sequence: origin.sequence,
        };
        overlay.put(key, &record);
        Ok(None)
    }

    fn counted<'a>(&'a self, digest: &'a Digest) -> Counted<'a> {
        Counted::Tags(self.account, self.repository, digest)
    }

    fn index_key(&self, digest: &Digest) -> keys::Key {
        keys::of_digest(Namespace::TagOf, self.account, self.repository, digest)
            .name(self.tag.as_str())
    }
}
