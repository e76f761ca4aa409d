//! The archive: what goes there, with what, and what comes back.

use super::{Machine, account, app, digest, image, index_of, replica, rule};
use crate::command::{DeleteManifest, DeleteRepository, ImageState, PutManifest, SetStorageClass};
use crate::query::{self, Change, ManifestEntry};
use crate::response::{Outcome, Referenced, Refused, StorageClassSet};

fn set(number: u8, archive: bool) -> SetStorageClass {
    SetStorageClass::new(&account(), &app(), &digest(number), archive, 50)
}

/// How many went, or came back.
#[track_caller]
fn moved(machine: &mut Machine, number: u8, archive: bool) -> u64 {
    match machine.done(set(number, archive)) {
        Outcome::StorageClassSet(StorageClassSet { images, left }) => {
            assert!(!left);
            images
        }
        other => panic!("{other:?}"),
    }
}

fn entry(machine: &Machine, number: u8) -> ManifestEntry {
    let found = query::manifest_entry(&machine.state, &account(), &app(), &digest(number));
    found.unwrap().unwrap()
}

/// Which of them are in the archive.
fn archived(machine: &Machine, numbers: &[u8]) -> Vec<u8> {
    let mut archived = numbers.to_vec();
    archived.retain(|number| entry(machine, *number).archived_at_ms.is_some());
    archived
}

fn referrer(number: u8, subject: u8, tags: &[&str]) -> PutManifest {
    PutManifest {
        subject: Some(digest(subject).to_string()),
        ..image(number, &[1], tags)
    }
}

#[test]
fn what_is_in_the_archive_is_known_and_not_given() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    let served =
        |machine: &Machine| query::served_manifest(&machine.state, &account(), &app(), &digest(10));
    assert!(served(&machine).unwrap().is_some());
    assert_eq!(moved(&mut machine, 10, true), 1);
    assert_eq!(moved(&mut machine, 10, true), 0);
    assert!(served(&machine).unwrap().is_none());
    let gone = entry(&machine, 10);
    assert_eq!(gone.archived_at_ms, Some(50));
    assert_eq!(machine.tag_digest("v1"), Some(digest(10)));
    assert_eq!(moved(&mut machine, 10, false), 1);
    assert_eq!(moved(&mut machine, 10, false), 0);
    assert!(served(&machine).unwrap().is_some());
    let back = ManifestEntry {
        archived_at_ms: None,
        activated_at_ms: Some(50),
        // Anew from here.
        age_index: machine.index - 1,
        ..gone
    };
    assert_eq!(entry(&machine, 10), back);
    let reason = machine.refused(set(99, true));
    assert_eq!(reason, Refused::ManifestUnknown(digest(99).to_string()));
}

#[test]
fn an_index_takes_along_what_nothing_else_holds() {
    let mut machine = Machine::with_app();
    for number in [10, 11, 12] {
        machine.done(image(number, &[1], &[]));
    }
    machine.done(image(13, &[1], &["tagged"]));
    machine.done(index_of(20, &[10, 11, 13]));
    machine.done(index_of(21, &[11, 12]));
    let reason = machine.refused(set(10, true));
    let named = Referenced {
        digest: digest(10).to_string(),
        by: digest(20).to_string(),
    };
    assert_eq!(reason, Refused::ManifestReferenced(named));
    assert_eq!(moved(&mut machine, 20, true), 2);
    let all = [10, 11, 12, 13, 20, 21];
    assert_eq!(archived(&machine, &all), [10, 20]);
    // The last index that holds them takes them along.
    assert_eq!(moved(&mut machine, 21, true), 3);
    assert_eq!(archived(&machine, &all), [10, 11, 12, 20, 21]);
    // One of them alone comes back as it is, and goes again.
    assert_eq!(moved(&mut machine, 11, false), 1);
    assert_eq!(moved(&mut machine, 11, true), 1);
    assert_eq!(moved(&mut machine, 20, false), 3);
    assert_eq!(archived(&machine, &all), [12, 21]);
}

#[test]
fn a_manifest_goes_when_the_last_of_nested_indexes_goes() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &[]));
    machine.done(index_of(20, &[10]));
    machine.done(index_of(21, &[10, 20]));
    machine.done(referrer(30, 10, &["sig"]));
    machine.done(index_of(22, &[30]));
    assert_eq!(moved(&mut machine, 21, true), 3);
    // An index holds what refers to them.
    let all = [10, 20, 21, 22, 30];
    assert_eq!(archived(&machine, &all), [10, 20, 21]);
    // With it goes, though it has a tag, what refers to something there.
    assert_eq!(moved(&mut machine, 22, true), 2);
    assert_eq!(moved(&mut machine, 21, false), 4);
    assert_eq!(archived(&machine, &all), [22]);
}

#[test]
fn what_refers_to_an_image_follows_it() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(referrer(11, 10, &[]));
    machine.done(referrer(12, 11, &["sig"]));
    // By itself, too.
    assert_eq!(moved(&mut machine, 11, true), 2);
    assert_eq!(moved(&mut machine, 11, false), 2);
    assert_eq!(moved(&mut machine, 10, true), 3);
    assert_eq!(moved(&mut machine, 10, false), 3);
}

#[test]
fn a_push_brings_back_what_it_pushes_and_what_that_names() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &[]));
    machine.done(index_of(20, &[10]));
    assert_eq!(moved(&mut machine, 20, true), 2);
    let put = machine.pushed(index_of(20, &[10]));
    assert!(!put.created);
    assert!(archived(&machine, &[10, 20]).is_empty());
    assert_eq!(entry(&machine, 20).activated_at_ms, Some(20));
    // The same with what arrives from elsewhere, and with what a new index names.
    assert_eq!(moved(&mut machine, 20, true), 2);
    machine.done(index_of(21, &[10]));
    assert_eq!(archived(&machine, &[10, 20, 21]), [20]);
    machine.done(replica(index_of(20, &[10]), "ap-south-1", 7));
    assert!(archived(&machine, &[10, 20, 21]).is_empty());
}

#[test]
fn what_comes_back_is_copied_and_what_goes_is_not() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1", "v2"]));
    machine.done(replica(image(11, &[1], &["v3"]), "ap-south-1", 7));
    machine.done(rule("all", &[], "eu-west-1"));
    for number in [10, 11] {
        moved(&mut machine, number, true);
    }
    assert!(machine.open_tasks().is_empty());
    moved(&mut machine, 10, false);
    let tags = |machine: &Machine| -> Vec<String> {
        let tasks = machine.open_tasks();
        let mut tags: Vec<_> = tasks
            .iter()
            .map(|task| task.key.tag.as_ref().unwrap().to_string())
            .collect();
        tags.sort();
        tags
    };
    assert_eq!(tags(&machine), ["v1", "v2"]);
    // A tag that came from elsewhere goes no further.
    moved(&mut machine, 11, false);
    assert_eq!(tags(&machine), ["v1", "v2"]);
    // Nor does a push of what is there change anything; one that brings back does.
    let push = image(10, &[1], &["v1"]);
    assert_eq!(machine.pushed(push.clone()).tasks, 0);
    moved(&mut machine, 10, true);
    assert_eq!(machine.pushed(push).tasks, 1);
}

#[test]
fn it_goes_only_as_it_was_seen() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    let seen = |machine: &Machine, archived_at_ms| ImageState {
        index: entry(machine, 10).index,
        tags: vec!["v1".to_owned()],
        archived_at_ms,
    };
    let unknown = Refused::ManifestUnknown(digest(10).to_string());
    let archive = |expected| SetStorageClass {
        expected: Some(expected),
        ..set(10, true)
    };
    let expected = ImageState {
        tags: Vec::new(),
        ..seen(&machine, None)
    };
    let reason = machine.refused(archive(expected));
    assert!(matches!(reason, Refused::TagNotAsExpected(_)));
    let expected = seen(&machine, None);
    machine.done(archive(expected.clone()));
    // Who saw it before it went does not delete it, and who saw it there does.
    let delete = |expected| DeleteManifest {
        expected: Some(expected),
        ..DeleteManifest::new(&account(), &app(), &digest(10))
    };
    assert_eq!(machine.refused(delete(expected)), unknown);
    let expected = seen(&machine, Some(49));
    assert_eq!(machine.refused(delete(expected)), unknown);
    let expected = seen(&machine, Some(50));
    machine.done(delete(expected));
}

#[test]
fn a_repository_that_goes_gives_nothing_back() {
    let mut machine = Machine::with_app();
    machine.done(rule("all", &[], "eu-west-1"));
    let found = query::repository(&machine.state, &account(), &app());
    let index = found.unwrap().unwrap().index;
    for number in 0..3_u8 {
        let tags: Vec<String> = (0..400).map(|tag| format!("v{number}-{tag}")).collect();
        for some in tags.chunks(100) {
            let tags: Vec<&str> = some.iter().map(String::as_str).collect();
            machine.done(image(10 + number, &[1], &tags));
        }
    }
    moved(&mut machine, 10, true);
    let step = machine.done(DeleteRepository {
        force: true,
        ..DeleteRepository::new(&account(), &app(), index)
    });
    assert!(matches!(step, Outcome::RepositoryDeleted(step) if step.more));
    let reason = machine.refused(set(10, false));
    assert_eq!(reason, Refused::RepositoryDeleting("app".to_owned()));
}

#[test]
fn those_who_watch_are_told_of_the_archive() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    for archived in [true, false] {
        moved(&mut machine, 10, archived);
        let told = query::changes(&machine.state, machine.index);
        let told = told.unwrap().unwrap().repositories.remove(0);
        let change = Change::StorageClass {
            digest: digest(10),
            archived,
        };
        assert_eq!(told.changes, [change]);
    }
}
