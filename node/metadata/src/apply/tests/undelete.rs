//! Deleted images stay for a while, come back as they were, or go for good.

use super::{Machine, account, app, digest, image, index_of, replica_of, rule, tag};
use crate::command::{
    Author, BeginCollection, Command, DeleteManifest, DeleteReplica, DeleteRepository, DeleteTag,
    ExpireDeleted, ExpiredImage, Pull, PutManifest, PutRegistrySettings, PutRepositorySettings,
    QuotasChange, RecordPulls, RestoreImage, UnlinkBlob,
};
use crate::keys::Namespace;
use crate::limits::{UNDELETE_WINDOW_MS, UNDELETE_WINDOW_MS_MAX};
use crate::query::{self, Cause, DeletedImage, Source, TagOrigin};
use crate::records::settings::{MutabilityMode, MutabilityRecord};
use crate::response::{DeletedExpired, ImageRestored, Outcome, Refused};
use crate::store::KeyValue as _;

const DELETED_MS: i64 = 30;

fn author() -> Author {
    Author::new("arn:aws:iam::123456789012:root", Cause::Client)
}

fn delete(number: u8) -> DeleteManifest {
    DeleteManifest {
        at_ms: DELETED_MS,
        author: Some(author()),
        ..DeleteManifest::new(&account(), &app(), &digest(number))
    }
}

fn restore(number: u8) -> RestoreImage {
    RestoreImage::new(&account(), &app(), &digest(number), DELETED_MS + 1)
}

fn window(window_ms: u64) -> PutRegistrySettings {
    PutRegistrySettings {
        undelete_window_ms: Some(window_ms),
        ..PutRegistrySettings::new(&account())
    }
}

fn kept(machine: &Machine, number: u8) -> Option<DeletedImage> {
    query::deleted_image(&machine.state, &account(), &app(), &digest(number)).unwrap()
}

fn is_here(machine: &Machine, number: u8) -> bool {
    let found = query::manifest(&machine.state, &account(), &app(), &digest(number)).unwrap();
    found.is_some()
}

fn restored(machine: &mut Machine, command: impl Into<Command>) -> ImageRestored {
    match machine.done(command) {
        Outcome::ImageRestored(restored) => restored,
        other => panic!("{other:?}"),
    }
}

/// What the collector would propose at that time.
fn expire(machine: &mut Machine, cutoff_ms: i64) -> u64 {
    let due = query::due_images(&machine.state, cutoff_ms, 100).unwrap();
    let images = due.iter().map(|it| {
        let digest = &it.image.manifest.digest;
        ExpiredImage::new(&it.account, &it.repository, digest, it.image.index)
    });
    let command = ExpireDeleted {
        images: images.collect(),
        cutoff_ms,
        now: false,
    };
    match machine.done(command) {
        Outcome::DeletedExpired(DeletedExpired {
            images,
            more: false,
        }) => images,
        other => panic!("{other:?}"),
    }
}

/// Else a lifecycle policy would let it go for not having been pulled.
#[test]
fn a_restored_image_was_pulled_when_it_was_pulled() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    let pull = Pull::new(&account().into(), &app(), &digest(10), 25);
    machine.done(RecordPulls {
        pulls: vec![pull],
        at_ms: 25,
    });
    let pulled = |machine: &Machine| {
        query::pulled_at_ms(&machine.state, &account(), &app(), &digest(10)).unwrap()
    };
    machine.done(delete(10));
    assert_eq!(pulled(&machine), None);
    restored(&mut machine, restore(10));
    assert_eq!(pulled(&machine), Some(25));
}

#[test]
fn a_deleted_image_comes_back_as_it_was() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1, 2], &["v1", "v2"]));
    let before = query::manifest(&machine.state, &account(), &app(), &digest(10)).unwrap();
    let before = before.unwrap();
    machine.done(delete(10));
    assert!(!is_here(&machine, 10));
    assert_eq!(machine.tag("v1"), None);
    let found = kept(&machine, 10).unwrap();
    assert_eq!(found.manifest, before.entry);
    assert_eq!(found.tags, [tag("v1"), tag("v2")]);
    let window_ms = i64::try_from(UNDELETE_WINDOW_MS).unwrap();
    assert_eq!(found.until_ms, DELETED_MS + window_ms);
    assert_eq!(found.cause, Cause::Client);

    let back = restored(&mut machine, restore(10));
    let expected = ImageRestored {
        manifests: 1,
        tags: vec!["v1".to_owned(), "v2".to_owned()],
        tags_kept: Vec::new(),
        tasks: 0,
    };
    assert_eq!(back, expected);
    assert_eq!(kept(&machine, 10), None);
    let after = query::manifest(&machine.state, &account(), &app(), &digest(10)).unwrap();
    let after = after.unwrap();
    assert_eq!(after.content, before.content);
    // Who has decided on the one before does not mean this one.
    assert!(after.entry.index > before.entry.index);
    assert_eq!(after.entry.pushed_at_ms, before.entry.pushed_at_ms);
    assert_eq!(after.entry.age_index, before.entry.index);
    assert_eq!(machine.tag_digest("v2"), Some(digest(10)));
    assert_eq!(
        machine.refused(restore(10)),
        Refused::NotDeleted(digest(10).to_string())
    );
}

#[test]
fn nothing_is_kept_without_a_window_or_by_an_older_release() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(DeleteManifest {
        author: None,
        ..delete(10)
    });
    assert_eq!(kept(&machine, 10), None);
    machine.done(window(0));
    machine.done(image(10, &[1], &["v1"]));
    machine.done(delete(10));
    assert_eq!(kept(&machine, 10), None);
    assert_eq!(
        machine.refused(restore(10)),
        Refused::DeletedUnknown(digest(10).to_string())
    );
    // A lifecycle policy may say otherwise.
    machine.done(image(10, &[1], &["v1"]));
    let author = Author {
        window_ms: Some(5),
        ..Author::new("", Cause::Lifecycle)
    };
    machine.done(DeleteManifest {
        author: Some(author),
        ..delete(10)
    });
    assert_eq!(kept(&machine, 10).unwrap().until_ms, DELETED_MS + 5);
    let refused = machine.refused(window(UNDELETE_WINDOW_MS_MAX + 1));
    assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
}

#[test]
fn blobs_stay_linked_while_their_image_can_be_restored_and_not_longer() {
    let mut machine = Machine::with_app();
    machine.done(BeginCollection {});
    machine.done(window(10));
    machine.done(image(10, &[1], &[]));
    machine.done(delete(10));
    let unlink = UnlinkBlob::new(&account(), &app(), &digest(1));
    assert!(matches!(
        machine.refused(unlink.clone()),
        Refused::BlobReferenced(_)
    ));
    let late = RestoreImage {
        at_ms: DELETED_MS + 10,
        ..restore(10)
    };
    let refused = machine.refused(late);
    assert_eq!(refused, Refused::WindowPassed(digest(10).to_string()));
    assert_eq!(expire(&mut machine, DELETED_MS + 9), 0);
    let unused = |machine: &Machine| {
        let links = query::unused_links(&machine.state, i64::MAX, None, 100).unwrap();
        let first = digest(1).to_string();
        links.iter().filter(|link| link.digest == first).count()
    };
    // As a candidate since it was linked, and once more since it was released.
    let before = unused(&machine);
    assert_eq!(expire(&mut machine, DELETED_MS + 10), 1);
    assert_eq!(unused(&machine), before + 1);
    assert_eq!(kept(&machine, 10), None);
    machine.done(unlink);
    assert!(matches!(
        machine.refused(restore(10)),
        Refused::DeletedUnknown(_)
    ));
}

#[test]
fn one_that_came_back_does_not_expire() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &[]));
    machine.done(delete(10));
    let first = kept(&machine, 10).unwrap();
    let expire = ExpireDeleted {
        images: vec![ExpiredImage::new(
            &account(),
            &app(),
            &digest(10),
            first.index,
        )],
        cutoff_ms: i64::MAX,
        now: true,
    };
    let nothing = Outcome::DeletedExpired(DeletedExpired::default());
    machine.done(restore(10));
    assert_eq!(machine.done(expire.clone()), nothing);
    machine.done(delete(10));
    assert_eq!(machine.done(expire), nothing);
    assert!(kept(&machine, 10).is_some());
}

#[test]
fn a_push_of_the_same_image_takes_its_place() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1, 2], &["v1"]));
    machine.done(delete(10));
    let put = machine.pushed(image(10, &[1, 2], &["v3"]));
    assert!(put.created);
    assert_eq!(kept(&machine, 10), None);
    assert_eq!(machine.tag("v1"), None);
}

#[test]
fn an_index_comes_back_with_its_manifests() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &[]));
    machine.done(image(11, &[2], &["child"]));
    machine.done(index_of(12, &[10, 11]));
    machine.done(delete(12));
    machine.done(delete(10));
    machine.done(delete(11));
    assert_eq!(restored(&mut machine, restore(12)).manifests, 3);
    assert!(is_here(&machine, 10) && is_here(&machine, 11));
    // Of its manifests, what they were alone.
    assert_eq!(machine.tag("child"), None);

    // One of them went for good.
    machine.done(delete(12));
    machine.done(DeleteManifest {
        author: None,
        ..delete(10)
    });
    let refused = machine.refused(restore(12));
    assert_eq!(refused, Refused::ChildrenGone(super::unknown(&[10])));
}

#[test]
fn a_tag_that_has_moved_on_stays_where_it_is() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1", "v2"]));
    machine.done(delete(10));
    machine.done(image(11, &[1], &["v1"]));
    let immutable = PutRepositorySettings {
        mutability: Some(MutabilityRecord {
            mode: MutabilityMode::Immutable.into(),
            filters: Vec::new(),
        }),
        ..PutRepositorySettings::new(&account(), &app())
    };
    machine.done(immutable);
    assert!(matches!(
        machine.refused(restore(10)),
        Refused::TagImmutable(_)
    ));
    let untagged = RestoreImage {
        without_tags: true,
        ..restore(10)
    };
    assert_eq!(restored(&mut machine, untagged).tags, [""; 0]);
    machine.done(PutRepositorySettings {
        mutability: Some(MutabilityRecord::default()),
        ..PutRepositorySettings::new(&account(), &app())
    });
    machine.done(image(10, &[1], &["v3"]));
    machine.done(delete(10));
    machine.done(image(11, &[1], &["v3"]));
    let back = restored(&mut machine, restore(10));
    assert_eq!((back.tags, back.tags_kept), (vec![], vec!["v3".to_owned()]));
}

#[test]
fn what_comes_back_counts_and_is_copied_like_a_push() {
    let mut machine = Machine::with_app();
    machine.done(rule("all", &[], "eu-west-1"));
    machine.done(PutRegistrySettings {
        quotas: Some(QuotasChange {
            images: Some(1),
            ..QuotasChange::default()
        }),
        ..PutRegistrySettings::new(&account())
    });
    machine.done(image(10, &[1], &["v1"]));
    machine.done(delete(10));
    assert_eq!(machine.open_tasks(), []);
    machine.done(image(11, &[1], &[]));
    assert!(matches!(
        machine.refused(restore(10)),
        Refused::QuotaReached(_)
    ));
    machine.done(delete(11));
    assert_eq!(restored(&mut machine, restore(10)).tasks, 1);
    let tasks = machine.open_tasks();
    assert!(tasks.iter().any(|task| task.key.tag == Some(tag("v1"))));
}

#[test]
fn the_last_tag_and_a_deletion_elsewhere_leave_it_too() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(DeleteTag {
        with_manifest: true,
        at_ms: DELETED_MS,
        author: Some(author()),
        ..DeleteTag::new(&account(), &app(), &tag("v1"))
    });
    assert_eq!(kept(&machine, 10).unwrap().tags, [tag("v1")]);
    assert_eq!(restored(&mut machine, restore(10)).tags, ["v1"]);

    let origin = TagOrigin {
        source: Source {
            region: super::region("ap-south-1"),
            account: account().into(),
            repository: app(),
        },
        sequence: 7,
    };
    machine.done(replica_of(image(11, &[2], &["v2"]), &origin));
    let origin = TagOrigin {
        sequence: 8,
        ..origin
    };
    machine.done(DeleteReplica {
        at_ms: DELETED_MS,
        author: Some(Author::new("ap-south-1", Cause::Replication)),
        ..DeleteReplica::new(&account(), &app(), &digest(11), None, &origin)
    });
    let found = kept(&machine, 11).unwrap();
    assert_eq!(
        (found.cause, found.tags),
        (Cause::Replication, vec![tag("v2")])
    );
    assert_eq!(restored(&mut machine, restore(11)).manifests, 1);
    // It is this registry's own now: what its source deletes is not about it.
    let origin = TagOrigin {
        sequence: 9,
        ..origin
    };
    let again = DeleteReplica::new(&account(), &app(), &digest(11), None, &origin);
    machine.done(again);
    assert!(is_here(&machine, 11));
}

#[test]
fn nothing_of_a_repository_can_be_restored_once_it_is_gone() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(PutManifest {
        subject: Some(digest(10).to_string()),
        ..image(11, &[2], &[])
    });
    machine.done(delete(10));
    machine.done(delete(11));
    // It has no images.
    machine.done(DeleteRepository::new(&account(), &app(), 1));
    let ends = [Namespace::Deleted as u8, Namespace::DeletedUntil as u8 + 1];
    let left = machine.state.scan(&ends[..1], &ends[1..], 10).unwrap();
    assert_eq!(left, []);
    assert!(matches!(
        machine.refused(restore(10)),
        Refused::RepositoryUnknown(_)
    ));
}
