//! Repositories go with all that is theirs, step by step, and nothing comes
//! meanwhile.

use bytes::Bytes;

use super::{Machine, account, app, digest, image, index_of, link, replica, repository, rule};
use crate::command::{
    CreateRepository, DeleteManifest, DeleteRepository, DeleteTag, LinkBlob, MountBlob,
    PutManifest, PutRepositorySettings,
};
use crate::limits::{CHANGES_PER_ENTRY_MAX, DELETION_STEP_PAIRS};
use crate::query;
use crate::response::{Outcome, Refused, RepositoryDeleted};
use crate::store::Writes;
use crate::{apply, command, keys};

fn found(machine: &Machine) -> Option<query::Repository> {
    query::repository(&machine.state, &account(), &app()).unwrap()
}

/// Of the repository that there is.
fn delete(machine: &Machine) -> DeleteRepository {
    let index = found(machine).map_or(0, |found| found.index);
    DeleteRepository::new(&account(), &app(), index)
}

fn forced(machine: &Machine) -> DeleteRepository {
    DeleteRepository {
        force: true,
        ..delete(machine)
    }
}

fn deleted(machine: &mut Machine, command: DeleteRepository) -> RepositoryDeleted {
    match machine.done(command) {
        Outcome::RepositoryDeleted(deleted) => deleted,
        other => panic!("{other:?}"),
    }
}

/// With so many images of one tag each.
fn with_images(images: u16) -> Machine {
    let mut machine = Machine::with_app();
    let index = machine.index;
    // Without the checks after each step, which read everything.
    for number in 0..images {
        let name = format!("v{number}");
        let push = PutManifest {
            digest: numbered(number).to_string(),
            content: Bytes::from(vec![7; 10]),
            ..image(0, &[1], &[&name])
        };
        machine.index += 1;
        let id = u128::from(machine.index).to_be_bytes();
        let envelope = command::Envelope::new(id, push.into()).to_bytes();
        let (writes, _) = apply(&machine.state, machine.index, &envelope).unwrap();
        machine.state.apply_writes(&writes);
    }
    assert_eq!(machine.index, index + u64::from(images));
    machine
}

fn numbered(number: u16) -> entrepot_oci::Digest {
    entrepot_oci::Digest::of(entrepot_oci::Algorithm::Sha256, &number.to_be_bytes())
}

#[test]
fn an_empty_repository_goes_with_its_links() {
    let mut machine = Machine::with_app();
    machine.done(CreateRepository::new(&account(), &repository("app2"), 1));
    machine.done(link("app2", 1));
    let command = delete(&machine);
    assert_eq!(deleted(&mut machine, command), RepositoryDeleted::default());
    assert_eq!(found(&machine), None);
    let links = query::links(&machine.state, &account(), &digest(1), 10).unwrap();
    assert_eq!(links, [repository("app2")]);
    // What is known of a blob stays.
    assert!(query::blob(&machine.state, &digest(2)).unwrap().is_some());
}

#[test]
fn one_with_images_goes_only_by_force_and_leaves_nothing() {
    let mut machine = Machine::default();
    machine.done(rule("all", &[], "eu-west-1"));
    machine.done(LinkBlob {
        create_repository: true,
        ..link("app", 1)
    });
    let empty: Vec<Vec<u8>> = keys_of(&Machine::default());
    machine.done(image(10, &[1], &["v1", "v2"]));
    machine.done(replica(image(11, &[1], &["v3"]), "ap-south-1", 7));
    machine.done(index_of(12, &[10, 11]));
    machine.done(PutManifest {
        subject: Some(digest(12).to_string()),
        ..image(13, &[1], &[])
    });
    let command = delete(&machine);
    let refused = machine.refused(command.clone());
    assert_eq!(refused, Refused::RepositoryNotEmpty("app".to_owned()));
    let expected = RepositoryDeleted {
        manifests: 4,
        tags: 3,
        more: false,
    };
    let command = forced(&machine);
    assert_eq!(deleted(&mut machine, command.clone()), expected);
    assert_eq!(found(&machine), None);
    assert_eq!(keys_of(&machine), empty);
    // Whoever did not hear of it asks again.
    assert_eq!(deleted(&mut machine, command), RepositoryDeleted::default());
}

/// The keys that belong to repositories.
fn keys_of(machine: &Machine) -> Vec<Vec<u8>> {
    let first = keys::Namespace::Link as u8;
    let of_repositories = |key: &[u8]| key[0] >= first || key[0] == 0x20;
    machine
        .state
        .iter()
        .map(|(key, _)| key.to_vec())
        .filter(|key| of_repositories(key))
        .collect()
}

#[test]
fn one_of_the_same_name_that_was_made_since_stays() {
    let mut machine = Machine::with_app();
    let command = delete(&machine);
    machine.done(command.clone());
    machine.done(CreateRepository::new(&account(), &app(), 9));
    assert_eq!(deleted(&mut machine, command), RepositoryDeleted::default());
    assert!(found(&machine).is_some_and(|found| !found.deleting));
}

#[test]
fn each_step_is_bounded_and_the_next_one_goes_on() {
    let images = 1_500;
    let mut machine = with_images(images);
    let command = forced(&machine);
    let mut total = RepositoryDeleted::default();
    let mut steps = 0;
    loop {
        let index = machine.index + 1;
        let envelope = command::Envelope::new([9; 16], command.clone().into());
        let (writes, _) = apply(&machine.state, index, &envelope.to_bytes()).unwrap();
        // The envelope's two, the repository's, and those of one image more.
        assert!(
            writes.len() <= DELETION_STEP_PAIRS + 3 + 3,
            "{}",
            writes.len()
        );
        // The invariants hold after each step.
        let step = deleted(&mut machine, command.clone());
        let entry = query::changes(&machine.state, index).unwrap().unwrap();
        let changed = &entry.repositories[0];
        assert!(!changed.truncated && changed.changes.len() <= CHANGES_PER_ENTRY_MAX);
        total.manifests += step.manifests;
        total.tags += step.tags;
        steps += 1;
        // Without force: it was forced already.
        let again = delete(&machine);
        assert_eq!(found(&machine).is_some_and(|it| it.deleting), step.more);
        if !step.more {
            break;
        }
        assert_eq!(again.index, command.index);
    }
    assert_eq!(
        (total.manifests, total.tags),
        (images.into(), images.into())
    );
    assert_eq!(steps, 4);
    assert_eq!(found(&machine), None);
}

#[test]
fn an_unfinished_deletion_needs_no_force_to_go_on() {
    let mut machine = with_images(1_001);
    let command = forced(&machine);
    assert!(deleted(&mut machine, command).more);
    let command = delete(&machine);
    while deleted(&mut machine, command.clone()).more {}
    assert_eq!(found(&machine), None);
}

#[test]
fn what_is_being_deleted_takes_nothing() {
    let mut machine = with_images(1_001);
    machine.done(CreateRepository::new(&account(), &repository("other"), 1));
    let command = forced(&machine);
    assert!(deleted(&mut machine, command).more);
    let deleting = Refused::RepositoryDeleting("app".to_owned());
    let app_again = CreateRepository::new(&account(), &app(), 2);
    assert_eq!(machine.refused(app_again), deleting);
    let linked = LinkBlob {
        create_repository: true,
        ..link("app", 1)
    };
    assert_eq!(machine.refused(linked), deleting);
    let mount = |from: &str, to: &str| {
        let (from, to) = (repository(from), repository(to));
        MountBlob::new(&account(), &from, &to, &digest(1), 3)
    };
    assert_eq!(machine.refused(mount("app", "app")), deleting);
    assert_eq!(machine.refused(image(200, &[1], &["v0"])), deleting);
    let settings = PutRepositorySettings {
        sparse_indexes: Some(true),
        ..PutRepositorySettings::new(&account(), &app())
    };
    assert_eq!(machine.refused(settings), deleting);
    // What it still has may be used, and may go by itself.
    machine.done(mount("app", "other"));
    machine.done(DeleteManifest::new(&account(), &app(), &numbered(0)));
    let left = query::tags(&machine.state, &account(), &app(), None, 1).unwrap();
    machine.done(DeleteTag::new(&account(), &app(), &left[0].tag));
}

#[test]
fn an_index_may_outlive_its_manifests_only_while_all_of_it_goes() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &[]));
    machine.done(index_of(12, &[10]));
    let refused = machine.refused(DeleteManifest::new(&account(), &app(), &digest(10)));
    assert!(matches!(refused, Refused::ManifestReferenced(_)));
    // As a step leaves it that has no room for the second.
    let key = keys::repository(&account(), &app());
    let mut record: crate::records::RepositoryRecord =
        crate::read::record(&machine.state, &key).unwrap().unwrap();
    let mut overlay = crate::overlay::Overlay::new(&machine.state);
    let entry = query::manifest_entry(&machine.state, &account(), &app(), &digest(10));
    let entry = entry.unwrap().unwrap();
    super::super::manifests::remove(&mut overlay, &account(), &app(), &entry).unwrap();
    let Writes { mut entries } = overlay.into_writes();
    let mut state = machine.state.clone();
    state.apply_writes(&Writes {
        entries: entries.clone(),
    });
    assert!(crate::invariants::check(&state).is_err());
    record.deleting = true;
    let marked = Bytes::from(prost::Message::encode_to_vec(&record));
    entries.push((key.into_bytes(), Some(marked)));
    machine.state.apply_writes(&Writes { entries });
    crate::invariants::check(&machine.state).unwrap();
    let command = delete(&machine);
    assert_eq!(deleted(&mut machine, command).manifests, 1);
    assert_eq!(found(&machine), None);
}
