//! Accounts and their identities: seeds for the targets.

use entrepot_oci::AccountId;

use crate::apply::tests::{Machine, account};
use crate::command::{
    Command, CreateAccessKey, CreateAccount, DeleteAccessKey, NewAccessKey, SetAccessKeyState,
    SetAccountState,
};
use crate::query::{self, AccessKeyState, AccountState};
use crate::store::{KeyValue, StorageError};

fn other() -> AccountId {
    "210987654321".parse().unwrap()
}

fn key(id: &str) -> NewAccessKey {
    NewAccessKey::new(id, &b"sealed"[..])
}

/// The first account, and another one with a key.
pub(super) fn prepare(machine: &mut Machine) {
    machine.done(CreateAccount::new(&account(), "root", "$argon2id$", 1));
    machine.done(CreateAccount::additional(
        &other(),
        "other",
        "root",
        key("AKIA1"),
        1,
    ));
}

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let third: AccountId = "333333333333".parse().unwrap();
    let additional =
        |id: &str| CreateAccount::additional(&third, "third", "root", key(id), 1).into();
    let create = |account: &AccountId, id| CreateAccessKey::new(account, "", key(id), 1).into();
    let key_state = |state| SetAccessKeyState::new(&other(), "", "AKIA1", state).into();
    let state = |account: &AccountId| SetAccountState::new(account, AccountState::Disabled).into();
    vec![
        ("good-additional-account", additional("AKIA3")),
        (
            "bad-additional-account-with-a-key-in-use",
            additional("AKIA1"),
        ),
        ("good-disable-account", state(&other())),
        ("bad-disable-first-account", state(&account())),
        ("good-access-key", create(&other(), "AKIA2")),
        ("bad-access-key-in-use", create(&account(), "AKIA1")),
        ("good-inactive-key", key_state(AccessKeyState::Inactive)),
        (
            "good-delete-key",
            DeleteAccessKey::new(&other(), "", "AKIA1").into(),
        ),
        (
            "bad-delete-key-of-another",
            DeleteAccessKey::new(&account(), "", "AKIA1").into(),
        ),
    ]
}

pub(super) fn read_all(view: &dyn KeyValue) -> Result<(), StorageError> {
    query::first_account(view)?;
    for account in query::accounts(view, None, 10)? {
        query::account(view, &account.id)?;
        query::access_keys(view, &account.id, "")?;
        query::generation(view, &account.id)?;
    }
    query::access_key(view, "AKIA1")?;
    Ok(())
}
