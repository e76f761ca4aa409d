//! How much a registry and its repositories hold, exactly, and no more than they may.

use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_oci::RepositoryName;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::{Machine, account, app, digest, image, replica, repository, tag};
use crate::apply::apply;
use crate::command::{
    Author, BeginCollection, CollectBlobs, CollectLinks, Command, CountHeld, CreateRepository,
    DeleteManifest, DeleteRepository, DeleteTag, Envelope, LinkBlob, MountBlob, PutManifest,
    PutRegistrySettings, PutRepositorySettings, QuotasChange, RestoreImage, UnlinkBlob,
};
use crate::invariants;
use crate::keys;
use crate::limits::{COUNT_STEP, QUOTA_BYTES_MAX, UNBOUNDED};
use crate::query::{self, Cause, Held};
use crate::response::{Outcome, QuotaKind, QuotaReached, Refused};
use crate::store::{MemoryState, Writes};

fn set(change: QuotasChange) -> PutRegistrySettings {
    PutRegistrySettings {
        quotas: Some(change),
        ..PutRegistrySettings::new(&account())
    }
}

fn registry_bytes(max: u64) -> PutRegistrySettings {
    set(QuotasChange {
        bytes: Some(max),
        ..QuotasChange::default()
    })
}

fn repository_bytes(max: u64) -> PutRegistrySettings {
    set(QuotasChange {
        repository_bytes: Some(max),
        ..QuotasChange::default()
    })
}

fn granted(command: PutRegistrySettings) -> PutRegistrySettings {
    PutRegistrySettings {
        is_granted: true,
        ..command
    }
}

fn override_bytes(name: &str, max: u64) -> PutRepositorySettings {
    PutRepositorySettings {
        bytes_max: Some(max),
        ..PutRepositorySettings::new(&account(), &repository(name))
    }
}

/// 100 bytes.
fn link(name: &str, number: u8) -> LinkBlob {
    super::link(name, number)
}

fn mount(from: &str, to: &str, number: u8) -> MountBlob {
    MountBlob::new(
        &account(),
        &repository(from),
        &repository(to),
        &digest(number),
        10,
    )
}

fn held(state: &MemoryState) -> Option<(u64, u64)> {
    let held = query::held(state, &account()).unwrap()?;
    assert!(held.is_whole);
    Some((held.bytes, held.images))
}

fn held_by(state: &MemoryState, name: &str) -> (u64, u64) {
    let held = query::repository_held(state, &account(), &repository(name)).unwrap();
    let held = held.unwrap();
    (held.bytes, held.images)
}

fn reached(kind: QuotaKind, max: u64, held: u64, more: u64) -> Refused {
    let repository = match kind {
        QuotaKind::RepositoryBytes => "app".to_owned(),
        _ => String::new(),
    };
    Refused::QuotaReached(QuotaReached {
        account: account().to_string(),
        repository,
        max,
        kind: kind.into(),
        held,
        more,
        ..QuotaReached::default()
    })
}

#[test]
fn a_repository_has_as_many_bytes_as_it_may() {
    let mut machine = Machine::with_app();
    assert_eq!(held(&machine.state), None);
    machine.done(repository_bytes(410));
    machine.done(image(10, &[1, 2], &["v1"]));
    assert_eq!(held(&machine.state), Some((310, 1)));
    machine.done(link("app", 4));
    let full = |more| reached(QuotaKind::RepositoryBytes, 410, 410, more);
    assert_eq!(machine.refused(link("app", 5)), full(100));
    assert_eq!(machine.refused(image(11, &[1], &["v2"])), full(10));
    // What is there already brings no byte.
    machine.done(link("app", 4));
    machine.done(image(10, &[1, 2], &["v2"]));
    machine.done(LinkBlob {
        size: 0,
        ..link("app", 6)
    });
    // Another repository has room of its own.
    machine.done(CreateRepository::new(&account(), &repository("bb"), 1));
    machine.done(mount("app", "bb", 1));
    machine.done(link("bb", 5));
    assert_eq!(held_by(&machine.state, "app"), (410, 1));
    assert_eq!(held_by(&machine.state, "bb"), (200, 0));
    assert_eq!(held(&machine.state), Some((610, 1)));
    let says = full(7).to_string();
    assert!(
        says.ends_with("may have at most 410 bytes; it has 410, and 7 more do not fit"),
        "{says}"
    );
}

#[test]
fn a_registry_has_as_many_bytes_and_images_as_it_may() {
    let mut machine = Machine::with_app();
    machine.done(CreateRepository::new(&account(), &repository("bb"), 1));
    machine.done(registry_bytes(420));
    // What two repositories share counts in each.
    machine.done(mount("app", "bb", 1));
    let full = |more| reached(QuotaKind::RegistryBytes, 420, 400, more);
    assert_eq!(machine.refused(mount("app", "bb", 2)), full(100));
    assert_eq!(machine.refused(link("bb", 9)), full(100));
    machine.done(image(10, &[1], &[]));
    machine.done(set(QuotasChange {
        registry_images: Some(1),
        ..QuotasChange::default()
    }));
    let refused = machine.refused(image(11, &[1], &[]));
    assert_eq!(refused, reached(QuotaKind::RegistryImages, 1, 1, 1));
    let says = refused.to_string();
    assert!(says.ends_with("may have at most 1 images in all"), "{says}");
}

#[test]
fn what_other_registries_send_is_counted_and_not_refused() {
    let mut machine = Machine::with_app();
    machine.done(repository_bytes(300));
    let arrived = LinkBlob {
        is_replica: true,
        ..link("app", 4)
    };
    machine.done(arrived);
    machine.done(replica(image(10, &[4], &["v1"]), "eu-west-1", 1));
    assert_eq!(held_by(&machine.state, "app"), (410, 1));
    let refused = machine.refused(link("app", 5));
    assert_eq!(refused, reached(QuotaKind::RepositoryBytes, 300, 410, 100));
}

#[test]
fn a_repository_of_its_own_quotas_has_those() {
    let mut machine = Machine::with_app();
    machine.done(CreateRepository::new(&account(), &repository("bb"), 1));
    // It begins the count by itself.
    machine.done(override_bytes("app", 350));
    let refused = machine.refused(link("app", 4));
    assert_eq!(refused, reached(QuotaKind::RepositoryBytes, 350, 300, 100));
    machine.done(repository_bytes(100));
    machine.done(link("bb", 1));
    assert!(machine.run(link("bb", 2)).is_err());
    machine.done(override_bytes("app", 400));
    machine.done(link("app", 4));
    machine.done(override_bytes("app", 0));
    machine.done(UnlinkBlob::new(&account(), &app(), &digest(4)));
    assert!(machine.run(link("app", 4)).is_err());
    // Its images as well.
    machine.done(PutRepositorySettings {
        images_max: Some(1),
        ..override_bytes("app", 400)
    });
    machine.done(image(10, &[], &["v1"]));
    let refused = machine.refused(image(11, &[], &["v2"]));
    assert!(
        refused.to_string().contains("at most 1 images"),
        "{refused}"
    );
    let found = query::repository(&machine.state, &account(), &app()).unwrap();
    let found = found.unwrap();
    assert_eq!((found.bytes_max, found.images_max), (Some(400), Some(1)));
}

#[test]
fn nothing_is_more_than_was_given() {
    let mut machine = Machine::with_app();
    let now = |machine: &Machine| {
        let settings = query::registry_settings(&machine.state, &account()).unwrap();
        let quotas = settings.quotas.unwrap();
        (quotas.bytes, quotas.bytes_per_repository, quotas.images)
    };
    machine.done(registry_bytes(QUOTA_BYTES_MAX));
    assert_eq!(now(&machine), (QUOTA_BYTES_MAX, UNBOUNDED, UNBOUNDED));
    let refused = machine.refused(registry_bytes(QUOTA_BYTES_MAX + 1));
    assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
    machine.done(granted(repository_bytes(350)));
    machine.done(granted(registry_bytes(5_000)));
    assert_eq!(now(&machine), (5_000, 350, UNBOUNDED));
    for beyond in [repository_bytes(351), registry_bytes(5_001)] {
        let refused = machine.refused(beyond);
        assert!(
            refused.to_string().contains("an operator of the cluster"),
            "{refused}"
        );
    }
    // Nor by way of one repository.
    let refused = machine.refused(override_bytes("app", 351));
    assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
    machine.done(override_bytes("app", 350));
    machine.done(granted(repository_bytes(320)));
    let refused = machine.refused(link("app", 4));
    assert_eq!(refused, reached(QuotaKind::RepositoryBytes, 320, 300, 100));
    // None again, where none was given.
    machine.done(granted(repository_bytes(0)));
    machine.done(granted(registry_bytes(0)));
    machine.done(override_bytes("app", 0));
    assert_eq!(now(&machine), (UNBOUNDED, UNBOUNDED, UNBOUNDED));
    machine.done(link("app", 4));
}

#[test]
fn whatever_goes_makes_room() {
    let mut machine = Machine::with_app();
    machine.done(repository_bytes(1_000));
    machine.done(image(10, &[1, 2], &["v1"]));
    machine.done(image(11, &[2], &["v2"]));
    machine.done(BeginCollection {});
    assert_eq!(held_by(&machine.state, "app"), (320, 2));
    machine.done(DeleteManifest::new(&account(), &app(), &digest(10)));
    machine.done(DeleteTag {
        with_manifest: true,
        ..DeleteTag::new(&account(), &app(), &tag("v2"))
    });
    assert_eq!(held_by(&machine.state, "app"), (300, 0));
    machine.done(UnlinkBlob::new(&account(), &app(), &digest(3)));
    assert_eq!(held_by(&machine.state, "app"), (200, 0));
    // A blob goes on counting until its link is collected.
    collect(&mut machine).unwrap();
    assert_eq!(held_by(&machine.state, "app"), (0, 0));
    // A copy that was looked at since.
    machine.done(LinkBlob {
        seen: Some(1_000),
        ..link("app", 1)
    });
    machine.done(image(10, &[1], &["v1"]));
    let index = query::repository(&machine.state, &account(), &app()).unwrap();
    machine.done(DeleteRepository {
        force: true,
        ..DeleteRepository::new(&account(), &app(), index.unwrap().index)
    });
    assert_eq!(held(&machine.state), Some((0, 0)));
}

fn collect(machine: &mut Machine) -> Result<Outcome, Refused> {
    let cutoff_ms = i64::MAX;
    machine.run(super::kept::all_due(&machine.state))?;
    let links = query::unused_links(&machine.state, cutoff_ms, None, 100).unwrap();
    machine.run(CollectLinks {
        links,
        cutoff_ms,
        ..CollectLinks::default()
    })?;
    let found = query::unlinked_blobs(&machine.state, 100).unwrap();
    machine.run(CollectBlobs {
        digests: found.iter().map(ToString::to_string).collect(),
        nodes: vec![1],
        at_ms: 9,
    })
}

#[test]
fn what_was_there_before_is_counted_in_steps() {
    let mut machine = Machine::default();
    machine.done(CreateRepository::new(&account(), &app(), 1));
    machine.done(CreateRepository::new(&account(), &repository("zz"), 1));
    let mut index = 10;
    let mut run = |command: Command, is_checked: bool| {
        index += 1;
        let envelope = Envelope::new(u128::from(index).to_be_bytes(), command).to_bytes();
        let (writes, response) = apply(&machine.state, index, &envelope).unwrap();
        machine.state.apply_writes(&writes);
        if is_checked {
            invariants::check(&machine.state).unwrap();
        }
        let count = query::held(&machine.state, &account()).unwrap();
        response.into_result().map(|_| count)
    };
    let before = COUNT_STEP as u64 + 500;
    let numbered = |name: &str, number: u64| {
        let digest =
            entrepot_oci::Digest::of(entrepot_oci::Algorithm::Sha256, &number.to_be_bytes());
        LinkBlob {
            digest: digest.to_string(),
            ..link(name, 1)
        }
    };
    for number in 0..before {
        run(numbered("app", number).into(), false).unwrap();
    }
    run(image(10, &[], &["v1"]).into(), true).unwrap();
    let all = before * 100 + 10;
    let max = all + 350;
    assert_eq!(
        run(registry_bytes(max).into(), true)
            .unwrap()
            .unwrap()
            .bytes,
        0
    );
    // Behind what is counted: it will be.
    let count = run(numbered("zz", 0).into(), true).unwrap().unwrap();
    let partly = Held {
        bytes: COUNT_STEP as u64 * 100,
        images: 0,
        is_whole: false,
    };
    assert_eq!(count, partly);
    // Before it or behind, it is not yet known.
    let count = run(
        UnlinkBlob::new(&account(), &app(), &digest_of(&numbered("app", 3))).into(),
        true,
    );
    let count = count.unwrap().unwrap();
    assert!(count.bytes == partly.bytes || count.bytes == partly.bytes - 100);
    let count = run(CountHeld::new(&account()).into(), true)
        .unwrap()
        .unwrap();
    let whole = Held {
        bytes: all,
        images: 1,
        is_whole: true,
    };
    assert_eq!(count, whole);
    assert_eq!(
        run(CountHeld::new(&account()).into(), true).unwrap(),
        Some(whole)
    );
    for number in 1..=3 {
        run(numbered("zz", number).into(), true).unwrap();
    }
    let refused = run(numbered("zz", 4).into(), true).unwrap_err();
    assert!(matches!(refused, Refused::QuotaReached(_)), "{refused}");
}

fn digest_of(link: &LinkBlob) -> entrepot_oci::Digest {
    link.digest.parse().unwrap()
}

#[test]
fn a_count_that_is_wrong_is_noticed() {
    let mut machine = Machine::with_app();
    machine.done(repository_bytes(1_000));
    machine.done(image(10, &[1], &["v1"]));
    let counts = [
        keys::held(&account()),
        keys::repository_held(&account(), &app()),
    ];
    for key in counts {
        let wrong = Bytes::from_static(&[0x08, 0x07]);
        for value in [None, Some(wrong)] {
            let mut state = machine.state.clone();
            state.apply_writes(&Writes {
                entries: vec![(key.as_bytes().to_vec(), value)],
            });
            assert!(invariants::check(&state).is_err(), "{key:?}");
        }
    }
}

#[test]
fn nobody_counts_where_no_quota_asks_for_it() {
    let mut machine = Machine::with_app();
    machine.done(set(QuotasChange {
        images: Some(5),
        bytes: Some(0),
        ..QuotasChange::default()
    }));
    machine.done(link("app", 4));
    assert_eq!(query::held(&machine.state, &account()).unwrap(), None);
    let refused = machine.refused(CountHeld::new(&account()));
    assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
}

// === whatever comes and goes ===

const NAMES: [&str; 3] = ["app", "bb", "cc"];

/// As naively as can be: of each repository the bytes and the images.
fn counted(state: &MemoryState) -> BTreeMap<RepositoryName, (u64, u64)> {
    let mut all = BTreeMap::new();
    for found in query::repositories(state, &account(), None, 99).unwrap() {
        let name = found.name;
        let manifests = query::manifests(state, &account(), &name, None, 999).unwrap();
        let mut bytes: u64 = manifests.iter().map(|it| it.content_len).sum();
        let deleted = query::deleted_images(state, &account(), &name, None, 999).unwrap();
        bytes += deleted
            .iter()
            .map(|it| it.manifest.content_len)
            .sum::<u64>();
        for blob in query::blobs(state, None, 999).unwrap() {
            if query::linked(state, &account(), &name, &blob.digest).unwrap() {
                bytes += blob.size;
            }
        }
        all.insert(name, (bytes, manifests.len() as u64));
    }
    all
}

fn sized(name: &str, number: u8) -> LinkBlob {
    LinkBlob {
        size: u64::from(number) * 10,
        create_repository: true,
        seen: Some(1_000),
        ..link(name, number)
    }
}

/// What is done; `None`: what nothing refers to goes.
fn change() -> impl Strategy<Value = Option<Command>> {
    let name = || prop::sample::select(NAMES.to_vec());
    let number = 10..16_u8;
    let max = || prop_oneof![Just(0), 1..600_u64];
    let some = |it: Command| Some(it);
    prop_oneof![
        6 => (name(), 1..9_u8, any::<bool>()).prop_map(move |(name, number, is_replica)| {
            some(LinkBlob { is_replica, ..sized(name, number) }.into())
        }),
        2 => (name(), name(), 1..9_u8).prop_map(move |(from, to, number)| {
            some(MountBlob { create_repository: true, ..mount(from, to, number) }.into())
        }),
        2 => (name(), 1..9_u8).prop_map(move |(name, number)| {
            some(UnlinkBlob::new(&account(), &repository(name), &digest(number)).into())
        }),
        5 => (name(), number.clone(), prop::collection::vec(1..9_u8, 0..3), any::<bool>())
            .prop_map(move |(name, number, blobs, far)| {
                let push = PutManifest {
                    repository: name.to_owned(),
                    create_repository: true,
                    content: Bytes::from(vec![1; usize::from(number)]),
                    ..image(number, &blobs, &["v1"])
                };
                let sequence = u64::from(number);
                some(if far { replica(push, "eu-west-1", sequence).into() } else { push.into() })
            }),
        3 => (name(), number.clone(), any::<bool>()).prop_map(move |(name, number, is_kept)| {
            let author = is_kept.then(|| Author::new("root", Cause::Client));
            let command = DeleteManifest::new(&account(), &repository(name), &digest(number));
            some(DeleteManifest { author, ..command }.into())
        }),
        2 => (name(), number).prop_map(move |(name, number)| {
            some(RestoreImage::new(&account(), &repository(name), &digest(number), 9).into())
        }),
        1 => (name(), 1..60_u64).prop_map(move |(name, index)| {
            let command = DeleteRepository::new(&account(), &repository(name), index);
            some(DeleteRepository { force: true, ..command }.into())
        }),
        2 => (max(), max(), max()).prop_map(move |(bytes, repository_bytes, images)| {
            some(set(QuotasChange {
                bytes: Some(bytes),
                repository_bytes: Some(repository_bytes),
                registry_images: Some(images / 100),
                ..QuotasChange::default()
            })
            .into())
        }),
        1 => (name(), max()).prop_map(move |(name, max)| some(override_bytes(name, max).into())),
        1 => Just(None),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever comes and goes, in whichever order: what is said to be held is what
    /// there is, what is refused would not have fitted, and what is taken does.
    #[test]
    fn what_fits_is_taken_and_nothing_else(changes in prop::collection::vec(change(), 1..60)) {
        let mut machine = Machine::with_app();
        machine.done(BeginCollection {});
        for change in changes {
            let before = counted(&machine.state);
            let is_far = match &change {
                Some(Command::PutManifest(push)) => push.origin.is_some(),
                Some(Command::LinkBlob(link)) => link.is_replica,
                _ => false,
            };
            let done = match change {
                Some(change) => machine.run(change),
                None => collect(&mut machine),
            };
            let after = counted(&machine.state);
            let settings = query::registry_settings(&machine.state, &account()).unwrap();
            let sum = |all: &BTreeMap<_, (u64, u64)>| {
                all.values().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
            };
            let Some(found) = query::held(&machine.state, &account()).unwrap() else {
                prop_assert!(!settings.counts_bytes);
                continue;
            };
            if found.is_whole {
                prop_assert_eq!((found.bytes, found.images), sum(&after));
                for (name, held) in &after {
                    prop_assert_eq!(held_by(&machine.state, name.as_str()), *held);
                }
            }
            let quotas = settings.quotas.unwrap();
            let most = |name: &RepositoryName| {
                let found = query::repository(&machine.state, &account(), name).unwrap();
                let own = found.and_then(|found| found.bytes_max);
                own.unwrap_or(quotas.bytes_per_repository)
            };
            match done {
                Err(Refused::QuotaReached(reached)) if reached.kind() != QuotaKind::Number => {
                    prop_assert!(!is_far);
                    let (bytes, images) = sum(&before);
                    match reached.kind() {
                        QuotaKind::RegistryImages => prop_assert!(images >= quotas.images),
                        QuotaKind::RegistryBytes => {
                            prop_assert!(bytes + reached.more > quotas.bytes);
                        }
                        _ => {
                            let name = repository(&reached.repository);
                            let held = before.get(&name).map_or(0, |held| held.0);
                            prop_assert!(held + reached.more > most(&name));
                        }
                    }
                    prop_assert_eq!(before, after);
                }
                Ok(_) if !is_far => {
                    let (had, has) = (sum(&before), sum(&after));
                    prop_assert!(has.0 <= had.0 || has.0 <= quotas.bytes);
                    prop_assert!(has.1 <= had.1 || has.1 <= quotas.images);
                    for (name, held) in &after {
                        let had = before.get(name).map_or(0, |held| held.0);
                        prop_assert!(held.0 <= had || held.0 <= most(name));
                    }
                }
                _ => {}
            }
        }
    }
}
