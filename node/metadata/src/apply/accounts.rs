//! Accounts, and the access keys of their root users and users.
//!
//! The invariants: the first account is known as such for good, and is active; an
//! id is that of one access key in the whole cluster, whoever has it.

use entrepot_oci::AccountId;

use super::identity::{changed, unknown};
use super::{Stop, invalid, parse};
use crate::command::{
    CreateAccessKey, CreateAccount, DeleteAccessKey, NewAccessKey, SetAccessKeyState,
    SetAccountState,
};
use crate::keys::{self, Key, Namespace};
use crate::limits::{
    ACCESS_KEY_ID_BYTES_MAX, ACCESS_KEYS_MAX, ACCOUNT_NAME_BYTES_MAX, ACCOUNTS_MAX,
    PASSWORD_HASH_BYTES_MAX, ROOT_USER_BYTES_MAX, SEALED_SECRET_BYTES_MAX,
};
use crate::overlay::Overlay;
use crate::query;
use crate::read;
use crate::records::AccountRecord;
use crate::records::identity::{
    AccessKeyRecord, AccessKeyState, AccountState, EntityKind, FirstAccountRecord,
};
use crate::response::{Done, Entity, EntityLimit, Outcome, Refused};

pub(super) fn create(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: CreateAccount,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    check(&command)?;
    match query::first_account(overlay)? {
        Some(first) if !command.additional => {
            return Err(Refused::AccountExists(first.id.to_string()).into());
        }
        Some(first) => {
            if read::exists(overlay, &keys::account(&account))? {
                return Err(Refused::AccountExists(account.to_string()).into());
            }
            let all = read::page(overlay, &Key::new(Namespace::Account), None, ACCOUNTS_MAX)?;
            if all.len() >= ACCOUNTS_MAX {
                let max = u32::try_from(ACCOUNTS_MAX).unwrap_or(u32::MAX);
                return Err(Refused::AccountLimit(max).into());
            }
            if all.len() == 1 {
                let record = FirstAccountRecord {
                    account: first.id.to_string(),
                };
                overlay.put(keys::first_account(), &record);
            }
        }
        None if command.additional => {
            return Err(invalid("account", "there is none that it could be added to").into());
        }
        None => {}
    }
    let record = AccountRecord {
        root_user: command.root_user,
        password_hash: command.password_hash,
        created_at_ms: command.at_ms,
        index,
        name: command.name,
        disabled: false,
    };
    overlay.put(keys::account(&account), &record);
    if let Some(key) = command.root_key {
        let owner = Owner {
            account: &account,
            name: String::new(),
        };
        owner.give(overlay, index, key, command.at_ms)?;
    }
    Ok(Outcome::Done(Done {}))
}

fn check(command: &CreateAccount) -> Result<(), Refused> {
    if !(1..=ROOT_USER_BYTES_MAX).contains(&command.root_user.len()) {
        return Err(invalid("root user", "must be of 1 to 128 bytes"));
    }
    let hash = command.password_hash.len();
    if hash > PASSWORD_HASH_BYTES_MAX || hash == 0 && !command.additional {
        return Err(invalid("password hash", "must be of 1 to 1024 bytes"));
    }
    let name = &command.name;
    if name.len() > ACCOUNT_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(invalid(
            "account name",
            "must be of at most 128 bytes, without control characters",
        ));
    }
    Ok(())
}

pub(super) fn set_state(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &SetAccountState,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let disabled = match AccountState::try_from(command.state) {
        Ok(state) => state == AccountState::Disabled,
        Err(_) => return Err(invalid("state", "is not known here").into()),
    };
    let key = keys::account(&account);
    let Some(before) = read::record::<AccountRecord>(overlay, &key)? else {
        return Err(Refused::AccountUnknown(account.to_string()).into());
    };
    let first = query::first_account(overlay)?;
    if disabled && first.is_some_and(|first| first.id == account) {
        return Err(Refused::FirstAccount(account.to_string()).into());
    }
    if before.disabled != disabled {
        overlay.put(key, &AccountRecord { disabled, ..before });
        changed(overlay, &account, index)?;
    }
    Ok(Outcome::Done(Done {}))
}

pub(super) fn create_key(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: CreateAccessKey,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let Some(key) = command.key else {
        return Err(invalid("access key", "is missing").into());
    };
    let owner = Owner::find(overlay, &account, &command.owner)?;
    owner.give(overlay, index, key, command.at_ms)?;
    Ok(Outcome::Done(Done {}))
}

pub(super) fn set_key_state(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &SetAccessKeyState,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let inactive = match AccessKeyState::try_from(command.state) {
        Ok(state) => state == AccessKeyState::Inactive,
        Err(_) => return Err(invalid("state", "is not known here").into()),
    };
    let owner = Owner::find(overlay, &account, &command.owner)?;
    let before = owner.key(overlay, &command.id)?;
    if before.inactive != inactive {
        let after = AccessKeyRecord {
            inactive,
            index,
            ..before
        };
        overlay.put(keys::access_key(&command.id), &after);
        changed(overlay, &account, index)?;
    }
    Ok(Outcome::Done(Done {}))
}

pub(super) fn delete_key(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &DeleteAccessKey,
) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let owner = Owner::find(overlay, &account, &command.owner)?;
    owner.key(overlay, &command.id)?;
    overlay.delete(keys::access_key(&command.id));
    overlay.delete(keys::access_key_of(&account, &owner.name, &command.id));
    changed(overlay, &account, index)?;
    Ok(Outcome::Done(Done {}))
}

/// Who has access keys: a user, or the root user of an account.
struct Owner<'a> {
    account: &'a AccountId,
    /// As its record has it; empty: the root user.
    name: String,
}

// === impl Owner ===

impl<'a> Owner<'a> {
    /// # Errors
    /// `AccountUnknown`, `NoSuchEntity`
    fn find(overlay: &Overlay<'_>, account: &'a AccountId, name: &str) -> Result<Self, Stop> {
        if !read::exists(overlay, &keys::account(account))? {
            return Err(Refused::AccountUnknown(account.to_string()).into());
        }
        let name = if name.is_empty() {
            String::new()
        } else {
            let user = query::entity(overlay, account, EntityKind::User, name)?;
            user.ok_or_else(|| unknown(EntityKind::User, name))?.name
        };
        Ok(Self { account, name })
    }

    fn give(
        &self,
        overlay: &mut Overlay<'_>,
        index: u64,
        key: NewAccessKey,
        at_ms: i64,
    ) -> Result<(), Stop> {
        check_id(&key.id)?;
        if !(1..=SEALED_SECRET_BYTES_MAX).contains(&key.sealed_secret.len()) {
            return Err(invalid("sealed secret", "must be of 1 to 512 bytes").into());
        }
        let place = keys::access_key(&key.id);
        if let Some(before) = read::record::<AccessKeyRecord>(overlay, &place)? {
            let same = before.account == self.account.as_str()
                && before.owner == self.name
                && before.sealed_secret == key.sealed_secret;
            if same {
                return Ok(());
            }
            return Err(Refused::EntityExists(Entity::new(EntityKind::AccessKey, &key.id)).into());
        }
        let prefix = keys::access_keys_of(self.account, &self.name);
        if read::page(overlay, &prefix, None, ACCESS_KEYS_MAX)?.len() >= ACCESS_KEYS_MAX {
            let limit = EntityLimit::new("AccessKeysPerUser", ACCESS_KEYS_MAX);
            return Err(Refused::EntityLimit(limit).into());
        }
        let record = AccessKeyRecord {
            account: self.account.to_string(),
            owner: self.name.clone(),
            sealed_secret: key.sealed_secret,
            inactive: false,
            created_at_ms: at_ms,
            index,
        };
        overlay.put(place, &record);
        overlay.mark(keys::access_key_of(self.account, &self.name, &key.id));
        changed(overlay, self.account, index)?;
        Ok(())
    }

    /// One that this owner has; whether anybody else has it is not told.
    fn key(&self, overlay: &Overlay<'_>, id: &str) -> Result<AccessKeyRecord, Stop> {
        check_id(id)?;
        let found: Option<AccessKeyRecord> = read::record(overlay, &keys::access_key(id))?;
        found
            .filter(|key| key.account == self.account.as_str() && key.owner == self.name)
            .ok_or_else(|| unknown(EntityKind::AccessKey, id))
    }
}

/// Whatever a client can send in a signature's scope.
fn check_id(id: &str) -> Result<(), Refused> {
    let right = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    if (1..=ACCESS_KEY_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(right) {
        return Ok(());
    }
    Err(invalid(
        "access key id",
        "must be of 1 to 128 printable ASCII characters without commas and blanks",
    ))
}
