//! Accounts, and the access keys of their root users.

use entrepot_oci::AccountId;

use super::{Machine, account};
use crate::command::{
    Command, CreateAccessKey, CreateAccount, DeleteAccessKey, NewAccessKey, SetAccessKeyState,
    SetAccountState,
};
use crate::limits::{ACCESS_KEY_ID_BYTES_MAX, ACCESS_KEYS_MAX};
use crate::query::{self, AccessKeyState, AccountState, EntityKind};
use crate::response::{Entity, EntityLimit, Refused};

fn other() -> AccountId {
    // Sorts before the first one.
    "111111111111".parse().unwrap()
}

fn key(id: &str) -> NewAccessKey {
    NewAccessKey::new(id, id.as_bytes().to_vec())
}

fn first() -> CreateAccount {
    CreateAccount::new(&account(), "root", "$argon2id$", 3)
}

fn additional(id: &AccountId, key_id: &str) -> CreateAccount {
    CreateAccount::additional(id, "other", "root", key(key_id), 4)
}

fn with_two() -> Machine {
    let mut machine = Machine::default();
    machine.done(first());
    machine.done(additional(&other(), "AKIA1"));
    machine
}

fn set_state(id: &AccountId, state: AccountState) -> SetAccountState {
    SetAccountState::new(id, state)
}

fn key_ids(machine: &Machine, of: &AccountId) -> Vec<String> {
    let keys = query::access_keys(&machine.state, of, "").unwrap();
    keys.into_iter().map(|key| key.id).collect()
}

#[test]
fn a_first_account_is_made_once() {
    let mut machine = Machine::default();
    assert_eq!(query::first_account(&machine.state).unwrap(), None);
    machine.done(CreateAccount::new(&account(), "root", "$argon2id$", 3));
    let other = "210987654321".parse().unwrap();
    let refused = machine.refused(CreateAccount::new(&other, "root", "$argon2id$", 4));
    assert_eq!(refused, Refused::AccountExists(account().to_string()));

    let found = query::first_account(&machine.state).unwrap().unwrap();
    assert_eq!((&found.id, found.created_at_ms), (&account(), 3));
    assert_eq!(
        query::account(&machine.state, &account()).unwrap(),
        Some(found)
    );
    assert_eq!(query::account(&machine.state, &other).unwrap(), None);
}

#[test]
fn an_account_needs_a_user_and_a_hash() {
    let mut machine = Machine::default();
    for (user, hash) in [
        ("", "h"),
        ("u", ""),
        (&"u".repeat(129), "h"),
        ("u", &"h".repeat(1025)),
    ] {
        let refused = machine.refused(CreateAccount::new(&account(), user, hash, 1));
        assert!(matches!(refused, Refused::Invalid(_)));
    }
}

#[test]
fn a_password_hash_is_not_printed() {
    let command = CreateAccount::new(&account(), "root", "$argon2id$secret", 3);
    assert!(!format!("{command:?}").contains("secret"));
    let mut machine = Machine::default();
    machine.done(command);
    let account = query::first_account(&machine.state).unwrap();
    assert!(!format!("{account:?}").contains("secret"));
}

#[test]
fn the_first_account_stays_the_first() {
    let mut machine = with_two();
    let third: AccountId = "333333333333".parse().unwrap();
    machine.done(additional(&third, "AKIA3"));
    let first = query::first_account(&machine.state).unwrap().unwrap();
    assert_eq!((first.id, first.name.as_str()), (account(), ""));
    let again = machine.refused(CreateAccount::new(&other(), "root", "$", 9));
    assert_eq!(again, Refused::AccountExists(account().to_string()));

    let page = |after: Option<&AccountId>, limit| -> Vec<AccountId> {
        let found = query::accounts(&machine.state, after, limit).unwrap();
        found.into_iter().map(|account| account.id).collect()
    };
    assert_eq!(page(None, 2), [other(), account()]);
    assert_eq!(page(Some(&account()), 2), [third]);
}

#[test]
fn an_account_is_added_to_another_one_and_once() {
    let mut machine = Machine::default();
    let early = machine.refused(additional(&other(), "AKIA1"));
    assert!(matches!(early, Refused::Invalid(_)));
    machine.done(first());
    machine.done(additional(&other(), "AKIA1"));
    let exists = Refused::AccountExists(other().to_string());
    assert_eq!(machine.refused(additional(&other(), "AKIA2")), exists);
    let third: AccountId = "333333333333".parse().unwrap();
    let taken = machine.refused(additional(&third, "AKIA1"));
    let entity = Entity::new(EntityKind::AccessKey, "AKIA1");
    assert_eq!(taken, Refused::EntityExists(entity));
    assert_eq!(query::account(&machine.state, &third).unwrap(), None);

    let found = query::account(&machine.state, &other()).unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.is_active()), ("other", true));
    assert_eq!(key_ids(&machine, &other()), ["AKIA1"]);
    let bad_name = CreateAccount {
        name: "a\nb".to_owned(),
        ..additional(&third, "AKIA3")
    };
    assert!(matches!(machine.refused(bad_name), Refused::Invalid(_)));
}

#[test]
fn accounts_are_disabled_and_enabled_but_for_the_first() {
    let mut machine = with_two();
    let generation = |machine: &Machine| query::generation(&machine.state, &other()).unwrap();
    let before = generation(&machine);
    machine.done(set_state(&other(), AccountState::Disabled));
    let disabled = generation(&machine);
    assert!(disabled > before);
    machine.done(set_state(&other(), AccountState::Disabled));
    assert_eq!(generation(&machine), disabled);
    let found = query::account(&machine.state, &other()).unwrap().unwrap();
    assert_eq!(found.state, AccountState::Disabled);
    machine.done(set_state(&other(), AccountState::Active));
    let found = query::account(&machine.state, &other()).unwrap().unwrap();
    assert!(found.is_active() && generation(&machine) > disabled);

    let first = machine.refused(set_state(&account(), AccountState::Disabled));
    assert_eq!(first, Refused::FirstAccount(account().to_string()));
    machine.done(set_state(&account(), AccountState::Active));
    let third: AccountId = "333333333333".parse().unwrap();
    let unknown = machine.refused(set_state(&third, AccountState::Disabled));
    assert_eq!(unknown, Refused::AccountUnknown(third.to_string()));
    let newer = SetAccountState {
        state: 9,
        ..set_state(&other(), AccountState::Active)
    };
    assert!(matches!(machine.refused(newer), Refused::Invalid(_)));
}

#[test]
fn nobody_has_more_keys_than_they_may() {
    let mut machine = with_two();
    let create = |id: &str| CreateAccessKey::new(&other(), "", key(id), 5);
    machine.done(create("AKIA2"));
    let limit = EntityLimit::new("AccessKeysPerUser", ACCESS_KEYS_MAX);
    assert_eq!(
        machine.refused(create("AKIA3")),
        Refused::EntityLimit(limit)
    );
    // The same again is no third one.
    machine.done(create("AKIA2"));
    machine.done(DeleteAccessKey::new(&other(), "", "AKIA1"));
    machine.done(create("AKIA3"));
    assert_eq!(key_ids(&machine, &other()), ["AKIA2", "AKIA3"]);
    assert_eq!(query::access_key(&machine.state, "AKIA1").unwrap(), None);
}

#[test]
fn a_key_is_its_owners() {
    let mut machine = with_two();
    let unknown = || Refused::NoSuchEntity(Entity::new(EntityKind::AccessKey, "AKIA1"));
    let state = |account: &AccountId, state| {
        Command::from(SetAccessKeyState::new(account, "", "AKIA1", state))
    };
    assert_eq!(
        machine.refused(state(&account(), AccessKeyState::Inactive)),
        unknown()
    );
    let delete = DeleteAccessKey::new(&account(), "", "AKIA1");
    assert_eq!(machine.refused(delete), unknown());
    let stolen = CreateAccessKey::new(&account(), "", key("AKIA1"), 5);
    assert!(matches!(machine.refused(stolen), Refused::EntityExists(_)));
    let nobody = CreateAccessKey::new(&account(), "nobody", key("AKIA9"), 5);
    assert!(matches!(machine.refused(nobody), Refused::NoSuchEntity(_)));

    let before = query::generation(&machine.state, &other()).unwrap();
    machine.done(state(&other(), AccessKeyState::Inactive));
    let found = query::access_key(&machine.state, "AKIA1").unwrap().unwrap();
    assert_eq!((&found.account, found.is_active()), (&other(), false));
    assert!(query::generation(&machine.state, &other()).unwrap() > before);
}

#[test]
fn a_key_id_is_whatever_a_client_can_send() {
    let mut machine = with_two();
    let longest = "x".repeat(ACCESS_KEY_ID_BYTES_MAX);
    for id in ["a", "test/key+=:", &longest] {
        machine.done(CreateAccessKey::new(&other(), "", key(id), 5));
        machine.done(DeleteAccessKey::new(&other(), "", id));
    }
    for id in ["", "a b", "a,b", "\u{e4}", "a\0", &format!("{longest}x")] {
        let refused = machine.refused(CreateAccessKey {
            key: Some(NewAccessKey::new(id, &b"sealed"[..])),
            ..CreateAccessKey::new(&other(), "", key("x"), 5)
        });
        assert!(matches!(refused, Refused::Invalid(_)), "{id:?}");
    }
    let no_secret = NewAccessKey::new("a", Vec::new());
    let refused = machine.refused(CreateAccessKey::new(&other(), "", no_secret, 5));
    assert!(matches!(refused, Refused::Invalid(_)));
}

#[test]
fn a_sealed_secret_is_not_printed() {
    let create = CreateAccessKey::new(&other(), "", NewAccessKey::new("AKIA1", &b"hidden"[..]), 1);
    let command = Command::from(create);
    let mut machine = with_two();
    let found = query::access_key(&machine.state, "AKIA1").unwrap();
    assert!(!format!("{command:?} {found:?}").contains("hidden"));
    machine.refused(command);
}

#[test]
fn what_only_the_first_account_needs_every_version_understands() {
    let sealed = key("AKIA1");
    assert_eq!(Command::from(first()).level(), 0);
    assert_eq!(Command::from(additional(&other(), "AKIA1")).level(), 3);
    let create = CreateAccessKey::new(&account(), "", sealed, 1);
    assert_eq!(Command::from(create).level(), 3);
}
