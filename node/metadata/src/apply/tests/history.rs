//! What tags pointed to is remembered, as far as there is room.

use super::{Machine, account, app, digest, image, tag};
use crate::apply::apply;
use crate::command::{
    Author, Command, DeleteManifest, DeleteRepository, DeleteTag, Envelope, ForgetTags,
    ForgottenTag, PutManifest, RestoreImage,
};
use crate::invariants;
use crate::limits::{GONE_TAGS_MAX, TAG_MOVES_MAX};
use crate::query::{self, Cause, TagMove};
use crate::store::MemoryState;

fn author(cause: Cause) -> Author {
    Author::new("ci", cause)
}

fn push(number: u8, at_ms: i64) -> PutManifest {
    PutManifest {
        author: Some(author(Cause::Push)),
        at_ms,
        ..image(number, &[1], &["v1"])
    }
}

fn moves(machine: &Machine) -> Vec<TagMove> {
    query::tag_moves(&machine.state, &account(), &app(), &tag("v1"), 1_000).unwrap()
}

#[test]
fn each_move_is_remembered_with_who_made_it_and_why() {
    let mut machine = Machine::with_app();
    machine.done(push(10, 1));
    // Where it is already.
    machine.done(push(10, 2));
    machine.done(push(11, 3));
    machine.done(DeleteTag {
        at_ms: 4,
        author: Some(author(Cause::Client)),
        ..DeleteTag::new(&account(), &app(), &tag("v1"))
    });
    // Who asks for it, nobody says.
    machine.done(PutManifest {
        at_ms: 5,
        ..image(10, &[1], &["v1"])
    });
    machine.done(DeleteManifest {
        at_ms: 6,
        author: Some(author(Cause::Lifecycle)),
        ..DeleteManifest::new(&account(), &app(), &digest(10))
    });
    machine.done(RestoreImage {
        author: Some(author(Cause::Restore)),
        ..RestoreImage::new(&account(), &app(), &digest(10), 7)
    });
    let found = moves(&machine);
    let unsaid = |it: &TagMove| it.number == 4;
    assert!(found.iter().all(|it| unsaid(it) == it.by.is_empty()));
    let found: Vec<_> = found
        .into_iter()
        .map(|it| (it.number, it.at_ms, it.from, it.to, it.since_ms, it.cause))
        .collect();
    let (old, new) = (Some(digest(10)), Some(digest(11)));
    let expected = [
        (1, 1, None, old, None, Cause::Push),
        (2, 3, old, new, Some(1), Cause::Push),
        (3, 4, new, None, Some(3), Cause::Client),
        (4, 5, None, old, None, Cause::Client),
        (5, 6, old, None, Some(5), Cause::Lifecycle),
        (6, 7, None, old, None, Cause::Restore),
    ];
    assert_eq!(found, expected);
}

#[test]
fn releases_that_know_nothing_of_it_are_sent_none_of_it() {
    assert_eq!(Command::from(image(10, &[1], &["v1"])).level(), 0);
    let forget = ForgetTags {
        tags: Vec::new(),
        cutoff_ms: 0,
    };
    for command in [push(10, 1).into(), Command::from(forget)] {
        assert_eq!(command.level(), 9);
    }
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    assert_eq!(moves(&machine), []);
    // What they have set is known from the tag itself.
    machine.done(push(11, 5));
    let found = moves(&machine);
    assert_eq!((found.len(), found[0].from), (1, Some(digest(10))));
    assert!(found[0].since_ms.is_some());
}

fn forget(machine: &mut Machine, cutoff_ms: i64) {
    machine.done(ForgetTags {
        tags: vec![ForgottenTag::new(&account(), &app(), &tag("v1"))],
        cutoff_ms,
    });
}

#[test]
fn those_of_a_deleted_tag_are_forgotten_in_time_unless_it_comes_back() {
    let delete = |at_ms| DeleteTag {
        at_ms,
        author: Some(author(Cause::Client)),
        ..DeleteTag::new(&account(), &app(), &tag("v1"))
    };
    let mut machine = Machine::with_app();
    machine.done(push(10, 1));
    forget(&mut machine, 100);
    machine.done(delete(2));
    assert_eq!(query::gone_tags(&machine.state, 1, 10).unwrap(), []);
    let gone = query::gone_tags(&machine.state, 2, 10).unwrap();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].tag, tag("v1"));
    forget(&mut machine, 1);
    assert_eq!(moves(&machine).len(), 2);
    machine.done(push(10, 3));
    forget(&mut machine, 100);
    assert_eq!(query::gone_tags(&machine.state, 100, 10).unwrap(), []);
    machine.done(delete(4));
    forget(&mut machine, 3);
    assert_eq!(moves(&machine).len(), 4);
    forget(&mut machine, 4);
    assert_eq!(moves(&machine), []);
    assert_eq!(query::gone_tags(&machine.state, 100, 10).unwrap(), []);
    machine.done(push(10, 5));
    assert_eq!(moves(&machine)[0].number, 1);
}

#[test]
fn only_so_many_are_remembered_and_none_of_a_repository_that_is_gone() {
    let mut machine = Machine::with_app();
    let last = i64::try_from(TAG_MOVES_MAX).unwrap() + 3;
    for at_ms in 1..=last {
        machine.done(push(10 + u8::try_from(at_ms % 2).unwrap(), at_ms));
    }
    let found = moves(&machine);
    assert_eq!(found.len() as u64, TAG_MOVES_MAX);
    assert_eq!(found.first().map(|it| it.at_ms), Some(4));
    assert_eq!(found.last().map(|it| it.at_ms), Some(last));
    machine.done(DeleteTag {
        at_ms: last + 1,
        author: Some(author(Cause::Client)),
        ..DeleteTag::new(&account(), &app(), &tag("v1"))
    });
    machine.done(DeleteRepository {
        force: true,
        ..DeleteRepository::new(&account(), &app(), 1)
    });
    assert_eq!(moves(&machine), []);
    let gone = query::gone_tags(&machine.state, i64::MAX, 1).unwrap();
    assert_eq!(gone, []);
}

/// How many deleted tags are remembered.
fn gone(state: &MemoryState) -> u64 {
    query::gone_tag_count(state, &account(), &app()).unwrap()
}

#[test]
fn a_tag_that_comes_back_or_is_forgotten_counts_no_more() {
    let mut machine = Machine::with_app();
    let both = |at_ms| PutManifest {
        tags: vec!["v1".to_owned(), "v2".to_owned()],
        ..push(10, at_ms)
    };
    let delete = |at_ms| DeleteManifest {
        at_ms,
        author: Some(author(Cause::Client)),
        ..DeleteManifest::new(&account(), &app(), &digest(10))
    };
    machine.done(both(1));
    assert_eq!(gone(&machine.state), 0);
    machine.done(delete(2));
    assert_eq!(gone(&machine.state), 2);
    machine.done(push(10, 3));
    assert_eq!(gone(&machine.state), 1);
    machine.done(delete(4));
    assert_eq!(gone(&machine.state), 2);
    forget(&mut machine, 4);
    assert_eq!(gone(&machine.state), 1);
    machine.done(DeleteRepository {
        force: true,
        ..DeleteRepository::new(&account(), &app(), 1)
    });
    assert_eq!(gone(&machine.state), 0);
}

/// Without a look at the whole state, which is large.
fn unchecked(machine: &mut Machine, command: impl Into<Command>) {
    machine.index += 1;
    let id = u128::from(machine.index).to_be_bytes();
    let envelope = Envelope::new(id, command.into()).to_bytes();
    let (writes, response) = apply(&machine.state, machine.index, &envelope).unwrap();
    response.into_result().unwrap();
    machine.state.apply_writes(&writes);
}

#[test]
fn who_pushes_and_deletes_tags_over_and_over_fills_the_state_no_further() {
    const TAGS: u64 = 100;
    let mut machine = Machine::with_app();
    let mut cycle = |number: u64| {
        let at_ms = i64::try_from(number).unwrap();
        let tags = (0..TAGS).map(|tag| format!("v{number}-{tag}"));
        let push = PutManifest {
            tags: tags.collect(),
            ..push(10, at_ms)
        };
        unchecked(&mut machine, push);
        let delete = DeleteManifest {
            at_ms,
            author: Some(author(Cause::Client)),
            ..DeleteManifest::new(&account(), &app(), &digest(10))
        };
        unchecked(&mut machine, delete);
        gone(&machine.state)
    };
    let full = GONE_TAGS_MAX / TAGS;
    for number in 1..=full {
        assert_eq!(cycle(number), number * TAGS);
    }
    // Each is of five pairs, of which a command takes four for each tag that it moves: the
    // next push takes the rest.
    let counts: Vec<u64> = (full + 1..=full + 6).map(cycle).collect();
    let most = GONE_TAGS_MAX + TAGS;
    assert!(
        counts.iter().all(|it| (GONE_TAGS_MAX..=most).contains(it)),
        "{counts:?}"
    );
    invariants::check(&machine.state).unwrap();
    let of = |number: u64| {
        let tag = tag(&format!("v{number}-0"));
        query::tag_moves(&machine.state, &account(), &app(), &tag, 10)
            .unwrap()
            .len()
    };
    assert_eq!((of(1), of(full + 6)), (0, 2));
    assert_eq!(query::gone_tags(&machine.state, 1, 10).unwrap(), []);
}
