//! Whatever goes missing from a state, or cannot be read, is noticed.

use bytes::Bytes;
use prost::Message as _;

use super::{Summary, VIOLATIONS_MAX, check};
use crate::apply::tests::{Machine, image, index_of, replica, rule};
use crate::command::{
    Author, CreateAccount, DeleteManifest, EndTask, FormCluster, MemberSpec, PutManifest,
    PutRegistrySettings, PutRepositorySettings,
};
use crate::keys::{self, Namespace};
use crate::query::{Cause, blob};
use crate::read;
use crate::records::ManifestRecord;
use crate::store::{KeyValue, MemoryState, Writes};

/// Something in every namespace.
fn full() -> MemoryState {
    let mut machine = Machine::with_app();
    let account = crate::apply::tests::account();
    machine.done(CreateAccount::new(&account, "root", "$argon2id$", 1));
    machine.done(PutRegistrySettings {
        create_on_push: Some(false),
        ..PutRegistrySettings::new(&account)
    });
    machine.done(rule("a", &["app"], "eu-west-1"));
    machine.done(image(10, &[1, 2], &["v1", "v2"]));
    machine.done(image(11, &[3], &[]));
    let index = PutManifest {
        subject: Some(crate::apply::tests::digest(50).to_string()),
        ..index_of(20, &[10, 11])
    };
    machine.done(index);
    machine.done(replica(image(11, &[3], &["v3"]), "us-east-1", 5));
    machine.done(PutRepositorySettings {
        sparse_indexes: Some(true),
        ..PutRepositorySettings::new(&account, &"app".parse().unwrap())
    });
    machine.done(index_of(21, &[10, 12]));
    machine.done(image(22, &[2], &["gone"]));
    machine.done(DeleteManifest {
        author: Some(Author::new("root", Cause::Client)),
        ..DeleteManifest::new(
            &account,
            &"app".parse().unwrap(),
            &crate::apply::tests::digest(22),
        )
    });
    let task = machine.open_tasks().remove(0);
    machine.done(EndTask::complete(&task, 9));
    machine.done(FormCluster {
        members: vec![MemberSpec::new(1, &"us-east-1".parse().unwrap(), "a:1")],
        at_ms: 1,
    });
    machine.state
}

fn with(state: &MemoryState, key: &[u8], value: Option<Bytes>) -> MemoryState {
    let mut state = state.clone();
    state.apply_writes(&Writes {
        entries: vec![(key.to_vec(), value)],
    });
    state
}

#[test]
fn a_sound_state_is_summed_up() {
    let state = full();
    let expected = Summary {
        envelopes: 17,
        members: 1,
        regions: 1,
        accounts: 1,
        access_keys: 0,
        entities: 0,
        policies: 0,
        rules: 1,
        repositories: 1,
        blobs: 3,
        links: 3,
        manifests: 4,
        tags: 3,
        tasks: 5,
        open_tasks: 4,
        deleted: 1,
    };
    assert_eq!(check(&state), Ok(expected));
    assert!(
        blob(&state, &crate::apply::tests::digest(1))
            .unwrap()
            .is_some()
    );
}

#[test]
fn nothing_that_others_rely_on_goes_missing_unnoticed() {
    let state = full();
    for (key, _) in state.iter() {
        let namespace = Namespace::of(key[0]).unwrap();
        // Nothing says that these have to be there.
        let free = matches!(
            namespace,
            Namespace::Account | Namespace::Settings | Namespace::Rule
        );
        // An ended task has no entry in the outbox.
        let found = check(&with(&state, key, None)).is_err();
        assert!(
            found != free || namespace == Namespace::Task,
            "{namespace:?}"
        );
    }
}

#[test]
fn no_identity_that_others_rely_on_goes_missing_unnoticed() {
    let state = crate::hostile::with_identities();
    let before = check(&state).unwrap();
    assert_eq!(
        (before.accounts, before.entities, before.policies),
        (2, 2, 1)
    );
    for (key, _) in state.iter() {
        let namespace = Namespace::of(key[0]).unwrap();
        if !matches!(namespace, Namespace::Envelope | Namespace::EnvelopeSlot) {
            let missing = check(&with(&state, key, None));
            // An account alone has nothing that others rely on.
            let is_first = key.ends_with(b"123456789012") && namespace == Namespace::Account;
            assert!(missing.is_err() || is_first, "{namespace:?}");
        }
        let garbage = with(&state, key, Some(Bytes::from_static(b"\xff\xff")));
        assert!(check(&garbage).is_err(), "{key:?}");
    }
}

#[test]
fn an_index_lacks_nothing_but_what_it_was_taken_without() {
    let state = full();
    let account = crate::apply::tests::account();
    let digest = crate::apply::tests::digest;
    let key = keys::manifest(&account, &"app".parse().unwrap(), &digest(21));
    let value = state.get(key.as_bytes()).unwrap().unwrap();
    let record: ManifestRecord = read::decode(key.as_bytes(), value).unwrap();
    assert_eq!(record.absent, [digest(12).to_string()]);
    for absent in [
        vec![],
        vec![digest(10)],
        vec![digest(12), digest(12)],
        vec![digest(12), digest(13)],
    ] {
        let record = ManifestRecord {
            absent: absent.iter().map(ToString::to_string).collect(),
            ..record.clone()
        };
        let value = Bytes::from(record.encode_to_vec());
        let changed = with(&state, key.as_bytes(), Some(value));
        assert!(check(&changed).is_err(), "{absent:?}");
    }
}

#[test]
fn nothing_unreadable_goes_unnoticed() {
    let state = full();
    for (key, _) in state.iter() {
        let garbage = with(&state, key, Some(Bytes::from_static(b"\xff\xff")));
        assert!(check(&garbage).is_err(), "{key:?}");
        let mut longer = key.to_vec();
        longer.push(0x07);
        let longer = with(&state, &longer, Some(Bytes::new()));
        assert!(check(&longer).is_err(), "{key:?}");
    }
    assert!(check(&with(&state, &[0x77], Some(Bytes::new()))).is_err());
}

#[test]
fn the_stores_own_keys_are_no_concern() {
    let state = with(&full(), &[0x00, 0x01], Some(Bytes::from_static(b"\xff")));
    assert!(check(&state).is_ok());
}

#[test]
fn the_report_is_bounded() {
    let mut state = MemoryState::new();
    let entries = (0..2_000_u64)
        .map(|n| ([&[0x77][..], &n.to_be_bytes()].concat(), Some(Bytes::new())))
        .collect();
    state.apply_writes(&Writes { entries });
    assert_eq!(check(&state).unwrap_err().len(), VIOLATIONS_MAX);
}
