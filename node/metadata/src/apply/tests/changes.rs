//! What an entry is remembered to have changed.

use super::{Machine, account, app, digest, image, link, replica, tag};
use crate::command::{
    Author, DeleteManifest, DeleteTag, PutManifest, RestoreImage, SetStorageClass,
};
use crate::limits::{CHANGES_PER_ENTRY_MAX, ENVELOPES_KEPT, TAGS_PER_PUSH_MAX};
use crate::query::{self, Cause, Change, RepositoryChanges};

impl Machine {
    /// What the last entry changed in `app`.
    #[track_caller]
    fn changes(&self) -> Vec<Change> {
        let mut repositories = self.repositories();
        let Some(last) = repositories.pop() else {
            return Vec::new();
        };
        assert!(repositories.is_empty());
        assert_eq!((last.account, last.repository), (account().into(), app()));
        assert!(!last.truncated);
        last.changes
    }

    fn repositories(&self) -> Vec<RepositoryChanges> {
        let entry = query::changes(&self.state, self.index).unwrap().unwrap();
        entry.repositories
    }
}

fn put(number: u8) -> Change {
    Change::ManifestPut {
        digest: digest(number),
        media_type: entrepot_oci::media_type::OCI_MANIFEST.parse().unwrap(),
        artifact_type: None,
        subject: None,
    }
}

fn moved(name: &str, to: u8, from: Option<u8>) -> Change {
    Change::TagMoved {
        tag: tag(name),
        digest: digest(to),
        previous: from.map(digest),
        source_region: None,
    }
}

fn deleted(name: &str, from: u8) -> Change {
    Change::TagDeleted {
        tag: tag(name),
        previous: Some(digest(from)),
    }
}

#[test]
fn a_push_is_told_before_the_tags_that_it_moves() {
    let mut machine = Machine::with_app();
    assert_eq!(machine.changes(), []);
    machine.done(PutManifest {
        artifact_type: Some("application/vnd.example".to_owned()),
        subject: Some(digest(50).to_string()),
        ..image(10, &[1], &["v1", "latest"])
    });
    let first = Change::ManifestPut {
        digest: digest(10),
        media_type: entrepot_oci::media_type::OCI_MANIFEST.parse().unwrap(),
        artifact_type: Some("application/vnd.example".parse().unwrap()),
        subject: Some(digest(50)),
    };
    let changes = machine.changes();
    assert_eq!(
        changes,
        [first, moved("latest", 10, None), moved("v1", 10, None)]
    );
    machine.done(image(11, &[1], &["latest"]));
    assert_eq!(machine.changes(), [put(11), moved("latest", 11, Some(10))]);
}

#[test]
fn what_changes_nothing_is_no_change() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(image(10, &[1], &["v1"]));
    assert_eq!(machine.changes(), []);
    machine.done(replica(image(10, &[1], &["v1"]), "eu-west-1", 7));
    assert_eq!(machine.changes(), [], "only where it came from is new");
    machine.refused(image(11, &[9], &["v1"]));
    assert_eq!(machine.changes(), []);
    machine.done(link("app", 4));
    assert_eq!(machine.changes(), []);
}

#[test]
fn a_tag_from_another_region_says_which() {
    let mut machine = Machine::with_app();
    machine.done(replica(image(10, &[1], &["v1"]), "eu-west-1", 7));
    let Some(Change::TagMoved { source_region, .. }) = machine.changes().pop() else {
        panic!("{:?}", machine.changes());
    };
    assert_eq!(source_region.unwrap().as_str(), "eu-west-1");
    // What happens to the tag later does not change that.
    let index = machine.index;
    machine.done(image(11, &[1], &["v1"]));
    assert_eq!(machine.changes()[1], moved("v1", 11, Some(10)));
    let entry = query::changes(&machine.state, index).unwrap().unwrap();
    let told = &entry.repositories[0].changes[1];
    let Change::TagMoved { source_region, .. } = told else {
        panic!("{told:?}");
    };
    assert!(source_region.is_some());
}

#[test]
fn a_manifest_goes_after_its_tags() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["a", "b", "c"]));
    machine.done(DeleteTag::new(&account(), &app(), &tag("b")));
    assert_eq!(machine.changes(), [deleted("b", 10)]);
    machine.done(DeleteManifest::new(&account(), &app(), &digest(10)));
    let gone = Change::ManifestDeleted { digest: digest(10) };
    assert_eq!(
        machine.changes(),
        [deleted("a", 10), deleted("c", 10), gone]
    );
}

/// Whatever it has seen of the archive before it was deleted.
#[test]
fn what_is_restored_has_come() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    let archive = |archive| SetStorageClass::new(&account(), &app(), &digest(10), archive, 25);
    let delete = || DeleteManifest {
        at_ms: 30,
        author: Some(Author::new("root", Cause::Client)),
        ..DeleteManifest::new(&account(), &app(), &digest(10))
    };
    let restore = || RestoreImage::new(&account(), &app(), &digest(10), 31);
    let shelved = |archived| Change::StorageClass {
        digest: digest(10),
        archived,
    };
    machine.done(archive(true));
    assert_eq!(machine.changes(), [shelved(true)]);
    machine.done(delete());
    machine.done(restore());
    let came = machine.changes();
    assert_eq!(came, [put(10), shelved(true), moved("v1", 10, None)]);
    machine.done(archive(false));
    assert_eq!(machine.changes(), [shelved(false)]);
    machine.done(delete());
    machine.done(restore());
    assert_eq!(machine.changes(), [put(10), moved("v1", 10, None)]);
    // A push that takes the place of what was kept, and what goes for good.
    machine.done(delete());
    machine.done(image(10, &[1], &[]));
    assert_eq!(machine.changes(), [put(10)]);
    machine.done(delete());
    machine.done(super::kept::all_due(&machine.state));
    assert_eq!(machine.changes(), []);
}

#[test]
fn an_entry_that_changes_very_much_says_so() {
    let mut machine = Machine::with_app();
    for push in 0..=CHANGES_PER_ENTRY_MAX / TAGS_PER_PUSH_MAX {
        let tags: Vec<String> = (0..TAGS_PER_PUSH_MAX)
            .map(|tag| format!("t-{push}-{tag}"))
            .collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        machine.done(image(10, &[1], &tags));
    }
    machine.done(DeleteManifest::new(&account(), &app(), &digest(10)));
    let [last] = &machine.repositories()[..] else {
        panic!("{:?}", machine.repositories());
    };
    assert_eq!(last.changes.len(), CHANGES_PER_ENTRY_MAX);
    assert!(last.truncated);
}

#[test]
fn an_entry_is_forgotten_when_its_slot_is_taken() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    let index = machine.index;
    machine.index += ENVELOPES_KEPT - 2;
    machine.done(image(11, &[1], &[]));
    let found = query::changes(&machine.state, index).unwrap().unwrap();
    assert_eq!(found.repositories.len(), 1);

    machine.done(link("app", 4));
    assert_eq!(query::changes(&machine.state, index).unwrap(), None);
    // Nothing was proposed between the two.
    let between = query::changes(&machine.state, index + 1).unwrap().unwrap();
    assert!(between.repositories.is_empty());
}
