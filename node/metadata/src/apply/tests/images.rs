//! Manifests, tags and referrers.

use entrepot_oci::{Algorithm, Digest};

use super::{Machine, account, app, digest, image, index_of, tag, unknown};
use crate::command::{DeleteManifest, DeleteTag, ImageState, PutManifest};
use crate::response::{ManifestDeleted, ManifestPut, Outcome, Referenced, Refused, TagFound};
use crate::store::Writes;
use crate::{keys, query};

fn put(created: bool) -> ManifestPut {
    ManifestPut {
        created,
        ..ManifestPut::default()
    }
}

#[test]
fn a_manifest_is_found_as_it_was_pushed() {
    let mut machine = Machine::with_app();
    let push = PutManifest {
        artifact_type: Some("application/vnd.example".to_owned()),
        subject: Some(digest(50).to_string()),
        ..image(10, &[2, 1, 2], &["v1"])
    };
    assert_eq!(machine.pushed(push), put(true));
    let found = query::manifest(&machine.state, &account(), &app(), &digest(10))
        .unwrap()
        .unwrap();
    let mut blobs = vec![digest(1), digest(2)];
    blobs.sort();
    assert_eq!(found.content, vec![10; 10]);
    assert_eq!(
        found.entry,
        query::ManifestEntry {
            digest: digest(10),
            media_type: entrepot_oci::media_type::OCI_MANIFEST.parse().unwrap(),
            content_len: 10,
            artifact_type: Some("application/vnd.example".parse().unwrap()),
            subject: Some(digest(50)),
            blobs,
            children: vec![],
            absent: vec![],
            size: 300,
            pushed_at_ms: 20,
            index: machine.index,
            archived_at_ms: None,
            activated_at_ms: None,
            age_index: machine.index,
            last_archived_at_ms: None,
        }
    );
    assert_eq!(machine.tag_digest("v1"), Some(digest(10)));
}

#[test]
fn a_manifest_needs_its_blobs_and_children() {
    let mut machine = Machine::with_app();
    let refused = machine.refused(image(10, &[8, 1, 9], &["v1"]));
    assert_eq!(refused, Refused::BlobsUnknown(unknown(&[8, 9])));
    machine.done(image(10, &[1], &[]));
    let refused = machine.refused(index_of(20, &[10, 11]));
    assert_eq!(refused, Refused::ManifestsUnknown(unknown(&[11])));
    machine.done(index_of(20, &[10]));
}

#[test]
fn the_manifests_of_an_image_are_counted_up_to_a_limit() {
    let mut machine = Machine::with_app();
    for number in [10, 11, 12] {
        machine.done(image(number, &[1], &[]));
    }
    machine.done(index_of(20, &[10, 11]));
    machine.done(index_of(21, &[10, 12, 20]));
    let size = |children: &[u8], limit| {
        let children: Vec<_> = children.iter().copied().map(digest).collect();
        query::image_size(&machine.state, &account(), &app(), &children, limit).unwrap()
    };
    let complete = |manifests| query::ImageSize {
        manifests,
        complete: true,
    };
    assert_eq!(size(&[], 10), complete(1));
    assert_eq!(size(&[10, 11], 10), complete(3));
    // Itself, 20, 21; by 20: 10, 11; by 21: 10, 12, 20.
    assert_eq!(size(&[20, 21], 10), complete(8));
    assert!(size(&[20, 21], 7).manifests > 7);
    assert!(!size(&[20, 30], 10).complete);
}

#[test]
fn a_refused_push_makes_no_repository() {
    let mut machine = Machine::default();
    let push = PutManifest {
        create_repository: true,
        ..image(10, &[1], &[])
    };
    assert_eq!(machine.refused(push), Refused::BlobsUnknown(unknown(&[1])));
    let push = image(10, &[], &[]);
    assert_eq!(
        machine.refused(push.clone()),
        Refused::RepositoryUnknown("app".to_owned())
    );
    let push = PutManifest {
        create_repository: true,
        ..push
    };
    assert!(machine.pushed(push).repository_created);
}

#[test]
fn a_second_push_changes_nothing() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    let first = (
        machine.tag("v1"),
        query::manifest(&machine.state, &account(), &app(), &digest(10)).unwrap(),
    );
    let again = PutManifest {
        at_ms: 99,
        media_type: "application/other".to_owned(),
        ..image(10, &[1], &["v1"])
    };
    assert_eq!(machine.pushed(again), put(false));
    let second = (
        machine.tag("v1"),
        query::manifest(&machine.state, &account(), &app(), &digest(10)).unwrap(),
    );
    assert_eq!(second, first);
}

#[test]
fn a_tag_moves_with_its_index() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1", "latest"]));
    machine.done(image(11, &[2], &["latest"]));
    let tags_of =
        |number| query::tags_of(&machine.state, &account(), &app(), &digest(number), 10).unwrap();
    assert_eq!(machine.tag_digest("latest"), Some(digest(11)));
    assert_eq!(tags_of(10), [tag("v1")]);
    assert_eq!(tags_of(11), [tag("latest")]);
}

#[test]
fn tags_are_listed_in_pages() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[], &["b", "a", "B", "a.1", "_"]));
    let page = |after, limit| -> Vec<String> {
        query::tags(&machine.state, &account(), &app(), after, limit)
            .unwrap()
            .iter()
            .map(|entry| entry.tag.to_string())
            .collect()
    };
    assert_eq!(page(None, 10), ["B", "_", "a", "a.1", "b"]);
    assert_eq!(page(Some("a"), 1), ["a.1"]);
    assert_eq!(page(Some("a.0"), 10), ["a.1", "b"]);
}

#[test]
fn a_deleted_tag_leaves_the_manifest() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1", "v2"]));
    let delete = DeleteTag::new(&account(), &app(), &tag("v1"));
    machine.done(delete.clone());
    assert_eq!(
        machine.refused(delete),
        Refused::TagUnknown("v1".to_owned())
    );
    assert_eq!(machine.tag("v1"), None);
    assert_eq!(machine.tag_digest("v2"), Some(digest(10)));
}

#[test]
fn a_deleted_manifest_takes_all_of_its_own_along() {
    let mut machine = Machine::with_app();
    let before = machine.state.len();
    let push = PutManifest {
        subject: Some(digest(50).to_string()),
        ..image(10, &[1, 2], &["v1", "v2"])
    };
    machine.done(push);
    let delete = DeleteManifest::new(&account(), &app(), &digest(10));
    let tags = vec!["v1".to_owned(), "v2".to_owned()];
    let deleted = Outcome::ManifestDeleted(ManifestDeleted { tags });
    assert_eq!(machine.done(delete.clone()), deleted);
    // Two envelopes and their slots.
    assert_eq!(machine.state.len(), before + 4);
    assert_eq!(
        machine.refused(delete),
        Refused::ManifestUnknown(digest(10).to_string())
    );
}

#[test]
fn more_tags_than_a_page_go_with_their_manifest() {
    let mut machine = Machine::with_app();
    for start in (0..1_100).step_by(100) {
        let mut push = image(10, &[1], &[]);
        push.tags = (start..start + 100).map(|n| format!("t{n}")).collect();
        machine.done(push);
    }
    let Outcome::ManifestDeleted(deleted) =
        machine.done(DeleteManifest::new(&account(), &app(), &digest(10)))
    else {
        panic!("not deleted");
    };
    assert_eq!(deleted.tags.len(), 1_100);
}

#[test]
fn a_manifest_that_an_index_names_stays() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(index_of(20, &[10]));
    let child = DeleteManifest::new(&account(), &app(), &digest(10));
    let referenced = Referenced {
        digest: digest(10).to_string(),
        by: digest(20).to_string(),
    };
    assert_eq!(
        machine.refused(child.clone()),
        Refused::ManifestReferenced(referenced)
    );
    machine.done(DeleteManifest::new(&account(), &app(), &digest(20)));
    machine.done(child);
}

#[test]
fn nothing_is_deleted_from_an_unknown_repository() {
    let mut machine = Machine::default();
    let unknown = Refused::RepositoryUnknown("app".to_owned());
    let manifest = DeleteManifest::new(&account(), &app(), &digest(1));
    assert_eq!(machine.refused(manifest), unknown);
    let deleted = DeleteTag::new(&account(), &app(), &tag("v1"));
    assert_eq!(machine.refused(deleted), unknown);
}

#[test]
fn referrers_are_found_by_their_subject() {
    let mut machine = Machine::with_app();
    for number in [10, 11, 12] {
        let push = PutManifest {
            subject: Some(digest(50).to_string()),
            ..image(number, &[1], &[])
        };
        machine.done(push);
    }
    machine.done(DeleteManifest::new(&account(), &app(), &digest(12)));
    let page = |after, limit| -> Vec<_> {
        query::referrers(
            &machine.state,
            &account(),
            &app(),
            &digest(50),
            after,
            limit,
        )
        .unwrap()
        .iter()
        .map(|entry| entry.digest)
        .collect()
    };
    let mut all = vec![digest(10), digest(11)];
    all.sort();
    assert_eq!(page(None, 10), all);
    assert_eq!(page(Some(&all[0]), 10), all[1..]);
    assert_eq!(page(None, 1), all[..1]);
}

#[test]
fn referrers_that_vanish_while_they_are_listed_leave_no_gap() {
    let mut machine = Machine::with_app();
    let mut all: Vec<_> = (10..16).map(digest).collect();
    all.sort();
    for number in 10..16 {
        machine.done(PutManifest {
            subject: Some(digest(50).to_string()),
            ..image(number, &[1], &[])
        });
    }
    // The views of a store move on between two reads: the index was read, then
    // the manifests went.
    let gone = Writes {
        entries: all[..4]
            .iter()
            .map(|gone| (keys::manifest(&account(), &app(), gone).into_bytes(), None))
            .collect(),
    };
    machine.state.apply_writes(&gone);
    for limit in 0..4 {
        let page =
            query::referrers(&machine.state, &account(), &app(), &digest(50), None, limit).unwrap();
        let page: Vec<_> = page.iter().map(|entry| entry.digest).collect();
        assert_eq!(page, all[4..(4 + limit).min(6)], "{limit}");
    }
}

#[test]
fn manifests_are_listed_by_digest_whatever_its_algorithm() {
    let mut machine = Machine::with_app();
    let long = entrepot_oci::Digest::of(Algorithm::Sha512, b"x");
    machine.done(PutManifest {
        digest: long.to_string(),
        ..image(10, &[1], &["long"])
    });
    machine.done(image(11, &[1], &[]));
    let page = |after, limit| -> Vec<_> {
        query::manifests(&machine.state, &account(), &app(), after, limit)
            .unwrap()
            .iter()
            .map(|entry| entry.digest)
            .collect()
    };
    assert_eq!(page(None, 10), [digest(11), long]);
    assert_eq!(page(Some(&digest(11)), 10), [long]);
}

#[test]
fn an_image_that_is_not_as_expected_any_more_stays() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[], &["a", "b"]));
    let index = query::manifest_entry(&machine.state, &account(), &app(), &digest(10));
    let index = index.unwrap().unwrap().index;
    let delete = |index: u64, tags: &[&str]| DeleteManifest {
        expected: Some(ImageState {
            index,
            tags: tags.iter().map(ToString::to_string).collect(),
            archived_at_ms: None,
        }),
        ..DeleteManifest::new(&account(), &app(), &digest(10))
    };
    let unlike = |tag: &str, digest: Option<Digest>| {
        Refused::TagNotAsExpected(TagFound {
            tag: tag.to_owned(),
            digest: digest.map(|digest| digest.to_string()),
        })
    };
    assert_eq!(
        machine.refused(delete(index, &["a"])),
        unlike("b", Some(digest(10)))
    );
    assert_eq!(
        machine.refused(delete(index, &[])),
        unlike("a", Some(digest(10)))
    );
    assert_eq!(
        machine.refused(delete(index, &["a", "b", "c"])),
        unlike("c", None)
    );
    // The same number of tags.
    assert_eq!(
        machine.refused(delete(index, &["a", "c"])),
        unlike("b", Some(digest(10)))
    );
    let another = Refused::ManifestUnknown(digest(10).to_string());
    assert_eq!(machine.refused(delete(index + 1, &["a", "b"])), another);
    machine.done(delete(index, &["a", "b"]));
    assert_eq!(machine.tag_digest("a"), None);
    assert_eq!(machine.refused(delete(index, &["a", "b"])), another);
}
