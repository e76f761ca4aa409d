//! Repositories and settings.

use entrepot_oci::AccountId;

use super::{Machine, account, app, repository};
use crate::command::{CreateRepository, PutRegistrySettings, PutRepositorySettings};
use crate::query;
use crate::response::{Outcome, Refused, RepositoryPut};

#[test]
fn a_repository_is_made_once() {
    let mut machine = Machine::default();
    let created = |created| Outcome::RepositoryPut(RepositoryPut { created });
    assert_eq!(
        machine.done(CreateRepository::new(&account(), &app(), 1)),
        created(true)
    );
    assert_eq!(
        machine.done(CreateRepository::new(&account(), &app(), 2)),
        created(false)
    );
    let found = query::repository(&machine.state, &account(), &app())
        .unwrap()
        .unwrap();
    assert_eq!((found.created_at_ms, found.index), (1, 1));
}

#[test]
fn repositories_are_listed_in_pages() {
    let mut machine = Machine::default();
    for name in ["b", "a/b", "a", "a-b", "ab", "a.b"] {
        let name = repository(&format!("{name}x"));
        machine.done(CreateRepository::new(&account(), &name, 1));
    }
    let page = |after, limit| -> Vec<String> {
        query::repositories(&machine.state, &account(), after, limit)
            .unwrap()
            .iter()
            .map(|repository| repository.name.to_string())
            .collect()
    };
    assert_eq!(page(None, 3), ["a-bx", "a.bx", "a/bx"]);
    assert_eq!(page(Some("a/bx"), 10), ["abx", "ax", "bx"]);
    assert_eq!(page(Some("a/b"), 1), ["a/bx"]);
    assert_eq!(page(Some(""), 1), ["a-bx"]);
    assert_eq!(page(Some("not a name \u{10ffff}"), 10), [""; 0]);
}

#[test]
fn a_registrys_settings_are_the_defaults_but_for_what_was_given() {
    let mut machine = Machine::default();
    let settings =
        |machine: &Machine, of: &AccountId| query::registry_settings(&machine.state, of).unwrap();
    let other: AccountId = "210987654321".parse().unwrap();
    assert!(settings(&machine, &account()).create_on_push);
    for (given, expected) in [
        (None, true),
        (Some(true), true),
        (Some(false), false),
        (None, false),
        (Some(true), true),
    ] {
        machine.done(PutRegistrySettings {
            create_on_push: given,
            ..PutRegistrySettings::new(&account())
        });
        assert_eq!(settings(&machine, &account()).create_on_push, expected);
        assert!(settings(&machine, &other).create_on_push);
    }
}

#[test]
fn a_repositorys_settings_are_the_defaults_but_for_what_was_given() {
    let mut machine = Machine::with_app();
    machine.done(CreateRepository::new(&account(), &repository("other"), 1));
    let put = |sparse_indexes| PutRepositorySettings {
        sparse_indexes,
        ..PutRepositorySettings::new(&account(), &app())
    };
    let found = |machine: &Machine, name: &str| {
        query::repository(&machine.state, &account(), &repository(name))
            .unwrap()
            .unwrap()
    };
    let before = found(&machine, "app");
    for (given, sparse_indexes) in [
        (None, false),
        (Some(true), true),
        (None, true),
        (Some(false), false),
    ] {
        machine.done(put(given));
        let settings = query::RepositorySettings { sparse_indexes };
        let expected = query::Repository {
            settings,
            ..before.clone()
        };
        assert_eq!(found(&machine, "app"), expected);
        assert!(!found(&machine, "other").settings.sparse_indexes);
    }
    let unknown = PutRepositorySettings::new(&account(), &repository("unknown"));
    assert_eq!(
        machine.refused(unknown),
        Refused::RepositoryUnknown("unknown".to_owned())
    );
}
