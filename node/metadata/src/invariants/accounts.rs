//! Accounts and access keys can be read, are bounded, and know each other.

use super::{Check, Pair};
use crate::keys;
use crate::limits::ACCESS_KEYS_MAX;
use crate::query::{self, AccountState, EntityKind};
use crate::read;
use crate::records::AccountRecord;
use crate::store::StorageError;

pub(super) fn account(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.accounts += 1;
    let mut parts = pair.parts();
    parts.account()?;
    parts.end()?;
    pair.decode::<AccountRecord>().map(drop)
}

pub(super) fn first(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    pair.parts().end()?;
    let first = query::first_account(check.view)?;
    check.require(
        first.is_some_and(|first| first.state == AccountState::Active),
        "the first account is there and active",
        &pair.key,
    );
    Ok(())
}

pub(super) fn access_key(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.access_keys += 1;
    let mut parts = pair.parts();
    parts.text("access key")?;
    parts.end()?;
    let key = query::access_key_of(&pair.key, pair.value.clone())?;
    check.require_key(
        &keys::account(&key.account),
        "an access key's account is there",
        pair,
    )?;
    if key.owner.contains('\0') {
        check.violated("an owner is a name", pair);
        return Ok(());
    }
    check.require_key(
        &keys::access_key_of(&key.account, &key.owner, &key.id),
        "an access key is among its owner's",
        pair,
    )?;
    if !key.owner.is_empty() {
        check.require_key(
            &keys::entity(&key.account, EntityKind::User, &key.owner),
            "an access key's owner is there",
            pair,
        )?;
    }
    Ok(())
}

pub(super) fn access_key_of(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    let account = parts.account()?;
    let owner = parts.text("owner")?;
    let id = parts.text("access key")?;
    parts.end()?;
    let found = query::access_key(check.view, id)?;
    check.require(
        found.is_some_and(|key| key.account == account && key.owner.to_ascii_lowercase() == owner),
        "an owner's access key is that owner's",
        &pair.key,
    );
    let prefix = keys::access_keys_of(&account, owner);
    let keys = read::page(check.view, &prefix, None, ACCESS_KEYS_MAX + 1)?;
    check.require(
        keys.len() <= ACCESS_KEYS_MAX,
        "nobody has more access keys than they may",
        &pair.key,
    );
    Ok(())
}
