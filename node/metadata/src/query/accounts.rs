//! Accounts, and the access keys of their root users and users.

use std::fmt;

use bytes::Bytes;
use entrepot_oci::AccountId;

use super::parsed;
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::ACCESS_KEYS_MAX;
use crate::read;
use crate::records::AccountRecord;
use crate::records::identity::{
    AccessKeyRecord, AccessKeyState, AccountState, FirstAccountRecord, IdentitiesRecord,
};
use crate::store::{KeyValue, StorageError};

#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    /// For people; may be empty.
    pub name: String,
    pub state: AccountState,
    pub root_user: String,
    /// PHC string; empty: the root user has no password.
    pub password_hash: String,
    pub created_at_ms: i64,
}

#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    pub id: String,
    pub account: AccountId,
    /// A user's name; empty: the root user.
    pub owner: String,
    /// Under the cluster's key.
    pub sealed_secret: Bytes,
    pub state: AccessKeyState,
    pub created_at_ms: i64,
}

pub fn account(view: &dyn KeyValue, id: &AccountId) -> Result<Option<Account>, StorageError> {
    let record: Option<AccountRecord> = read::record(view, &keys::account(id))?;
    Ok(record.map(|record| Account::new(id.clone(), record)))
}

/// At most `limit` accounts whose numbers sort after `after`.
pub fn accounts(
    view: &dyn KeyValue,
    after: Option<&AccountId>,
    limit: usize,
) -> Result<Vec<Account>, StorageError> {
    let prefix = Key::new(Namespace::Account);
    let start = after.map(|after| keys::account(after).successor());
    read::page(view, &prefix, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, value)| account_of(&key, value))
        .collect()
}

/// The account that the cluster was made with: its operators'.
pub fn first_account(view: &dyn KeyValue) -> Result<Option<Account>, StorageError> {
    let key = keys::first_account();
    if let Some(first) = read::record::<FirstAccountRecord>(view, &key)? {
        return account(view, &parsed(key.as_bytes(), "account", &first.account)?);
    }
    // There is one at most.
    Ok(accounts(view, None, 1)?.pop())
}

/// The key of that id, whoever has it.
pub fn access_key(view: &dyn KeyValue, id: &str) -> Result<Option<AccessKey>, StorageError> {
    // Only a valid id makes an unambiguous key.
    if id.contains('\0') {
        return Ok(None);
    }
    let key = keys::access_key(id);
    view.get(key.as_bytes())?
        .map(|value| access_key_of(key.as_bytes(), value))
        .transpose()
}

/// The keys of a user, or of the root user if `owner` is empty, by id; at most
/// [`ACCESS_KEYS_MAX`].
pub fn access_keys(
    view: &dyn KeyValue,
    account: &AccountId,
    owner: &str,
) -> Result<Vec<AccessKey>, StorageError> {
    if owner.contains('\0') {
        return Ok(Vec::new());
    }
    let prefix = keys::access_keys_of(account, owner);
    let mut found = Vec::new();
    for (key, _) in read::page(view, &prefix, None, ACCESS_KEYS_MAX)? {
        let mut parts = Parts::of(&key);
        parts.account()?;
        parts.text("owner")?;
        found.extend(access_key(view, parts.text("access key")?)?);
    }
    Ok(found)
}

/// Log index of the last command that changed who may what in an account: what
/// was decided by an older state may be wrong. 0: nothing has changed yet.
pub fn generation(view: &dyn KeyValue, account: &AccountId) -> Result<u64, StorageError> {
    let record: Option<IdentitiesRecord> = read::record(view, &keys::identities(account))?;
    Ok(record.map_or(0, |record| record.generation))
}

fn account_of(key: &[u8], value: Bytes) -> Result<Account, StorageError> {
    let id = Parts::of(key).account()?;
    Ok(Account::new(id, read::decode(key, value)?))
}

/// The pair of a key in namespace `AccessKey`.
pub(crate) fn access_key_of(key: &[u8], value: Bytes) -> Result<AccessKey, StorageError> {
    let id = Parts::of(key).text("access key")?.to_owned();
    let record: AccessKeyRecord = read::decode(key, value)?;
    Ok(AccessKey {
        id,
        account: parsed(key, "account", &record.account)?,
        owner: record.owner,
        sealed_secret: record.sealed_secret,
        state: if record.inactive {
            AccessKeyState::Inactive
        } else {
            AccessKeyState::Active
        },
        created_at_ms: record.created_at_ms,
    })
}

// === impl Account ===

impl Account {
    fn new(id: AccountId, record: AccountRecord) -> Self {
        Self {
            id,
            name: record.name,
            state: if record.disabled {
                AccountState::Disabled
            } else {
                AccountState::Active
            },
            root_user: record.root_user,
            password_hash: record.password_hash,
            created_at_ms: record.created_at_ms,
        }
    }

    pub fn is_active(&self) -> bool {
        self.state == AccountState::Active
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The hash has no business in a log.
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("state", &self.state)
            .field("root_user", &self.root_user)
            .field("created_at_ms", &self.created_at_ms)
            .finish_non_exhaustive()
    }
}

// === impl AccessKey ===

impl AccessKey {
    pub fn is_active(&self) -> bool {
        self.state == AccessKeyState::Active
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Sealed as it is, the secret has no business in a log.
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .field("account", &self.account)
            .field("owner", &self.owner)
            .field("state", &self.state)
            .field("created_at_ms", &self.created_at_ms)
            .finish_non_exhaustive()
    }
}
