//! An account's public registry and its private one never mix.

use entrepot_oci::RegistryId;

use super::{Machine, account, app, digest, image, link, rule, tag};
use crate::command::{
    CreateRepository, DeleteRepository, LinkBlob, MountBlob, PutManifest, PutRegistryItem,
    PutRegistrySettings, PutRepositoryText, PutRule, RepositorySpec,
};
use crate::query::{self, ItemKind, TextKind};
use crate::response::Refused;

fn public() -> RegistryId {
    RegistryId::public(&account())
}

fn public_link(number: u8) -> LinkBlob {
    LinkBlob {
        account: public().to_string(),
        ..link("app", number)
    }
}

fn public_image(number: u8, blobs: &[u8], tags: &[&str]) -> PutManifest {
    PutManifest {
        account: public().to_string(),
        ..image(number, blobs, tags)
    }
}

/// `app` in both, with blobs 1 and 2 in the private one.
fn both() -> Machine {
    let mut machine = Machine::with_app();
    machine.done(CreateRepository::new(&public(), &app(), 1));
    machine
}

#[test]
fn content_of_one_is_not_there_in_the_other() {
    let mut machine = both();
    machine.done(image(10, &[1], &["v1"]));
    let lacking = machine.refused(public_image(10, &[1], &["v1"]));
    assert!(matches!(lacking, Refused::BlobsUnknown(_)), "{lacking:?}");
    machine.done(public_link(7));
    machine.done(public_image(11, &[7], &["v1"]));
    let at = |registry: &RegistryId| {
        let found = query::tag(&machine.state, registry, &app(), &tag("v1"));
        found.unwrap().unwrap().digest
    };
    assert_eq!((at(&account()), at(&public())), (digest(10), digest(11)));
    let linked = |registry: &RegistryId, number| {
        query::linked(&machine.state, registry, &app(), &digest(number)).unwrap()
    };
    assert!(linked(&account(), 1) && !linked(&public(), 1));
    assert!(linked(&public(), 7) && !linked(&account(), 7));
    let links = query::links(&machine.state, &public(), &digest(1), 10);
    assert_eq!(links.unwrap(), []);
}

#[test]
fn nothing_is_mounted_from_one_into_the_other() {
    let mut machine = both();
    machine.done(CreateRepository::new(
        &public(),
        &"other".parse().unwrap(),
        1,
    ));
    let mount = |registry: &RegistryId| {
        MountBlob::new(registry, &app(), &"other".parse().unwrap(), &digest(1), 1)
    };
    let refused = machine.refused(mount(&public()));
    assert!(matches!(refused, Refused::BlobsUnknown(_)), "{refused:?}");
}

#[test]
fn rules_are_of_private_registries_and_copy_nothing_else() {
    let mut machine = both();
    machine.done(rule("all", &[], "eu-west-1"));
    machine.done(public_link(7));
    assert_eq!(machine.pushed(public_image(11, &[7], &["v1"])).tasks, 0);
    assert_eq!(machine.pushed(image(10, &[1], &["v1"])).tasks, 1);
    let of_public = PutRule {
        account: public().to_string(),
        ..rule("all", &[], "eu-west-1")
    };
    let refused = machine.refused(of_public);
    assert!(matches!(refused, Refused::Invalid(_)), "{refused:?}");
}

#[test]
fn settings_and_texts_are_each_registry_s_own() {
    let mut machine = both();
    let settings = |machine: &Machine, registry: &RegistryId| {
        query::registry_settings(&machine.state, registry).unwrap()
    };
    assert!(settings(&machine, &account()).create_on_push);
    assert!(!settings(&machine, &public()).create_on_push);
    // Whatever is set: no push makes a public repository.
    machine.done(PutRegistrySettings {
        create_on_push: Some(true),
        ..PutRegistrySettings::new(&public())
    });
    assert!(!settings(&machine, &public()).create_on_push);
    for (kind, text) in [(TextKind::Policy, "{}"), (TextKind::Catalog, "{\"a\":1}")] {
        machine.done(PutRepositoryText::new(&public(), &app(), kind, text, 1));
        let of = |registry: &RegistryId| {
            let found = query::repository_text(&machine.state, registry, &app(), kind);
            found.unwrap().map(|found| found.text)
        };
        assert_eq!(
            (of(&public()).as_deref(), of(&account())),
            (Some(text), None)
        );
    }
    let item = PutRegistryItem::new(&public(), ItemKind::CatalogData, "", "{}", 1);
    machine.done(item);
    let kept = |registry: &RegistryId| {
        let found = query::registry_item(&machine.state, registry, ItemKind::CatalogData, "");
        found.unwrap().is_some()
    };
    assert!(kept(&public()) && !kept(&account()));
}

#[test]
fn one_is_deleted_and_the_other_stays() {
    let mut machine = Machine::with_app();
    let new = CreateRepository {
        spec: Some(RepositorySpec {
            catalog: "{}".to_owned(),
            ..RepositorySpec::default()
        }),
        ..CreateRepository::new(&public(), &app(), 1)
    };
    machine.done(new);
    let made = query::repository(&machine.state, &public(), &app());
    let index = made.unwrap().unwrap().index;
    machine.done(public_link(7));
    machine.done(public_image(11, &[7], &["v1"]));
    machine.done(image(10, &[1], &["v1"]));
    machine.done(DeleteRepository {
        force: true,
        ..DeleteRepository::new(&public(), &app(), index)
    });
    let there = |registry: &RegistryId| {
        let found = query::repository(&machine.state, registry, &app());
        found.unwrap().is_some()
    };
    assert!(there(&account()) && !there(&public()));
    let text = query::repository_text(&machine.state, &public(), &app(), TextKind::Catalog);
    assert_eq!(text.unwrap(), None);
    assert!(
        query::manifest(&machine.state, &account(), &app(), &digest(10))
            .unwrap()
            .is_some()
    );
    let violations = crate::invariants::check(&machine.state).map(|_| ());
    assert!(violations.is_ok(), "{violations:?}");
}
