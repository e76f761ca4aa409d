//! Who moved which tag when, from what to what.
//!
//! The newest moves of each tag are kept, as many as there is room for, and also those
//! of a tag that is gone, until somebody says that this was long ago, or until more others
//! of its repository have gone since than are remembered. The invariants: the moves of a
//! tag are numbered without a gap up to the last one; a history whose tag is gone is known
//! by the time at which that went, and counted; and while these are too many, no command
//! that moves tags brings more pairs than it takes away.

use bytes::Bytes;
use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};

use super::{Stop, invalid, parse};
use crate::command::{Author, ForgetTags};
use crate::keys::{self, Key, Parts};
use crate::limits::{
    DELETION_STEP_PAIRS, FORGOTTEN_AT_ONCE_MAX, GONE_TAG_PAIRS, GONE_TAGS_MAX, TAG_MOVES_MAX,
};
use crate::overlay::Overlay;
use crate::query::{self, TagEntry};
use crate::read;
use crate::records::history::{GoneTagsRecord, TagHistoryRecord, TagMoveRecord};
use crate::response::{Done, Outcome};
use crate::store::{KeyValue, StorageError};

/// A command that changes tags.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) index: u64,
    pub(super) at_ms: i64,
    /// None: nothing of it is kept, as releases that know nothing of this apply it, but
    /// of a tag of which something is remembered: then there are none of these any more.
    pub(super) author: Option<&'a Author>,
    /// Its repository goes, with all that is remembered of its tags.
    pub(super) forgets: bool,
}

/// A tag of a repository.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) account: &'a RegistryId,
    pub(super) repository: &'a RepositoryName,
    pub(super) tag: &'a Tag,
}

/// Lets the histories go of tags that went before the time that the command says: as
/// many of them as one step has room for.
pub(super) fn forget(overlay: &mut Overlay<'_>, command: &ForgetTags) -> Result<Outcome, Stop> {
    if command.tags.len() > FORGOTTEN_AT_ONCE_MAX {
        return Err(invalid("tags", "must be at most 1000").into());
    }
    let mut room = DELETION_STEP_PAIRS;
    for one in &command.tags {
        if room == 0 {
            break;
        }
        let account = parse("account", &one.account)?;
        let repository = parse("repository", &one.repository)?;
        let tag = parse("tag", &one.tag)?;
        let named = Named {
            account: &account,
            repository: &repository,
            tag: &tag,
        };
        let own = named.key();
        let history: Option<TagHistoryRecord> = read::record(overlay, &own)?;
        // It may be there again, or have gone a second time.
        let Some(gone_at_ms) = history.and_then(|history| history.gone_at_ms) else {
            continue;
        };
        if gone_at_ms > command.cutoff_ms {
            continue;
        }
        let pairs = named.forget(overlay, gone_at_ms)?;
        room = room.saturating_sub(pairs);
    }
    Ok(Outcome::Done(Done {}))
}

/// What is known of a tag's moves as a whole goes: the pair of a key in namespace
/// `TagHistory`. The moves are still to go.
pub(super) fn forget_history(
    overlay: &mut Overlay<'_>,
    key: &[u8],
    value: Bytes,
) -> Result<(), StorageError> {
    let mut parts = Parts::of(key);
    let (account, repository) = (parts.registry()?, parts.name("repository")?);
    let tag = parts.name("tag")?;
    let named = Named {
        account: &account,
        repository: &repository,
        tag: &tag,
    };
    let history: TagHistoryRecord = read::decode(key, value)?;
    if let Some(gone_at_ms) = history.gone_at_ms {
        named.end_gone(overlay, gone_at_ms)?;
    }
    overlay.delete(Key::of(key.to_vec()));
    Ok(())
}

/// Lets the histories go that are too many of the deleted tags of a repository, if `max`
/// is how many there may be: those that went first first, until `room` pairs are gone.
fn bound(
    overlay: &mut Overlay<'_>,
    (account, repository): (&RegistryId, &RepositoryName),
    max: u64,
    mut room: usize,
) -> Result<(), StorageError> {
    let tags = query::gone_tag_count(overlay, account, repository)?;
    let too_many = usize::try_from(tags.saturating_sub(max)).unwrap_or(usize::MAX);
    let prefix = keys::gone_tags_of(account, repository);
    // Each is of as many pairs at least.
    let limit = too_many.min(room.div_ceil(GONE_TAG_PAIRS));
    if limit == 0 {
        return Ok(());
    }
    for (key, _) in read::page(overlay, &prefix, None, limit)? {
        if room == 0 {
            break;
        }
        let (gone, _) = query::gone_tag_of_order(&key)?;
        let named = Named {
            account,
            repository,
            tag: &gone.tag,
        };
        let history: Option<TagHistoryRecord> = read::record(overlay, &named.key())?;
        let Some(gone_at_ms) = history.and_then(|history| history.gone_at_ms) else {
            return Err(StorageError::corrupt(&key, "the tag is not gone"));
        };
        let pairs = named.forget(overlay, gone_at_ms)?;
        room = room.saturating_sub(pairs);
    }
    Ok(())
}

// === impl Change ===

impl Change<'_> {
    /// Whether it is remembered that a tag moves.
    pub(super) fn is_noted(
        &self,
        view: &dyn KeyValue,
        named: Named<'_>,
    ) -> Result<bool, StorageError> {
        if self.forgets || self.author.is_some() {
            return Ok(!self.forgets);
        }
        read::exists(view, &named.key())
    }

    /// Notes where a tag goes; none: it is deleted. `before`: as it was; none: there was
    /// no such tag.
    pub(super) fn note(
        &self,
        overlay: &mut Overlay<'_>,
        named: Named<'_>,
        before: Option<&TagEntry>,
        to: Option<&Digest>,
    ) -> Result<(), StorageError> {
        if !self.is_noted(overlay, named)? {
            return Ok(());
        }
        let Named {
            account,
            repository,
            tag,
        } = named;
        let own = named.key();
        let history: Option<TagHistoryRecord> = read::record(overlay, &own)?;
        let history = history.unwrap_or_default();
        let number = history.last + 1;
        if let Some(gone_at_ms) = history.gone_at_ms {
            named.end_gone(overlay, gone_at_ms)?;
        }
        let gone_at_ms = to.is_none().then_some(self.at_ms);
        if let Some(gone_at_ms) = gone_at_ms {
            named.begin_gone(overlay, gone_at_ms)?;
        }
        let history = TagHistoryRecord {
            last: number,
            gone_at_ms,
        };
        overlay.put(own, &history);
        let record = TagMoveRecord {
            index: self.index,
            at_ms: self.at_ms,
            from: before.map(|before| before.digest.to_string()),
            to: to.map(ToString::to_string),
            cause: self.author.map(|it| it.cause).unwrap_or_default(),
            by: self.author.map(|it| it.by.clone()).unwrap_or_default(),
            since_ms: before.map(|before| before.updated_at_ms),
        };
        overlay.put(keys::tag_move(account, repository, tag, number), &record);
        if let Some(oldest) = number.checked_sub(TAG_MOVES_MAX).filter(|it| *it > 0) {
            overlay.delete(keys::tag_move(account, repository, tag, oldest));
        }
        Ok(())
    }

    /// Once a command has moved at most `tags` tags of a repository: lets go of what is
    /// too much to remember of those that were deleted, as much as that may have brought,
    /// and some more.
    pub(super) fn bound(
        &self,
        overlay: &mut Overlay<'_>,
        home: (&RegistryId, &RepositoryName),
        tags: usize,
    ) -> Result<(), StorageError> {
        if self.author.is_none() {
            return Ok(());
        }
        let room = tags.saturating_mul(GONE_TAG_PAIRS);
        bound(overlay, home, GONE_TAGS_MAX, room)
    }
}

// === impl Named ===

impl Named<'_> {
    fn key(&self) -> Key {
        keys::tag_history(self.account, self.repository, self.tag)
    }

    /// Its tag goes.
    fn begin_gone(&self, overlay: &mut Overlay<'_>, gone_at_ms: i64) -> Result<(), StorageError> {
        for key in self.gone(gone_at_ms) {
            overlay.mark(key);
        }
        self.count(overlay, |tags| tags.saturating_add(1))
    }

    /// Its tag is back, or nothing is remembered of it any more.
    fn end_gone(&self, overlay: &mut Overlay<'_>, gone_at_ms: i64) -> Result<(), StorageError> {
        for key in self.gone(gone_at_ms) {
            overlay.delete(key);
        }
        self.count(overlay, |tags| tags.saturating_sub(1))
    }

    /// What says when its tag went: to be forgotten in time, and in order.
    fn gone(&self, gone_at_ms: i64) -> [Key; 2] {
        [
            keys::gone_tag(gone_at_ms, self.account, self.repository, self.tag),
            keys::gone_tag_order(gone_at_ms, self.account, self.repository, self.tag),
        ]
    }

    fn count(
        &self,
        overlay: &mut Overlay<'_>,
        change: impl Fn(u64) -> u64,
    ) -> Result<(), StorageError> {
        let key = keys::gone_tag_count(self.account, self.repository);
        let before = query::gone_tag_count(overlay, self.account, self.repository)?;
        match change(before) {
            0 => overlay.delete(key),
            tags => overlay.put(key, &GoneTagsRecord { tags }),
        }
        Ok(())
    }

    /// All that is known of a tag that is gone; how many pairs that was.
    fn forget(&self, overlay: &mut Overlay<'_>, gone_at_ms: i64) -> Result<usize, StorageError> {
        overlay.delete(self.key());
        self.end_gone(overlay, gone_at_ms)?;
        Ok(3 + self.delete_moves(overlay)?)
    }

    /// All of its moves; how many there were.
    fn delete_moves(&self, overlay: &mut Overlay<'_>) -> Result<usize, StorageError> {
        let prefix = keys::tag_moves(self.account, self.repository, self.tag);
        let most = usize::try_from(TAG_MOVES_MAX).unwrap_or(usize::MAX);
        let moves = read::page(overlay, &prefix, None, most)?;
        let number = moves.len();
        for (key, _) in moves {
            overlay.delete(Key::of(key.to_vec()));
        }
        Ok(number)
    }
}
