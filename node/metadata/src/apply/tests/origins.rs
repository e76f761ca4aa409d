//! Several sources of one repository: what one of them does is nothing to what the
//! others, and the pushes here, have brought.

use entrepot_oci::RepositoryName;

use super::{Machine, account, app, digest, image, index_of, region, replica, replica_of, tag};
use crate::command::{Command, DeleteManifest, DeleteReplica, DeleteTag, PutManifest};
use crate::query::{self, Source, TagOrigin};
use crate::response::Refused;

const OWN: &str = "123456789012";
const OTHER: &str = "210987654321";

fn from(account: &str, name: &str, sequence: u64) -> TagOrigin {
    let (account, name) = (account.parse().unwrap(), name.parse().unwrap());
    TagOrigin {
        source: Source::new(&region("us-east-1"), &account, &name),
        sequence,
    }
}

fn push(number: u8, tags: &[&str], origin: &TagOrigin) -> PutManifest {
    replica_of(image(number, &[1], tags), origin)
}

fn delete(number: u8, name: Option<&str>, origin: &TagOrigin) -> DeleteReplica {
    let name = name.map(tag);
    DeleteReplica::new(&account(), &app(), &digest(number), name.as_ref(), origin)
}

fn has(machine: &Machine, number: u8) -> bool {
    let found = query::manifest_entry(&machine.state, &account(), &app(), &digest(number));
    found.unwrap().is_some()
}

#[test]
fn neither_accounts_nor_mapped_repositories_of_a_region_order_each_other() {
    for (account, name) in [(OTHER, "app"), (OWN, "team/app"), (OTHER, "team/app")] {
        let mut machine = Machine::with_app();
        machine.done(push(10, &["v1"], &from(OWN, "app", 20)));
        let late = machine.pushed(push(11, &["v1"], &from(account, name, 3)));
        assert_eq!(late.tags_kept, [""; 0]);
        assert_eq!(machine.tag_digest("v1"), Some(digest(11)));
        // The first one's deletions are not the second one's.
        machine.done(delete(11, None, &from(OWN, "app", 21)));
        assert!(has(&machine, 11));
        assert!(
            machine
                .pushed(push(12, &[], &from(account, name, 4)))
                .created
        );
        assert_eq!(machine.tag_digest("v1"), Some(digest(11)));
    }
}

#[test]
fn what_a_region_was_before_it_had_accounts_is_its_repository_of_the_same_name() {
    let mut machine = Machine::with_app();
    machine.done(replica(image(10, &[1], &["v1"]), "us-east-1", 20));
    let origin = machine.tag("v1").unwrap().origin.unwrap();
    assert_eq!(origin, from(OWN, "app", 20));
    let late = machine.pushed(push(11, &["v1"], &from(OWN, "app", 19)));
    assert_eq!(late.tags_kept, ["v1"]);
    machine.done(delete(10, Some("v1"), &from(OWN, "app", 21)));
    assert_eq!(machine.tag("v1"), None);
}

#[test]
fn a_deleted_tag_goes_only_where_its_source_set_it_last() {
    let mut machine = Machine::with_app();
    machine.done(push(10, &["v1"], &from(OWN, "app", 20)));
    machine.done(image(10, &[1], &["v1"]));
    machine.done(delete(10, Some("v1"), &from(OWN, "app", 21)));
    assert_eq!(machine.tag_digest("v1"), Some(digest(10)));
    machine.done(push(10, &["v1"], &from(OTHER, "app", 5)));
    machine.done(delete(10, Some("v1"), &from(OWN, "app", 22)));
    assert_eq!(machine.tag_digest("v1"), Some(digest(10)));
    machine.done(delete(10, Some("v1"), &from(OTHER, "app", 6)));
    assert_eq!(machine.tag("v1"), None);
    assert!(has(&machine, 10));
}

#[test]
fn an_image_goes_with_the_last_of_those_that_brought_it() {
    let mut machine = Machine::with_app();
    machine.done(push(10, &["v1"], &from(OWN, "app", 20)));
    machine.done(push(10, &["v2"], &from(OTHER, "app", 5)));
    machine.done(delete(10, None, &from(OWN, "app", 21)));
    assert_eq!(machine.tag("v1"), None);
    assert_eq!(machine.tag_digest("v2"), Some(digest(10)));
    // Once more, which changes nothing.
    machine.done(delete(10, None, &from(OWN, "app", 21)));
    machine.done(delete(10, None, &from(OWN, "app", 22)));
    assert!(has(&machine, 10));
    machine.done(delete(10, None, &from(OTHER, "app", 6)));
    assert!(!has(&machine, 10));
    // Neither source's late copies bring it back.
    machine.done(push(10, &["v1"], &from(OWN, "app", 20)));
    machine.done(push(10, &["v2"], &from(OTHER, "app", 5)));
    assert!(!has(&machine, 10));
    assert!(
        machine
            .pushed(push(10, &[], &from(OTHER, "app", 7)))
            .created
    );
}

#[test]
fn what_was_pushed_here_too_stays_with_its_tags_and_without_any() {
    let own = || -> [Command; 2] {
        [
            image(10, &[1], &["mine"]).into(),
            image(11, &[1], &[]).into(),
        ]
    };
    let brought = || -> [Command; 2] {
        [
            push(10, &["v1"], &from(OTHER, "app", 5)).into(),
            push(11, &["v2"], &from(OTHER, "app", 6)).into(),
        ]
    };
    for order in [[own(), brought()], [brought(), own()]] {
        let mut machine = Machine::with_app();
        for command in order.into_iter().flatten() {
            machine.done(command);
        }
        machine.done(delete(10, None, &from(OTHER, "app", 7)));
        machine.done(delete(11, None, &from(OTHER, "app", 8)));
        assert_eq!(machine.tag_digest("mine"), Some(digest(10)));
        assert_eq!((machine.tag("v1"), machine.tag("v2")), (None, None));
        assert!(has(&machine, 11));
    }
}

#[test]
fn what_was_deleted_here_is_nobodys_any_more() {
    let mut machine = Machine::with_app();
    machine.done(push(10, &["v1"], &from(OWN, "app", 20)));
    machine.done(push(10, &[], &from(OTHER, "app", 5)));
    machine.done(DeleteManifest::new(&account(), &app(), &digest(10)));
    machine.done(push(10, &["v1"], &from(OWN, "app", 30)));
    machine.done(delete(10, None, &from(OWN, "app", 31)));
    assert!(!has(&machine, 10));
    // What is pushed here then is not what the other one brought once.
    machine.done(image(10, &[1], &[]));
    machine.done(delete(10, None, &from(OTHER, "app", 6)));
    assert!(has(&machine, 10));
}

#[test]
fn a_deletion_that_comes_before_its_repository_is_not_forgotten() {
    let mut machine = Machine::default();
    machine.done(delete(10, None, &from(OTHER, "app", 6)));
    machine.done(delete(11, Some("v1"), &from(OTHER, "app", 8)));
    let late = PutManifest {
        create_repository: true,
        ..push(10, &["v1"], &from(OTHER, "app", 5))
    };
    assert!(!machine.pushed(late).repository_created);
    let app: RepositoryName = app();
    let found = query::repository(&machine.state, &account(), &app).unwrap();
    assert_eq!(found, None);
    let mut machine = Machine::with_app();
    machine.done(delete(11, Some("v1"), &from(OTHER, "team/app", 8)));
    machine.done(push(11, &["v1"], &from(OTHER, "team/app", 7)));
    assert_eq!(machine.tag("v1"), None);
}

#[test]
fn an_index_keeps_what_it_names_for_as_long_as_somebody_wants_it() {
    let source = |sequence| from(OTHER, "app", sequence);
    let mut machine = Machine::with_app();
    machine.done(push(10, &[], &source(5)));
    machine.done(replica_of(index_of(20, &[10]), &source(6)));
    // Its index is going to be deleted too, in a moment.
    let early = machine.refused(delete(10, None, &source(8)));
    assert!(matches!(early, Refused::ManifestReferenced(_)));
    machine.done(delete(20, None, &source(7)));
    machine.done(delete(10, None, &source(8)));
    assert!(!has(&machine, 10));

    // Another one's index is not, and the deletion does not wait for it.
    let mut machine = Machine::with_app();
    machine.done(push(10, &["v1"], &source(5)));
    machine.done(replica_of(index_of(20, &[10]), &from(OWN, "app", 9)));
    machine.done(delete(10, None, &source(8)));
    assert_eq!(machine.tag("v1"), None);
    assert!(has(&machine, 10));
    machine.done(delete(20, None, &from(OWN, "app", 10)));
    machine.done(delete(10, None, &from(OWN, "app", 11)));
    assert!(!has(&machine, 10));

    let mut machine = Machine::with_app();
    machine.done(push(10, &["v1"], &source(5)));
    machine.done(index_of(20, &[10]));
    machine.done(delete(10, None, &source(8)));
    assert!(has(&machine, 10) && machine.tag("v1").is_none());
    machine.done(DeleteManifest::new(&account(), &app(), &digest(20)));
    machine.done(image(10, &[1], &["v2"]));
    machine.done(DeleteTag::new(&account(), &app(), &tag("v2")));
    assert!(has(&machine, 10));
}
