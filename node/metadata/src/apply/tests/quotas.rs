//! How much a registry may have, and that it is counted as it is.

use entrepot_oci::RegistryId;
use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_assert, prop_oneof, proptest};

use super::{Machine, account, app, digest, image, link, replica, repository, tag};
use crate::apply::apply;
use crate::command::{
    Command, CreateRepository, DeleteManifest, DeleteRepository, DeleteTag, Envelope, LinkBlob,
    MountBlob, PutManifest, PutRegistrySettings, QuotasChange,
};
use crate::invariants;
use crate::limits::{COUNT_STEP, QUOTA_MAX, REPOSITORIES_MAX, TAGS_UNCOUNTED_MAX};
use crate::query::{self, Count, Quotas};
use crate::response::{QuotaReached, Refused};

fn quotas(change: QuotasChange) -> PutRegistrySettings {
    PutRegistrySettings {
        quotas: Some(change),
        ..PutRegistrySettings::new(&account())
    }
}

fn few(repositories: u64, images: u64, tags: u64) -> PutRegistrySettings {
    quotas(QuotasChange {
        repositories: Some(repositories),
        images: Some(images),
        tags: Some(tags),
        ..QuotasChange::default()
    })
}

fn reached(repository: &str, digest: &str, max: u64) -> Refused {
    Refused::QuotaReached(QuotaReached {
        account: account().to_string(),
        repository: repository.to_owned(),
        digest: digest.to_owned(),
        max,
        ..QuotaReached::default()
    })
}

fn images(machine: &Machine) -> Option<Count> {
    query::image_count(&machine.state, &account(), &app()).unwrap()
}

fn all(number: u64) -> Count {
    let is_whole = true;
    Count { number, is_whole }
}

#[test]
fn a_registry_has_as_many_repositories_as_it_may() {
    let mut machine = Machine::with_app();
    machine.done(few(2, 0, 0));
    machine.done(CreateRepository::new(&account(), &repository("bb"), 1));
    let third = CreateRepository::new(&account(), &repository("cc"), 1);
    assert_eq!(machine.refused(third.clone()), reached("", "", 2));
    // However it would come to be.
    let push = PutManifest {
        repository: "cc".to_owned(),
        create_repository: true,
        ..image(10, &[], &[])
    };
    assert_eq!(machine.refused(push), reached("", "", 2));
    let link = LinkBlob {
        create_repository: true,
        ..link("cc", 1)
    };
    assert_eq!(machine.refused(link), reached("", "", 2));
    let mount = MountBlob {
        account: account().to_string(),
        from: "app".to_owned(),
        repository: "cc".to_owned(),
        digest: digest(1).to_string(),
        create_repository: true,
        ..MountBlob::default()
    };
    assert_eq!(machine.refused(mount), reached("", "", 2));
    // One that is there is no further one.
    machine.done(CreateRepository::new(&account(), &repository("bb"), 1));
    let index = query::repository(&machine.state, &account(), &repository("bb"));
    let index = index.unwrap().unwrap().index;
    machine.done(DeleteRepository::new(&account(), &repository("bb"), index));
    machine.done(third);
    let count = query::repository_count(&machine.state, &account());
    assert_eq!(count.unwrap(), Some(all(2)));
}

#[test]
fn a_repository_has_as_many_images_as_it_may_and_replicas_besides() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[], &["before"]));
    assert_eq!(images(&machine), None);
    machine.done(few(0, 2, 0));
    machine.done(image(11, &[], &["v1"]));
    assert_eq!(images(&machine), Some(all(2)));
    assert_eq!(
        machine.refused(image(12, &[], &["v1"])),
        reached("app", "", 2)
    );
    // What is there already takes more tags.
    machine.done(image(11, &[], &["v2"]));
    machine.done(replica(image(13, &[], &["v3"]), "eu-west-1", 1));
    assert_eq!(images(&machine), Some(all(3)));
    for number in [10, 11] {
        machine.done(DeleteManifest::new(&account(), &app(), &digest(number)));
    }
    machine.done(DeleteTag {
        with_manifest: true,
        ..DeleteTag::new(&account(), &app(), &tag("v3"))
    });
    assert_eq!(images(&machine), Some(all(0)));
    machine.done(image(12, &[], &["v1"]));
}

#[test]
fn an_image_has_as_many_tags_as_it_may() {
    let mut machine = Machine::with_app();
    machine.done(few(0, 0, 2));
    let third = reached("app", &digest(10).to_string(), 2);
    let refused = machine.refused(image(10, &[], &["v1", "v2", "v3"]));
    assert_eq!(refused, third);
    machine.done(image(10, &[], &["v1", "v2"]));
    machine.done(image(10, &[], &["v1"]));
    assert_eq!(machine.refused(image(10, &[], &["v3"])), third);
    machine.done(image(11, &[], &["v1"]));
    machine.done(image(10, &[], &["v3"]));
}

#[test]
fn the_tags_of_an_image_are_counted_once_they_are_many() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[], &["before"]));
    let max = TAGS_UNCOUNTED_MAX as u64 + 4;
    machine.done(few(0, 0, max));
    let count =
        |machine: &Machine| query::tag_count(&machine.state, &account(), &app(), &digest(10));
    for number in 1..max {
        assert_eq!(count(&machine).unwrap().is_some(), number > max - 4 + 1);
        machine.done(image(10, &[], &[&format!("v{number}")]));
    }
    assert_eq!(count(&machine).unwrap(), Some(all(max)));
    let one_more = || image(10, &[], &["more"]);
    let full = reached("app", &digest(10).to_string(), max);
    assert_eq!(machine.refused(one_more()), full);
    // One goes and one moves away.
    machine.done(DeleteTag::new(&account(), &app(), &tag("v1")));
    machine.done(image(11, &[], &["v2"]));
    assert_eq!(count(&machine).unwrap(), Some(all(max - 2)));
    machine.done(one_more());
    machine.done(image(10, &[], &["v2"]));
    assert_eq!(machine.refused(image(10, &[], &["v1"])), full);
    machine.done(DeleteManifest::new(&account(), &app(), &digest(10)));
    assert_eq!(count(&machine).unwrap(), None);
}

#[test]
fn a_quota_that_is_not_set_is_ecrs() {
    let mut machine = Machine::with_app();
    let settings = |machine: &Machine| query::registry_settings(&machine.state, &account());
    assert_eq!(settings(&machine).unwrap().quotas, None);
    machine.done(quotas(QuotasChange::default()));
    let found = settings(&machine).unwrap().quotas.unwrap();
    assert_eq!(found, Quotas::default());
    assert_eq!(found.repositories, 100_000);
    machine.done(few(7, 8, 9));
    machine.done(quotas(QuotasChange {
        images: Some(0),
        layer_parts: Some(5),
        ..QuotasChange::default()
    }));
    let expected = Quotas {
        repositories: 7,
        tags_per_image: 9,
        layer_parts: 5,
        ..Quotas::default()
    };
    assert_eq!(settings(&machine).unwrap().quotas, Some(expected));
    let refused = machine.refused(granted(few(QUOTA_MAX + 1, 0, 0)));
    assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
}

fn granted(change: PutRegistrySettings) -> PutRegistrySettings {
    PutRegistrySettings {
        is_granted: true,
        ..change
    }
}

#[test]
fn a_registry_gives_itself_no_more_than_it_was_given() {
    let mut machine = Machine::with_app();
    let now = |machine: &Machine| {
        let settings = query::registry_settings(&machine.state, &account()).unwrap();
        settings.quotas.unwrap().repositories
    };
    let refused = machine.refused(few(REPOSITORIES_MAX + 1, 0, 0));
    let says = refused.to_string();
    assert!(says.contains("an operator of the cluster"), "{says}");
    machine.done(few(5, 0, 0));
    assert_eq!(now(&machine), 5);
    // Back up as far as it was given, and by 0 as well.
    machine.done(few(REPOSITORIES_MAX, 0, 0));
    machine.done(few(7, 0, 0));
    machine.done(few(0, 0, 0));
    assert_eq!(now(&machine), REPOSITORIES_MAX);
    // More is given, and it is at once what there may be.
    machine.done(few(5, 0, 0));
    machine.done(granted(few(2 * REPOSITORIES_MAX, 0, 0)));
    assert_eq!(now(&machine), 2 * REPOSITORIES_MAX);
    machine.done(few(REPOSITORIES_MAX + 1, 0, 0));
    assert_eq!(now(&machine), REPOSITORIES_MAX + 1);
    // Less is given, whatever it has set itself, and it cannot take that back.
    machine.done(granted(few(3, 0, 0)));
    assert_eq!(now(&machine), 3);
    assert!(matches!(machine.refused(few(4, 0, 0)), Refused::Invalid(_)));
    machine.done(few(2, 0, 0));
    machine.done(granted(few(0, 0, 0)));
    assert_eq!(now(&machine), REPOSITORIES_MAX);
}

#[test]
fn a_public_registry_has_ecr_public_s_quotas() {
    let mut machine = Machine::default();
    let public = RegistryId::public(&account().account());
    let settings = |machine: &Machine| query::registry_settings(&machine.state, &public).unwrap();
    assert_eq!(settings(&machine).quotas, None);
    machine.done(PutRegistrySettings {
        quotas: Some(QuotasChange::default()),
        ..PutRegistrySettings::new(&public)
    });
    let expected = Quotas {
        repositories: 10_000,
        images_per_repository: 10_000,
        tags_per_image: 1_000,
        layer_parts: 1_000,
        layer_bytes: 10_000 << 20,
        ..Quotas::default()
    };
    assert_eq!(settings(&machine).quotas, Some(expected));
    assert!(!settings(&machine).create_on_push);
    machine.done(PutRegistrySettings {
        quotas: Some(QuotasChange {
            repositories: Some(1),
            ..QuotasChange::default()
        }),
        ..PutRegistrySettings::new(&public)
    });
    machine.done(CreateRepository::new(&public, &repository("aa"), 1));
    let second = CreateRepository::new(&public, &repository("bb"), 1);
    let refused = machine.refused(second);
    assert!(matches!(refused, Refused::QuotaReached(_)), "{refused}");
}

#[test]
fn what_was_there_before_is_counted_in_steps() {
    let mut machine = Machine::default();
    let before = 2 * COUNT_STEP as u64 + 500;
    let mut index = 0;
    let mut run = |command: Command, is_checked: bool| {
        index += 1;
        let envelope = Envelope::new(u128::from(index).to_be_bytes(), command).to_bytes();
        let (writes, response) = apply(&machine.state, index, &envelope).unwrap();
        machine.state.apply_writes(&writes);
        if is_checked {
            invariants::check(&machine.state).unwrap();
        }
        let count = query::repository_count(&machine.state, &account()).unwrap();
        (response.into_result(), count)
    };
    let create = |name: &str| CreateRepository::new(&account(), &repository(name), 1).into();
    for number in 0..before {
        run(create(&format!("m{number:05}")), false).0.unwrap();
    }
    run(few(before + 4, 0, 0).into(), true).0.unwrap();
    // Before and behind what is counted.
    let partly = |number| {
        let is_whole = false;
        Some(Count { number, is_whole })
    };
    let steps = [
        ("aa", partly(COUNT_STEP as u64 + 1)),
        ("z1", partly(2 * COUNT_STEP as u64 + 1)),
        ("z2", Some(all(before + 3))),
        ("z3", Some(all(before + 4))),
    ];
    for (name, expected) in steps {
        let (made, count) = run(create(name), true);
        made.unwrap();
        assert_eq!(count, expected, "{name}");
    }
    let (refused, _) = run(create("z4"), true);
    assert_eq!(refused.unwrap_err(), reached("", "", before + 4));
}

/// More than are looked at each time.
const MANY_TAGS: [&str; 24] = [
    "a0", "a1", "a2", "a3", "a4", "a5", "b0", "b1", "b2", "b3", "b4", "b5", "c0", "c1", "c2", "c3",
    "c4", "c5", "d0", "d1", "d2", "d3", "d4", "d5",
];

fn change() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["app", "bb", "cc", "dd"]);
    let number = 10..16_u8;
    let tags = prop::sample::subsequence(MANY_TAGS.to_vec(), 0..MANY_TAGS.len());
    prop_oneof![
        6 => (name(), number.clone(), tags, any::<bool>()).prop_map(|(name, number, tags, far)| {
            let push = PutManifest {
                repository: name.to_owned(),
                create_repository: true,
                ..image(number, &[], &tags)
            };
            if far { replica(push, "eu-west-1", u64::from(number)).into() } else { push.into() }
        }),
        2 => (name(), number).prop_map(|(name, number)| {
            DeleteManifest::new(&account(), &repository(name), &digest(number)).into()
        }),
        1 => name().prop_map(|name| {
            CreateRepository::new(&account(), &repository(name), 1).into()
        }),
        1 => (name(), 1..40_u64).prop_map(|(name, index)| {
            DeleteRepository {
                force: true,
                ..DeleteRepository::new(&account(), &repository(name), index)
            }
            .into()
        }),
        1 => (1..5_u64, 1..6_u64, 1..25_u64).prop_map(|(a, b, c)| few(a, b, c).into()),
        2 => (name(), prop::sample::select(MANY_TAGS.to_vec())).prop_map(|(name, gone)| {
            DeleteTag::new(&account(), &repository(name), &tag(gone)).into()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever comes and goes, in whichever order: the counts are true (which is
    /// an invariant, checked with each step), and no push takes a registry over
    /// what it may have.
    #[test]
    fn no_push_takes_more_than_there_may_be(changes in prop::collection::vec(change(), 1..40)) {
        let mut machine = Machine::with_app();
        for change in changes {
            let names = |machine: &Machine| {
                query::repositories(&machine.state, &account(), None, 99).unwrap()
            };
            let held = |machine: &Machine| -> Vec<(String, usize)> {
                let repositories = names(machine).into_iter();
                let counted = repositories.map(|it| {
                    let held = query::manifests(&machine.state, &account(), &it.name, None, 99);
                    (it.name.to_string(), held.unwrap().len())
                });
                counted.collect()
            };
            let is_local = !matches!(&change, Command::PutManifest(push) if push.origin.is_some());
            let before = held(&machine);
            let done = machine.run(change).is_ok();
            let after = held(&machine);
            let settings = query::registry_settings(&machine.state, &account()).unwrap();
            let Some(quotas) = settings.quotas.filter(|_| done && is_local) else { continue };
            let grew = after.len() > before.len();
            prop_assert!(!grew || after.len() as u64 <= quotas.repositories);
            for (name, held) in after {
                let had = before.iter().find(|(it, _)| *it == name).map_or(0, |(_, had)| *had);
                prop_assert!(held <= had || held as u64 <= quotas.images_per_repository);
            }
        }
    }
}
