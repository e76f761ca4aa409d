//! Repeats, nonsense and the ring of remembered envelopes.

use bytes::Bytes;
use prost::Message as _;

use super::{Machine, account, app, image, link};
use crate::apply::apply;
use crate::command::{CreateRepository, DeleteTag, Envelope, LEVEL};
use crate::invariants;
use crate::limits::ENVELOPES_KEPT;
use crate::response::{Outcome, Refused, RepositoryPut, Response};
use crate::store::{MemoryState, StorageError};

fn create(id: u8) -> Bytes {
    let command = CreateRepository::new(&account(), &app(), i64::from(id));
    Envelope::new([id; 16], command.into()).to_bytes()
}

fn step(state: &mut MemoryState, index: u64, envelope: &[u8]) -> Response {
    let (writes, response) = apply(state, index, envelope).unwrap();
    state.apply_writes(&writes);
    invariants::check(state).unwrap();
    response
}

#[test]
fn a_repeat_writes_nothing_and_is_answered_as_before() {
    let mut state = MemoryState::new();
    let first = step(&mut state, 7, &create(1));
    let (writes, again) = apply(&state, 8, &create(1)).unwrap();
    assert!(writes.is_empty());
    assert_eq!(again, first);
    assert_eq!(again.index, 7);
}

#[test]
fn a_repeated_refusal_stays_refused_even_if_it_could_be_done_now() {
    let mut machine = Machine::default();
    let refused = machine.run_as([9; 16], link("app", 1)).unwrap_err();
    machine.done(CreateRepository::new(&account(), &app(), 1));
    assert_eq!(machine.run_as([9; 16], link("app", 1)), Err(refused));
    assert!(machine.run_as([8; 16], link("app", 1)).is_ok());
}

#[test]
fn an_envelope_is_forgotten_when_its_slot_is_taken() {
    let mut state = MemoryState::new();
    step(&mut state, 5, &create(1));
    step(&mut state, 4 + ENVELOPES_KEPT, &create(2));
    assert_eq!(step(&mut state, 5, &create(1)).index, 5);
    step(&mut state, 5 + ENVELOPES_KEPT, &create(3));

    let forgotten = step(&mut state, 6 + ENVELOPES_KEPT, &create(1));
    assert_eq!(forgotten.index, 6 + ENVELOPES_KEPT);
    assert_eq!(
        step(&mut state, 7 + ENVELOPES_KEPT, &create(2)).index,
        4 + ENVELOPES_KEPT
    );
    assert_eq!(invariants::check(&state).unwrap().envelopes, 3);
}

/// A proposer tries again and again, and an attempt may be held up anywhere: what
/// comes so late that the first one may be forgotten is not applied again.
#[test]
fn an_envelope_that_comes_too_late_is_refused() {
    const KNOWN: u64 = 10;
    let late = |id: u8| {
        let command = CreateRepository::new(&account(), &app(), 1);
        let envelope = Envelope::new([id; 16], command.into());
        envelope.known_at(KNOWN).to_bytes()
    };
    let mut state = MemoryState::new();
    step(&mut state, KNOWN + 1, &late(1));
    // As late as it may come, and known if it was there before.
    let last = KNOWN + ENVELOPES_KEPT;
    assert_eq!(step(&mut state, last, &late(1)).index, KNOWN + 1);
    assert_eq!(step(&mut state, last, &late(2)).refused(), None);
    step(&mut state, last + 1, &create(3));
    for id in [1, 4] {
        let (writes, response) = apply(&state, last + 2, &late(id)).unwrap();
        assert!(writes.is_empty());
        assert_eq!(response.refused(), Some(&Refused::Late(last + 2)));
    }
    // Its slot is not taken yet.
    assert_eq!(step(&mut state, last + 2, &late(2)).index, last);
}

#[test]
fn what_is_no_envelope_is_refused_and_leaves_no_trace() {
    let state = MemoryState::new();
    let no_id = Envelope {
        id: Bytes::new(),
        command: None,
        known_index: None,
        level: 0,
    };
    for envelope in [&b"\xff\xff\xff"[..], b"", &no_id.encode_to_vec()] {
        let (writes, response) = apply(&state, 1, envelope).unwrap();
        assert!(writes.is_empty());
        assert!(matches!(response.refused(), Some(Refused::Invalid(_))));
    }
}

#[test]
fn an_unknown_command_is_refused() {
    // Field 1: the id; field 1000: a message that nobody knows.
    let mut envelope = Envelope {
        id: Bytes::from_static(&[1; 16]),
        command: None,
        known_index: None,
        level: 0,
    }
    .encode_to_vec();
    envelope.extend([0xc2, 0x3e, 0x00]);
    let response = step(&mut MemoryState::new(), 1, &envelope);
    assert!(matches!(response.refused(), Some(Refused::Invalid(_))));
}

#[test]
fn an_entry_of_a_newer_version_stops_the_copy_and_changes_nothing() {
    let mut envelope = Envelope::new([1; 16], link("app", 1).into());
    envelope.level = LEVEL + 1;
    assert!(!Envelope::is_understood(&envelope.to_bytes()));
    let error = apply(&MemoryState::new(), 7, &envelope.to_bytes()).unwrap_err();
    let newer = LEVEL + 1;
    assert!(matches!(error, StorageError::Newer { index: 7, level } if level == newer));

    envelope.level = LEVEL;
    assert!(Envelope::is_understood(&envelope.to_bytes()));
    assert!(apply(&MemoryState::new(), 7, &envelope.to_bytes()).is_ok());
}

#[test]
fn every_name_of_a_command_is_checked() {
    let mut machine = Machine::with_app();
    let push = || image(10, &[1], &["v1"]);
    let bad: Vec<(&str, crate::command::PutManifest)> = vec![
        ("account", {
            let mut p = push();
            p.account = "1".into();
            p
        }),
        ("repository", {
            let mut p = push();
            p.repository = "App".into();
            p
        }),
        ("digest", {
            let mut p = push();
            p.digest = "sha256:00".into();
            p
        }),
        ("media type", {
            let mut p = push();
            p.media_type = "text".into();
            p
        }),
        ("artifact type", {
            let mut p = push();
            p.artifact_type = Some("a b".into());
            p
        }),
        ("subject", {
            let mut p = push();
            p.subject = Some(String::new());
            p
        }),
        ("blob", {
            let mut p = push();
            p.blobs.push("\0".into());
            p
        }),
        ("child", {
            let mut p = push();
            p.children.push("x".into());
            p
        }),
        ("tag", {
            let mut p = push();
            p.tags.push("-".into());
            p
        }),
        ("tags", {
            let mut p = push();
            p.tags = vec!["a".into(); 101];
            p
        }),
        ("references", {
            let mut p = push();
            p.blobs = vec!["a".into(); 8193];
            p
        }),
        ("content", {
            let mut p = push();
            p.content = vec![0; 4 * 1024 * 1024 + 1].into();
            p
        }),
    ];
    for (what, push) in bad {
        let Refused::Invalid(text) = machine.refused(push) else {
            panic!("{what}");
        };
        assert!(text.starts_with(&format!("{what}: ")), "{what}: {text}");
    }
}

#[test]
fn equal_histories_make_equal_bytes() {
    let history = || {
        let mut machine = Machine::with_app();
        machine.done(image(10, &[3, 1, 2], &["b", "a"]));
        machine.done(image(11, &[1], &["a"]));
        machine.refused(DeleteTag::new(&account(), &app(), &super::tag("z")));
        machine.state
    };
    assert_eq!(history(), history());
}

#[test]
fn a_response_is_read_back_from_its_bytes() {
    let response = Response::new(3, Outcome::RepositoryPut(RepositoryPut { created: true }));
    assert_eq!(Response::from_bytes(&response.to_bytes()), Ok(response));
}
