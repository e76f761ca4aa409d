//! Hostile bytes: what Raft carries, what a store gives back, and the names
//! that come in from outside as text.
//!
//! Every replica meets the same bytes: a panic or an error of the store here
//! would stop a whole group, for ever.

mod backfills;
mod identity;
mod settings;
mod trust;
mod undelete;

use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;
use entrepot_fuzz::{Verdict, target, uncounted};

use crate::apply::apply;
use crate::apply::tests::{Machine, account, digest, image, index_of, link, replica, rule};
use crate::command::{
    AddMember, AddRegion, Command, CreateAccount, CreateRepository, DeleteManifest,
    DeleteRepository, DeleteRule, DeleteTag, EndTask, Envelope, FormCluster, LinkBlob, MemberSpec,
    MountBlob, PutManifest, PutRegistrySettings, PutRepositorySettings, RemoveMember, RemoveRegion,
    SetMemberState, TagCondition, UnlinkBlob, UpdateMember,
};
use crate::group::GroupId;
use crate::invariants;
use crate::query::{self, MemberState, TaskKey};
use crate::response::Response;
use crate::store::{KeyValue, MemoryState, StorageError, Writes};

/// A refusal is stored, sent and shown: it may name what was wrong, and not
/// repeat a command of megabytes.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// Nothing was applied at this index yet.
const INDEX: u64 = 1_000;

/// Two accounts, and who is in them.
pub(crate) fn with_identities() -> MemoryState {
    let mut machine = Machine::default();
    identity::prepare(&mut machine);
    machine.state
}

/// With images, an index, a referrer, a rule and its tasks.
fn state() -> MemoryState {
    let mut machine = Machine::with_app();
    machine.done(rule("all", &[], "eu-west-1"));
    machine.done(image(10, &[1, 2], &["v1"]));
    machine.done(replica(image(11, &[3], &["v2"]), "ap-south-1", 7));
    machine.done(index_of(12, &[10, 11]));
    machine.done(PutManifest {
        subject: Some(digest(10).to_string()),
        artifact_type: Some("a/b".to_owned()),
        ..image(13, &[1], &[])
    });
    machine.done(FormCluster {
        members: vec![member(1, "a:1"), member(2, "b:1")],
        at_ms: 1,
    });
    trust::prepare(&mut machine);
    identity::prepare(&mut machine);
    settings::prepare(&mut machine);
    backfills::prepare(&mut machine);
    undelete::prepare(&mut machine);
    machine.state
}

/// Commands that the state can do, and some that it refuses.
fn commands() -> Vec<(&'static str, Command)> {
    let app = || "app".parse().unwrap();
    let task = query::open_tasks(&state(), 0, 1).unwrap().remove(0);
    vec![
        (
            "bad-account-again",
            CreateAccount::new(&account(), "root", "$argon2id$", 1).into(),
        ),
        (
            "good-repository",
            CreateRepository::new(&account(), &"other".parse().unwrap(), 1).into(),
        ),
        ("good-link", link("app", 4).into()),
        ("bad-link-elsewhere", link("other", 4).into()),
        (
            "good-mount",
            MountBlob::new(&account(), &app(), &app(), &digest(1), 1).into(),
        ),
        (
            "bad-unlink-named",
            UnlinkBlob::new(&account(), &app(), &digest(1)).into(),
        ),
        ("good-push", image(14, &[1, 2, 3], &["v1", "v3"]).into()),
        ("bad-push-of-nothing", image(15, &[9], &["v1"]).into()),
        ("good-index", index_of(16, &[10, 11]).into()),
        (
            "good-replica",
            replica(image(17, &[1], &["v2"]), "ap-south-1", 9).into(),
        ),
        (
            "bad-delete-child",
            DeleteManifest::new(&account(), &app(), &digest(10)).into(),
        ),
        (
            "good-delete-index",
            DeleteManifest::new(&account(), &app(), &digest(12)).into(),
        ),
        (
            "good-delete-tag",
            DeleteTag::new(&account(), &app(), &"v1".parse().unwrap()).into(),
        ),
        ("good-rule", rule("two", &["team/"], "ap-south-1").into()),
        (
            "good-delete-rule",
            DeleteRule::new(&account(), "all").into(),
        ),
        ("good-end-task", EndTask::complete(&task, 1).into()),
    ]
    .into_iter()
    .chain(with_conditions())
    .chain(of_members())
    .chain(trust::commands())
    .chain(identity::commands())
    .chain(settings::commands())
    .chain(backfills::commands())
    .chain(undelete::commands())
    .collect()
}

/// Commands that depend on what is there, or change what may be.
fn with_conditions() -> Vec<(&'static str, Command)> {
    let inline = LinkBlob {
        holders: Vec::new(),
        size: 4,
        content: Some(Bytes::from_static(b"tiny")),
        ..link("app", 5)
    };
    let torn = LinkBlob {
        size: 5,
        ..inline.clone()
    };
    let expecting = |condition| PutManifest {
        condition: Some(condition),
        ..image(18, &[1], &["v1"])
    };
    let settings = PutRegistrySettings {
        create_on_push: Some(false),
        ..PutRegistrySettings::new(&account())
    };
    let sparse = PutRepositorySettings {
        sparse_indexes: Some(true),
        ..PutRepositorySettings::new(&account(), &"app".parse().unwrap())
    };
    let delete = |index| DeleteRepository {
        force: true,
        ..DeleteRepository::new(&account(), &"app".parse().unwrap(), index)
    };
    vec![
        ("good-delete-repository", delete(1).into()),
        (
            "bad-delete-repository-with-images",
            DeleteRepository {
                force: false,
                ..delete(1)
            }
            .into(),
        ),
        ("good-delete-repository-gone", delete(2).into()),
        ("good-link-inline", inline.into()),
        ("bad-link-inline-torn", torn.into()),
        (
            "good-push-if-it-is",
            expecting(TagCondition::is(&digest(10))).into(),
        ),
        (
            "bad-push-if-absent",
            expecting(TagCondition::absent()).into(),
        ),
        ("good-settings", settings.into()),
        ("good-sparse-indexes", sparse.into()),
    ]
}

fn member(node: u64, address: &str) -> MemberSpec {
    let region = "us-east-1".parse().unwrap();
    MemberSpec {
        folder: Bytes::copy_from_slice(&u128::from(node).to_be_bytes()),
        ..MemberSpec::new(node, &region, address)
    }
}

/// Commands about the cluster's nodes and regions.
fn of_members() -> Vec<(&'static str, Command)> {
    let region = "ap-south-1".parse().unwrap();
    let newcomer = |address| {
        let spec = MemberSpec {
            node: 0,
            ..member(3, address)
        };
        AddMember::new(spec, true, 1)
    };
    let update = UpdateMember {
        peer_address: Some("a:2".to_owned()),
        client_address: Some("c:1".to_owned()),
        capacity_bytes: Some(1 << 40),
        ..UpdateMember::new(1)
    };
    let remove = |node, force| RemoveMember {
        node,
        at_ms: 1,
        force,
    };
    let form = FormCluster {
        members: vec![member(1, "a:1")],
        at_ms: 1,
    };
    vec![
        ("good-form-again", form.into()),
        ("good-join", newcomer("c:1").into()),
        ("bad-join-at-an-address-in-use", newcomer("a:1").into()),
        (
            "good-drain",
            SetMemberState::new(1, MemberState::Draining).into(),
        ),
        (
            "bad-activate-unknown",
            SetMemberState::new(9, MemberState::Active).into(),
        ),
        ("good-update", update.into()),
        ("good-remove", remove(2, true).into()),
        ("bad-remove-active", remove(2, false).into()),
        ("good-region", AddRegion::new(&region, 1).into()),
        ("bad-remove-region", RemoveRegion::new(&region).into()),
    ]
}

/// An encoded envelope, applied.
#[test]
fn envelope() {
    let state = state();
    let mut attacked = target!("envelope").memory(256 * 1024, 64).words(words());
    for (name, command) in commands() {
        attacked = attacked.seed(name, Envelope::new([9; 16], command).to_bytes());
    }
    attacked
        .seed("bad-empty", "")
        .seed(
            "bad-no-command",
            Envelope::new([9; 16], link("app", 4).into()).id,
        )
        .check(|input| {
            let applied = apply(&state, INDEX, input);
            if let Err(StorageError::Newer { .. }) = applied {
                // The leader would not have taken it.
                assert!(!Envelope::is_understood(input));
                return Verdict::taken(false);
            }
            let (writes, response) = applied.unwrap();
            let encoded = response.to_bytes();
            assert!(
                encoded.len() <= RESPONSE_BYTES_MAX,
                "{} bytes",
                encoded.len()
            );
            assert_eq!(Response::from_bytes(&encoded).unwrap(), response);
            uncounted(|| {
                let again = apply(&state, INDEX, input).unwrap();
                assert_eq!(again, (writes.clone(), response.clone()));
                let mut after = state.clone();
                after.apply_writes(&writes);
                invariants::check(&after).unwrap();
                // The envelope's id and its slot.
                assert!(response.refused().is_none() || writes.len() <= 2);
                let answered_before = apply(&after, INDEX + 1, input).unwrap();
                assert!(
                    writes.is_empty() || answered_before == (Writes::default(), response.clone())
                );
            });
            Verdict::taken(response.refused().is_none())
        });
}

/// An encoded answer, as a peer sends it and a store keeps it.
#[test]
fn response() {
    let state = state();
    let mut attacked = target!("response").memory(16 * 1024, 64).words(words());
    for (name, command) in commands() {
        let envelope = Envelope::new([9; 16], command).to_bytes();
        let (_, response) = apply(&state, INDEX, &envelope).unwrap();
        // A refusal is a good answer.
        let name = name.replace("bad-", "good-no-");
        attacked = attacked.seed(&name, response.to_bytes());
    }
    attacked.seed("bad-tag", [7]).check(|input| {
        let decoded = Response::from_bytes(input);
        if let Ok(response) = &decoded {
            let again = Response::from_bytes(&response.to_bytes());
            assert_eq!(again.as_ref(), Ok(response));
            if let Err(refused) = response.clone().into_result() {
                assert!(refused.to_string().len() <= 2 * input.len() + 200);
            }
        }
        Verdict::of(&decoded)
    });
}

/// The length of a key in one byte, the key, its value: put into a state that
/// is sound otherwise, and read by everything that reads.
#[test]
fn pair() {
    let state = state();
    // The state's own memory is the test's; checking reads all of it.
    let mut attacked = target!("pair").memory(1024 * 1024, 16).words(words());
    for (number, (key, value)) in state.iter().enumerate() {
        let length = u8::try_from(key.len()).unwrap();
        let bytes = [&[length], key, &value[..]].concat();
        attacked = attacked.seed(&format!("good-{number}"), bytes);
    }
    let of_an_unknown_namespace = [1, 0xf0];
    attacked
        .seed("bad-namespace", of_an_unknown_namespace)
        .check(|input| {
            let Some((length, rest)) = input.split_first() else {
                return Verdict::Refused;
            };
            let (key, value) = rest.split_at(rest.len().min(usize::from(*length)));
            let mut state = uncounted(|| state.clone());
            let entry = (key.to_vec(), Some(Bytes::copy_from_slice(value)));
            state.apply_writes(&Writes {
                entries: vec![entry],
            });
            let checked = invariants::check(&state);
            let read = read_all(&state);
            assert!(checked.is_err() || read.is_ok(), "{read:?}");
            Verdict::of(&checked)
        });
}

fn read_all(view: &dyn KeyValue) -> Result<(), StorageError> {
    let (account, app, first) = (account(), "app".parse().unwrap(), digest(10));
    query::first_account(view)?;
    query::registry_settings(view, &account)?;
    query::rules(view, &account)?;
    for repository in query::repositories(view, &account, Some("a\0\u{ff}"), 10)? {
        query::tags(view, &account, &repository.name, None, 10)?;
        query::manifests(view, &account, &repository.name, None, 10)?;
    }
    query::blobs(view, None, 10)?;
    query::manifest(view, &account, &app, &first)?;
    query::tags_of(view, &account, &app, &first, 10)?;
    query::referrers(view, &account, &app, &first, None, 10)?;
    query::tasks(view, &account, None, None, 10)?;
    query::open_tasks(view, 0, 10)?;
    query::is_formed(view)?;
    query::members(view)?;
    query::regions(view)?;
    query::authority(view)?;
    query::join_token(view, &[1; 32])?;
    query::certificates(view, 1)?;
    query::standing(view, 1, &[0x44; 16])?;
    identity::read_all(view)?;
    settings::read_all(view)?;
    backfills::read_all(view)?;
    undelete::read_all(view)?;
    Ok(())
}

/// `<kind> <text>`
#[test]
fn tokens() {
    let kinds = [
        "group ", "task ", "global/", "region/", "/0", " - ", "sha256:",
    ];
    target!("tokens").words(kinds).check_text(|input| {
        let (kind, text) = input.split_once(' ').unwrap_or_default();
        match kind {
            "group" => token::<GroupId>(text),
            "task" => token::<TaskKey>(text),
            _ => Verdict::Refused,
        }
    });
}

/// What is taken prints as it was written.
fn token<T: FromStr<Err: Display> + Display>(text: &str) -> Verdict {
    let parsed = text.parse::<T>();
    match &parsed {
        Ok(token) => assert_eq!(token.to_string(), text),
        Err(error) => assert!(error.to_string().len() <= 500),
    }
    Verdict::of(&parsed)
}

/// Names and digests that the state knows, and tags of protobuf fields.
fn words() -> Vec<Vec<u8>> {
    let names = ["app", "v1", "v2", "all", "eu-west-1", "123456789012"];
    let mut words: Vec<Vec<u8>> = names.map(|name| name.as_bytes().to_vec()).to_vec();
    words.extend((1..14).map(|number| digest(number).to_string().into_bytes()));
    words.extend((1..14).map(|number| digest(number).bytes().to_vec()));
    // A field's tag with an empty value, and one that claims four gigabytes.
    words.extend((1..15).map(|field: u8| vec![field << 3 | 2, 0]));
    words.extend((1..15).map(|field: u8| vec![field << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f]));
    words
}
