//! The moves of a tag are numbered without a gap, are not too many, and go some time
//! after the tag; and what is remembered of deleted tags is counted.

use entrepot_oci::{RegistryId, RepositoryName, Tag};

use super::held::pages;
use super::{Check, Pair};
use crate::keys;
use crate::limits::{AUTHOR_BYTES_MAX, TAG_MOVES_MAX};
use crate::query;
use crate::read;
use crate::records::history::{GoneTagsRecord, TagHistoryRecord};
use crate::store::StorageError;

pub(super) fn history(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account: RegistryId = parts.registry()?;
    let repository: RepositoryName = parts.name("repository")?;
    let tag: Tag = parts.name("tag")?;
    parts.end()?;
    let record: TagHistoryRecord = pair.decode()?;
    check.require_key(
        &keys::repository(&account, &repository),
        "a tag's history belongs to a repository",
        pair,
    )?;
    if let Some(gone_at_ms) = record.gone_at_ms {
        check.require_key(
            &keys::gone_tag(gone_at_ms, &account, &repository, &tag),
            "what a deleted tag pointed to is forgotten in time",
            pair,
        )?;
        check.require_key(
            &keys::gone_tag_order(gone_at_ms, &account, &repository, &tag),
            "what a deleted tag pointed to is forgotten if it is too much",
            pair,
        )?;
        check.require_key(
            &keys::gone_tag_count(&account, &repository),
            "deleted tags of which is told are counted",
            pair,
        )?;
    }
    if is_deleting(check, &account, &repository)? {
        return Ok(());
    }
    let is_there = read::exists(check.view, &keys::tag(&account, &repository, &tag))?;
    check.require(
        is_there == record.gone_at_ms.is_none(),
        "it is known whether a tag that has a history is there",
        &pair.key,
    );
    let oldest = record.last.saturating_sub(TAG_MOVES_MAX) + 1;
    check.require(record.last > 0, "a tag's history has a move", &pair.key);
    for number in [oldest, record.last] {
        check.require_key(
            &keys::tag_move(&account, &repository, &tag, number),
            "the moves of a tag are remembered, up to the last one",
            pair,
        )?;
    }
    Ok(())
}

/// Then they go in any order.
fn is_deleting(
    check: &Check<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<bool, StorageError> {
    let found = query::repository(check.view, account, repository)?;
    Ok(found.is_some_and(|found| found.deleting))
}

pub(super) fn gone(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let gone = query::gone_tag_of(&pair.key)?;
    let (account, repository, tag) = (&gone.account, &gone.repository, &gone.tag);
    let own = keys::tag_history(account, repository, tag);
    let history: Option<TagHistoryRecord> = read::record(check.view, &own)?;
    let gone_at_ms = history.and_then(|history| history.gone_at_ms);
    let key = gone_at_ms.map(|at_ms| keys::gone_tag(at_ms, account, repository, tag));
    check.require(
        key.is_some_and(|key| key.as_bytes() == pair.key),
        "what is forgotten in time is of a deleted tag, and of then",
        &pair.key,
    );
    Ok(())
}

/// That there are too many is no error: those go with the next commands.
pub(super) fn gone_count(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account: RegistryId = parts.registry()?;
    let repository: RepositoryName = parts.name("repository")?;
    parts.end()?;
    let record: GoneTagsRecord = pair.decode()?;
    let mut tags = 0;
    let prefix = keys::gone_tags_of(&account, &repository);
    pages(check, &prefix, |_, _, _| {
        tags += 1;
        Ok(())
    })?;
    check.require(
        record.tags == tags && tags > 0,
        "as many deleted tags are told of as is said",
        (&pair.key, record, tags),
    );
    Ok(())
}

pub(super) fn gone_order(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let (gone, _) = query::gone_tag_of_order(&pair.key)?;
    let (account, repository, tag) = (&gone.account, &gone.repository, &gone.tag);
    let own = keys::tag_history(account, repository, tag);
    let history: Option<TagHistoryRecord> = read::record(check.view, &own)?;
    let gone_at_ms = history.and_then(|history| history.gone_at_ms);
    let key = gone_at_ms.map(|at_ms| keys::gone_tag_order(at_ms, account, repository, tag));
    check.require(
        key.is_some_and(|key| key.as_bytes() == pair.key),
        "what is known by when it went is of a deleted tag, and of then",
        &pair.key,
    );
    Ok(())
}

pub(super) fn tag_move(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account: RegistryId = parts.registry()?;
    let repository: RepositoryName = parts.name("repository")?;
    let tag: Tag = parts.name("tag")?;
    let number = parts.number()?;
    parts.end()?;
    let found = query::tag_move_of(&pair.key, pair.value.clone())?;
    if is_deleting(check, &account, &repository)? {
        return Ok(());
    }
    let own = keys::tag_history(&account, &repository, &tag);
    let history: Option<TagHistoryRecord> = read::record(check.view, &own)?;
    let last = history.unwrap_or_default().last;
    check.require(
        number > 0 && number <= last && number.saturating_add(TAG_MOVES_MAX) > last,
        "only the last moves of a tag are remembered",
        &pair.key,
    );
    let next = keys::tag_move(&account, &repository, &tag, number.saturating_add(1));
    check.require(
        number >= last || read::exists(check.view, &next)?,
        "the moves of a tag are numbered without a gap",
        &pair.key,
    );
    check.require(
        found.from.is_some() == found.since_ms.is_some(),
        "what a tag has pointed to it has since some time",
        &pair.key,
    );
    check.require(
        found.from != found.to,
        "a move of a tag changes it",
        &pair.key,
    );
    check.require(
        found.by.len() <= AUTHOR_BYTES_MAX,
        "who moved a tag has a short name",
        &pair.key,
    );
    Ok(())
}
