//! Who moved which tag when, from what to what.
//!
//! The newest moves of each tag are kept, as many as there is room for, and also those
//! of a tag that is gone, until somebody says that this was long ago. The invariants: the
//! moves of a tag are numbered without a gap up to the last one; and a history whose tag
//! is gone is known by the time at which that went.

use bytes::Bytes;
use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};

use super::{Stop, invalid, parse};
use crate::command::{Author, ForgetTags};
use crate::keys::{self, Key, Parts};
use crate::limits::{DELETION_STEP_PAIRS, FORGOTTEN_AT_ONCE_MAX, TAG_MOVES_MAX};
use crate::overlay::Overlay;
use crate::query::TagEntry;
use crate::read;
use crate::records::history::{TagHistoryRecord, TagMoveRecord};
use crate::response::{Done, Outcome};
use crate::store::StorageError;

/// A command that changes tags.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) index: u64,
    pub(super) at_ms: i64,
    /// None: nothing of it is kept, as releases that know nothing of this apply it.
    pub(super) author: Option<&'a Author>,
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
        overlay.delete(own);
        overlay.delete(named.gone(gone_at_ms));
        let moves = named.delete_moves(overlay)?;
        room = room.saturating_sub(2 + moves);
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
    let history: TagHistoryRecord = read::decode(key, value)?;
    if let Some(gone_at_ms) = history.gone_at_ms {
        overlay.delete(keys::gone_tag(gone_at_ms, &account, &repository, &tag));
    }
    overlay.delete(Key::of(key.to_vec()));
    Ok(())
}

// === impl Change ===

impl Change<'_> {
    /// Notes where a tag goes; none: it is deleted. `before`: as it was; none: there was
    /// no such tag.
    pub(super) fn note(
        &self,
        overlay: &mut Overlay<'_>,
        named: Named<'_>,
        before: Option<&TagEntry>,
        to: Option<&Digest>,
    ) -> Result<(), StorageError> {
        let Some(author) = self.author else {
            return Ok(());
        };
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
            overlay.delete(named.gone(gone_at_ms));
        }
        let gone_at_ms = to.is_none().then_some(self.at_ms);
        if let Some(gone_at_ms) = gone_at_ms {
            overlay.mark(named.gone(gone_at_ms));
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
            cause: author.cause,
            by: author.by.clone(),
            since_ms: before.map(|before| before.updated_at_ms),
        };
        overlay.put(keys::tag_move(account, repository, tag, number), &record);
        if let Some(oldest) = number.checked_sub(TAG_MOVES_MAX).filter(|it| *it > 0) {
            overlay.delete(keys::tag_move(account, repository, tag, oldest));
        }
        Ok(())
    }
}

// === impl Named ===

impl Named<'_> {
    fn key(&self) -> Key {
        keys::tag_history(self.account, self.repository, self.tag)
    }

    fn gone(&self, gone_at_ms: i64) -> Key {
        keys::gone_tag(gone_at_ms, self.account, self.repository, self.tag)
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
