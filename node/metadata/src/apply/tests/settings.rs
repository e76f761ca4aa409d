//! Which tags may move, and what else registries and repositories are to be like.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

use bytes::Bytes;
use entrepot_oci::{AccountId, RegistryId};

use super::{Machine, account, app, digest, image, replica, repository, tag};
use crate::command::{
    Command, CreateRepository, DeleteRegistryItem, DeleteRepository, DeleteTag, PutRegistryItem,
    PutRepositorySettings, PutRepositoryText, RepositorySpec, TagCondition, TagRepository,
};
use crate::limits::{
    CACHE_RULES_MAX, ITEM_BODY_BYTES_MAX, LIFECYCLE_TEXT_BYTES_MAX, POLICY_TEXT_BYTES_MAX,
    RESOURCE_TAGS_MAX,
};
use crate::query::{self, ItemKind, Mutability, MutabilityMode, TextKind};
use crate::records::settings::{EncryptionRecord, MutabilityRecord};
use crate::response::{EntityLimit, Item, Refused, TagFixed};

fn mutability(mode: MutabilityMode, filters: &[&str]) -> PutRepositorySettings {
    PutRepositorySettings {
        mutability: Some(MutabilityRecord {
            mode: mode.into(),
            filters: filters.iter().map(ToString::to_string).collect(),
        }),
        ..PutRepositorySettings::new(&account(), &app())
    }
}

fn fixed(name: &str, at: u8) -> Refused {
    Refused::TagImmutable(TagFixed {
        tag: name.to_owned(),
        repository: "app".to_owned(),
        digest: digest(at).to_string(),
    })
}

#[track_caller]
fn invalid(machine: &mut Machine, command: impl Into<Command>) {
    let refused = machine.refused(command);
    assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
}

#[test]
fn a_tag_moves_where_the_mode_and_its_exclusions_let_it() {
    for (mode, filters, moves, stays) in [
        (
            MutabilityMode::Mutable,
            &[][..],
            &["latest", "v1"][..],
            &[][..],
        ),
        (MutabilityMode::Immutable, &[], &[], &["latest", "v1"]),
        (
            MutabilityMode::ImmutableWithExclusion,
            &["latest", "dev*"],
            &["latest", "dev-1"],
            &["v1"],
        ),
        (
            MutabilityMode::MutableWithExclusion,
            &["v*.*"],
            &["latest", "v1"],
            &["v1.2"],
        ),
    ] {
        let mut machine = Machine::with_app();
        machine.done(mutability(mode, filters));
        for name in moves.iter().chain(stays) {
            machine.done(image(10, &[1], &[name]));
            // The same again moves nothing.
            machine.done(image(10, &[1], &[name]));
        }
        for name in moves {
            machine.done(image(11, &[2], &[name]));
        }
        for name in stays {
            assert_eq!(machine.refused(image(11, &[2], &[name])), fixed(name, 10));
            assert_eq!(machine.tag_digest(name), Some(digest(10)));
            // What stays may go, and come back elsewhere: as in ECR.
            machine.done(DeleteTag::new(&account(), &app(), &tag(name)));
            machine.done(image(11, &[2], &[name]));
        }
    }
}

#[test]
fn of_several_tags_all_move_or_none() {
    let mut machine = Machine::with_app();
    machine.done(mutability(MutabilityMode::ImmutableWithExclusion, &["m*"]));
    machine.done(image(10, &[1], &["m1", "v1"]));
    assert_eq!(
        machine.refused(image(11, &[2], &["m1", "v1"])),
        fixed("v1", 10)
    );
    assert_eq!(machine.tag_digest("m1"), Some(digest(10)));
    let conditional = crate::command::PutManifest {
        condition: Some(TagCondition::is(&digest(10))),
        ..image(11, &[2], &["v1"])
    };
    // It is as the client expects, and may not move all the same.
    assert_eq!(machine.refused(conditional), fixed("v1", 10));
}

#[test]
fn a_replica_comes_without_the_tags_that_may_not_move() {
    let mut machine = Machine::with_app();
    machine.done(mutability(MutabilityMode::Immutable, &[]));
    machine.done(image(10, &[1], &["v1"]));
    let put = machine.pushed(replica(image(11, &[2], &["v1", "v2"]), "eu-west-1", 7));
    assert!(put.created);
    assert_eq!(put.tags_kept, ["v1"]);
    assert_eq!(machine.tag_digest("v1"), Some(digest(10)));
    assert_eq!(machine.tag_digest("v2"), Some(digest(11)));
}

#[test]
fn filters_are_ecrs() {
    let mut machine = Machine::with_app();
    let with = MutabilityMode::ImmutableWithExclusion;
    for filters in [
        &["a*b*c*"][..],
        &[""],
        &["a b"],
        &[&"x".repeat(129)],
        &[],
        &["x"; 6],
    ] {
        invalid(&mut machine, mutability(with, filters));
    }
    invalid(&mut machine, mutability(MutabilityMode::Immutable, &["x"]));
    let newer = PutRepositorySettings {
        mutability: Some(MutabilityRecord {
            mode: 9,
            filters: Vec::new(),
        }),
        ..PutRepositorySettings::new(&account(), &app())
    };
    invalid(&mut machine, newer);
    machine.done(mutability(with, &["a*b*", "v1.2-rc_3", "*", "x", "y"]));
}

#[test]
fn a_repository_is_made_with_what_it_is_to_have() {
    let mut machine = Machine::default();
    let spec = RepositorySpec {
        mutability: mutability(MutabilityMode::Immutable, &[]).mutability,
        encryption: Some(EncryptionRecord {
            kind: "KMS".to_owned(),
            kms_key: "alias/k".to_owned(),
        }),
        scan_on_push: true,
        tags: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        policy: "{}".to_owned(),
        lifecycle: "{\"rules\":[]}".to_owned(),
        catalog: String::new(),
    };
    let create = |spec: &RepositorySpec| CreateRepository {
        spec: Some(spec.clone()),
        must_be_new: true,
        ..CreateRepository::new(&account(), &app(), 5)
    };
    for torn in [
        RepositorySpec {
            encryption: Some(EncryptionRecord {
                kind: "AES256".to_owned(),
                kms_key: "k".to_owned(),
            }),
            ..spec.clone()
        },
        RepositorySpec {
            policy: "x".repeat(POLICY_TEXT_BYTES_MAX + 1),
            ..spec.clone()
        },
    ] {
        invalid(&mut machine, create(&torn));
    }
    machine.done(create(&spec));
    let again = machine.refused(create(&spec));
    assert_eq!(again, Refused::RepositoryExists("app".to_owned()));
    let found = query::repository(&machine.state, &account(), &app());
    let found = found.unwrap().unwrap();
    assert_eq!(found.mutability.mode, MutabilityMode::Immutable);
    assert_eq!(
        found.encryption.unwrap().kms_key.as_deref(),
        Some("alias/k")
    );
    assert!(found.scan_on_push);
    let tags = query::repository_tags(&machine.state, &account(), &app()).unwrap();
    assert_eq!(tags, spec.tags);
    let text = |machine: &Machine, kind| {
        let found = query::repository_text(&machine.state, &account(), &app(), kind);
        found.unwrap().map(|found| found.text)
    };
    assert_eq!(text(&machine, TextKind::Policy), Some(spec.policy));
    assert_eq!(text(&machine, TextKind::Lifecycle), Some(spec.lifecycle));

    // One that is made anew has nothing of it.
    machine.done(DeleteRepository {
        account: account().to_string(),
        repository: "app".to_owned(),
        index: found.index,
        force: true,
    });
    machine.done(CreateRepository::new(&account(), &app(), 6));
    let found = query::repository(&machine.state, &account(), &app());
    assert_eq!(found.unwrap().unwrap().mutability, Mutability::default());
    assert_eq!(text(&machine, TextKind::Policy), None);
    let tags = query::repository_tags(&machine.state, &account(), &app()).unwrap();
    assert!(tags.is_empty());
}

#[test]
fn resource_tags_are_set_removed_and_few() {
    let mut machine = Machine::with_app();
    let set = |pairs: &[(&str, &str)], remove: &[&str]| TagRepository {
        set: pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        remove: remove.iter().map(ToString::to_string).collect(),
        ..TagRepository::new(&account(), &app())
    };
    machine.done(set(&[("a", "1"), ("b", "2")], &[]));
    machine.done(set(&[("a", "3")], &["b", "gone"]));
    let tags =
        |machine: &Machine| query::repository_tags(&machine.state, &account(), &app()).unwrap();
    assert_eq!(
        tags(&machine),
        BTreeMap::from([("a".to_owned(), "3".to_owned())])
    );
    machine.done(set(&[], &["a"]));
    assert!(tags(&machine).is_empty());
    invalid(&mut machine, set(&[("", "x")], &[]));
    invalid(&mut machine, set(&[("a", &"x".repeat(257))], &[]));
    let names: Vec<String> = (0..=RESOURCE_TAGS_MAX).map(|it| it.to_string()).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let limit = EntityLimit::new("tags of a repository", RESOURCE_TAGS_MAX);
    assert_eq!(
        machine.refused(set(&many, &[])),
        Refused::EntityLimit(limit)
    );
    machine.done(set(&many[1..], &[]));
    let elsewhere = TagRepository::new(&account(), &repository("elsewhere"));
    let unknown = Refused::RepositoryUnknown("elsewhere".to_owned());
    assert_eq!(machine.refused(elsewhere), unknown);
}

/// One of a few keys, most of which differ by case alone from another one.
fn tag_key() -> impl Strategy<Value = String> {
    let letters = prop::sample::select(vec!["team", "Team", "TEAM", "env", "Env", "straße"]);
    prop_oneof![letters.prop_map(str::to_owned), "[a-z]{1,2}[0-9]{0,2}"]
}

fn tag_change() -> impl Strategy<Value = TagRepository> {
    let set = prop::collection::btree_map(tag_key(), "[a-z]{0,3}", 0..12);
    let remove = prop::collection::vec(tag_key(), 0..3);
    (set, remove).prop_map(|(set, remove)| TagRepository {
        set,
        remove,
        distinct: true,
        ..TagRepository::new(&account(), &app())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the changes of many come to lie one behind the other: what is taken
    /// is there as long as nobody takes it away, and what is refused changes
    /// nothing.
    #[test]
    fn changes_of_tags_merge(changes in prop::collection::vec(tag_change(), 1..40)) {
        let mut machine = Machine::with_app();
        let mut expected: BTreeMap<String, String> = BTreeMap::new();
        for change in changes {
            let mut after = expected.clone();
            after.retain(|key, _| !change.remove.contains(key));
            after.extend(change.set.clone());
            let folded: BTreeSet<String> = after.keys().map(|key| key.to_lowercase()).collect();
            let may = after.len() <= RESOURCE_TAGS_MAX && folded.len() == after.len();
            let answered = machine.run(change);
            prop_assert_eq!(answered.is_ok(), may, "{:?}", answered);
            if may {
                expected = after;
            }
            let found = query::repository_tags(&machine.state, &account(), &app()).unwrap();
            prop_assert_eq!(&found, &expected);
        }
    }
}

#[test]
fn texts_come_and_go() {
    let mut machine = Machine::with_app();
    let put = |kind, text: &str| PutRepositoryText::new(&account(), &app(), kind, text, 7);
    let kind = TextKind::Lifecycle;
    let unknown = Refused::ItemUnknown(Item {
        kind: "lifecycle policy".to_owned(),
        name: "app".to_owned(),
    });
    assert_eq!(machine.refused(put(kind, "")), unknown);
    machine.done(put(kind, "one"));
    machine.done(put(kind, "two"));
    let found = query::repository_text(&machine.state, &account(), &app(), kind);
    assert_eq!(found.unwrap().unwrap().text, "two");
    machine.done(put(kind, ""));
    assert_eq!(machine.refused(put(kind, "")), unknown);
    invalid(
        &mut machine,
        put(kind, &"x".repeat(LIFECYCLE_TEXT_BYTES_MAX + 1)),
    );
}

#[test]
fn repositories_with_a_text_of_a_kind_are_listed_in_pages() {
    let mut machine = Machine::with_app();
    let kind = TextKind::Lifecycle;
    let put =
        |name: &str, kind| PutRepositoryText::new(&account(), &repository(name), kind, "text", 7);
    for name in ["aa", "bb", "cc", "dd"] {
        machine.done(CreateRepository::new(&account(), &repository(name), 1));
        machine.done(put(name, TextKind::Policy));
    }
    for name in ["aa", "cc", "dd"] {
        machine.done(put(name, kind));
    }
    machine.done(put("bb", TextKind::LifecycleRun));
    let page = |after: Option<&str>, limit| {
        let after = after.map(|name| (RegistryId::from(account()), repository(name)));
        let found = query::texts_of_all(&machine.state, kind, after.as_ref(), limit).unwrap();
        let names = found.into_iter().map(|it| it.repository.to_string());
        names.collect::<Vec<String>>()
    };
    assert_eq!(page(None, 9), ["aa", "cc", "dd"]);
    assert_eq!(page(None, 2), ["aa", "cc"]);
    assert_eq!(page(Some("aa"), 9), ["cc", "dd"]);
    assert_eq!(page(Some("dd"), 9), Vec::<String>::new());
}

#[test]
fn what_a_registry_has_is_listed_in_pages_and_bounded() {
    let mut machine = Machine::default();
    let kind = ItemKind::PullThroughCacheRule;
    let put = |name: &str| PutRegistryItem::new(&account(), kind, name, &b"body"[..], 7);
    let item = |name: &str| Item {
        kind: "pull through cache rule".to_owned(),
        name: name.to_owned(),
    };
    let must_exist = PutRegistryItem {
        must_exist: true,
        ..put("p00")
    };
    assert_eq!(
        machine.refused(must_exist.clone()),
        Refused::ItemUnknown(item("p00"))
    );
    for number in 0..CACHE_RULES_MAX {
        machine.done(put(&format!("p{number:02}")));
    }
    let limit = EntityLimit::new("pull through cache rule", CACHE_RULES_MAX);
    assert_eq!(machine.refused(put("more")), Refused::EntityLimit(limit));
    machine.done(must_exist);
    let must_be_new = PutRegistryItem {
        must_be_new: true,
        ..put("p00")
    };
    assert_eq!(
        machine.refused(must_be_new),
        Refused::ItemExists(item("p00"))
    );
    let page = |after, limit| -> Vec<String> {
        let found = query::registry_items(&machine.state, &account(), kind, after, limit);
        found.unwrap().into_iter().map(|item| item.name).collect()
    };
    assert_eq!(page(None, 2), ["p00", "p01"]);
    assert_eq!(page(Some("p48"), 2), ["p49"]);
    machine.done(DeleteRegistryItem::new(&account(), kind, "p00"));
    let gone = machine.refused(DeleteRegistryItem::new(&account(), kind, "p00"));
    assert_eq!(gone, Refused::ItemUnknown(item("p00")));
}

#[test]
fn an_item_is_put_in_the_place_of_the_one_that_was_read() {
    let mut machine = Machine::default();
    let put = |body: &'static str, expected: Option<&'static str>| PutRegistryItem {
        expected: expected.map(|body| Bytes::from_static(body.as_bytes())),
        ..PutRegistryItem::new(&account(), ItemKind::Webhook, "ci", body, 7)
    };
    let unknown = Refused::ItemUnknown(Item {
        kind: ItemKind::Webhook.name().to_owned(),
        name: "ci".to_owned(),
    });
    assert_eq!(machine.refused(put("a", Some("a"))), unknown);
    machine.done(put("a", None));
    machine.done(put("b", Some("a")));
    assert_eq!(machine.refused(put("c", Some("a"))), unknown);
    // Deleted and made again in between, it is another one.
    machine.done(DeleteRegistryItem::new(&account(), ItemKind::Webhook, "ci"));
    assert_eq!(machine.refused(put("c", Some("b"))), unknown);
    machine.done(put("d", None));
    assert_eq!(machine.refused(put("c", Some("b"))), unknown);
}

#[test]
fn progress_goes_with_its_webhook() {
    let mut machine = Machine::default();
    let other: AccountId = "999988887777".parse().unwrap();
    let put = |account: &AccountId, kind, name: &str| {
        PutRegistryItem::new(account, kind, name, name.as_bytes().to_vec(), 7)
    };
    let (webhook, progress) = (ItemKind::Webhook, ItemKind::WebhookProgress);
    let early = machine.refused(put(&account(), progress, "ci"));
    assert!(matches!(early, Refused::ItemUnknown(_)), "{early:?}");
    machine.done(put(&account(), ItemKind::AccountSetting, "BLOB_MOUNTING"));
    for (account, name) in [(account(), "cd"), (account(), "ci"), (other.clone(), "ci")] {
        machine.done(put(&account, webhook, name));
        machine.done(put(&account, progress, name));
    }
    let all = |machine: &Machine, kind, limit| {
        let found = query::registry_items_of_all(&machine.state, kind, None, limit).unwrap();
        let names = found
            .into_iter()
            .map(|(registry, item)| (registry.account(), item.name));
        names.collect::<Vec<_>>()
    };
    let mut expected = vec![(account(), "cd"), (account(), "ci"), (other, "ci")];
    expected.sort();
    let mut expected: Vec<_> = expected
        .into_iter()
        .map(|(account, name)| (account, name.to_owned()))
        .collect();
    assert_eq!(all(&machine, webhook, 10), expected);
    assert_eq!(all(&machine, webhook, 2), expected[..2]);
    // Page by page.
    let (mut paged, mut last) = (Vec::new(), None::<(RegistryId, String)>);
    loop {
        let after = last
            .as_ref()
            .map(|(registry, name)| (registry, name.as_str()));
        let page = query::registry_items_of_all(&machine.state, webhook, after, 1).unwrap();
        let Some((registry, item)) = page.into_iter().next() else {
            break;
        };
        paged.push((registry.account(), item.name.clone()));
        last = Some((registry, item.name));
    }
    assert_eq!(paged, expected);
    machine.done(DeleteRegistryItem::new(&account(), webhook, "ci"));
    expected.retain(|gone| *gone != (account(), "ci".to_owned()));
    assert_eq!(all(&machine, webhook, 10), expected);
    assert_eq!(all(&machine, progress, 10), expected);
}

#[test]
fn items_have_the_names_and_sizes_of_their_kinds() {
    let mut machine = Machine::default();
    let put = |kind, name: &str| PutRegistryItem::new(&account(), kind, name, &b"{}"[..], 7);
    machine.done(put(ItemKind::Policy, ""));
    machine.done(put(ItemKind::Policy, ""));
    machine.done(put(ItemKind::AccountSetting, "BLOB_MOUNTING"));
    machine.done(put(ItemKind::CreationTemplate, "ROOT"));
    for (kind, name) in [
        (ItemKind::Policy, "x"),
        (ItemKind::AccountSetting, "COLOUR"),
        (ItemKind::CreationTemplate, ""),
        (ItemKind::CreationTemplate, "a b"),
    ] {
        invalid(&mut machine, put(kind, name));
    }
    let large = PutRegistryItem {
        body: vec![0; ITEM_BODY_BYTES_MAX + 1].into(),
        ..put(ItemKind::Policy, "")
    };
    invalid(&mut machine, large);
    let newer = PutRegistryItem {
        kind: 99,
        ..put(ItemKind::Policy, "")
    };
    invalid(&mut machine, newer);
}

#[test]
fn what_every_version_understands_needs_no_level() {
    let plain = PutRepositorySettings::new(&account(), &app());
    assert_eq!(Command::from(plain).level(), 0);
    let create = CreateRepository::new(&account(), &app(), 1);
    assert_eq!(Command::from(create.clone()).level(), 0);
    let spec = CreateRepository {
        must_be_new: true,
        ..create
    };
    assert_eq!(Command::from(spec).level(), 5);
    let fixed = mutability(MutabilityMode::Immutable, &[]);
    assert_eq!(Command::from(fixed).level(), 5);
}
