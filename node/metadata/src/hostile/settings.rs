//! What registries and repositories are to be like: seeds for the targets.

use std::collections::BTreeMap;

use entrepot_oci::RepositoryName;

use crate::apply::tests::{Machine, account, image};
use crate::command::{
    Command, CreateRepository, DeleteRegistryItem, PutRegistryItem, PutRepositorySettings,
    PutRepositoryText, ReplaceRules, RepositorySpec, RuleSpec, TagRepository,
};
use crate::query::{self, ItemKind, MutabilityMode, TextKind};
use crate::records::settings::{EncryptionRecord, MutabilityRecord};
use crate::store::{KeyValue, StorageError};

fn name(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

fn spec() -> RepositorySpec {
    RepositorySpec {
        mutability: Some(MutabilityRecord {
            mode: MutabilityMode::ImmutableWithExclusion.into(),
            filters: vec!["dev*".to_owned()],
        }),
        encryption: Some(EncryptionRecord {
            kind: "KMS".to_owned(),
            kms_key: "k".to_owned(),
        }),
        scan_on_push: true,
        tags: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        policy: "{}".to_owned(),
        lifecycle: String::new(),
        catalog: "{}".to_owned(),
    }
}

fn create(repository: &str) -> CreateRepository {
    CreateRepository {
        spec: Some(spec()),
        must_be_new: true,
        ..CreateRepository::new(&account(), &name(repository), 1)
    }
}

fn item(kind: ItemKind, name: &str) -> PutRegistryItem {
    PutRegistryItem::new(&account(), kind, name, &b"{}"[..], 1)
}

/// A repository with all that it may have, and a template.
pub(super) fn prepare(machine: &mut Machine) {
    machine.done(create("fixed"));
    machine.done(crate::command::PutManifest {
        repository: "fixed".to_owned(),
        ..image(30, &[], &["v1"])
    });
    machine.done(item(ItemKind::CreationTemplate, "team/"));
}

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let push = |tag: &str| crate::command::PutManifest {
        repository: "fixed".to_owned(),
        ..image(31, &[], &[tag])
    };
    let tags = TagRepository {
        set: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        remove: vec!["a".to_owned()],
        ..TagRepository::new(&account(), &name("fixed"))
    };
    let settings = PutRepositorySettings {
        mutability: spec().mutability,
        scan_on_push: Some(true),
        ..PutRepositorySettings::new(&account(), &name("app"))
    };
    let text = |kind, text| PutRepositoryText::new(&account(), &name("fixed"), kind, text, 2);
    let template = ItemKind::CreationTemplate;
    let rules = |ids: &[&str]| {
        let rules = ids.iter().map(|id| RuleSpec {
            id: (*id).to_owned(),
            prefixes: vec!["team/".to_owned()],
            destination_region: "eu-west-1".to_owned(),
            ..RuleSpec::default()
        });
        let (account, document) = (&account(), &b"{}"[..]);
        ReplaceRules::new(account, rules.collect(), document, 3)
    };
    vec![
        ("good-repository-with-a-spec", create("more").into()),
        ("bad-repository-again", create("fixed").into()),
        ("good-mutability", settings.into()),
        ("good-push-excluded", push("dev1").into()),
        ("bad-push-immutable", push("v1").into()),
        ("good-resource-tags", tags.into()),
        ("good-lifecycle", text(TextKind::Lifecycle, "{}").into()),
        ("good-no-policy", text(TextKind::Policy, "").into()),
        ("bad-no-lifecycle", text(TextKind::Lifecycle, "").into()),
        ("good-template", item(template, "other/").into()),
        (
            "good-no-template",
            DeleteRegistryItem::new(&account(), template, "team/").into(),
        ),
        ("good-rules", rules(&["one", "two"]).into()),
        ("bad-rules", rules(&["one", "one"]).into()),
        (
            "bad-no-registry-policy",
            DeleteRegistryItem::new(&account(), ItemKind::Policy, "").into(),
        ),
    ]
}

pub(super) fn read_all(view: &dyn KeyValue) -> Result<(), StorageError> {
    let account = account();
    for repository in ["app", "fixed"] {
        let repository = name(repository);
        query::repository(view, &account, &repository)?;
        query::repository_tags(view, &account, &repository)?;
        for kind in TextKind::ALL {
            query::repository_text(view, &account, &repository, kind)?;
        }
    }
    let kind = ItemKind::CreationTemplate;
    query::registry_item(view, &account, kind, "team/")?;
    query::registry_items(view, &account, kind, Some("a"), 10)?;
    Ok(())
}
