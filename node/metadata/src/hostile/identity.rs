//! Accounts and their identities: seeds for the targets.

use std::collections::BTreeMap;

use entrepot_oci::AccountId;

use crate::apply::tests::{Machine, account};
use crate::command::{
    AttachPolicy, Command, CreateAccessKey, CreateAccount, CreateEntity, CreatePolicy,
    CreatePolicyVersion, DeleteAccessKey, DeleteEntity, DeletePolicy, NewAccessKey,
    PutInlinePolicy, RoleSpec, SetAccessKeyState, SetAccountState, SetBoundary, SetGroupMember,
    TagEntity, UpdateEntity,
};
use crate::query::{self, AccessKeyState, AccountState, EntityKind};
use crate::store::{KeyValue, StorageError};

const OTHER: &str = "210987654321";
const ARN: &str = "arn:aws:iam::210987654321:policy/p";

fn other() -> AccountId {
    OTHER.parse().unwrap()
}

fn key(id: &str) -> NewAccessKey {
    NewAccessKey::new(id, &b"sealed"[..])
}

/// The first account, and another one with a key.
pub(super) fn prepare(machine: &mut Machine) {
    machine.done(CreateAccount::new(&account(), "root", "$argon2id$", 1));
    machine.done(CreateAccount::additional(
        &other(),
        "other",
        "root",
        key("AKIA1"),
        1,
    ));
    machine.done(user("ann"));
    machine.done(CreateEntity::group(
        &other(),
        "devs",
        "AGPA0000000000000",
        1,
    ));
    machine.done(policy("p"));
    machine.done(member(true));
    machine.done(attach(EntityKind::Group, "devs", ARN));
    machine.done(SetBoundary {
        account: OTHER.to_owned(),
        kind: EntityKind::User.into(),
        name: "ann".to_owned(),
        policy_arn: ARN.to_owned(),
    });
}

fn user(name: &str) -> CreateEntity {
    CreateEntity::user(&other(), name, &format!("AIDA{name:0>13}"), 1)
}

fn policy(name: &str) -> CreatePolicy {
    CreatePolicy {
        account: OTHER.to_owned(),
        name: name.to_owned(),
        path: "/".to_owned(),
        id: format!("ANPA{name:0>13}"),
        document: "{}".to_owned(),
        tags: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..CreatePolicy::default()
    }
}

fn member(is_member: bool) -> SetGroupMember {
    SetGroupMember {
        account: OTHER.to_owned(),
        group: "devs".to_owned(),
        user: "ann".to_owned(),
        is_member,
    }
}

fn update(name: &str, new: &str) -> UpdateEntity {
    UpdateEntity {
        account: OTHER.to_owned(),
        kind: EntityKind::User.into(),
        name: name.to_owned(),
        new_name: Some(new.to_owned()),
        new_path: Some("/team/".to_owned()),
    }
}

fn attach(kind: EntityKind, name: &str, arn: &str) -> AttachPolicy {
    AttachPolicy {
        account: OTHER.to_owned(),
        kind: kind.into(),
        name: name.to_owned(),
        policy_arn: arn.to_owned(),
    }
}

/// Commands about who is in an account. `ann` is one of the `devs`, who have the
/// policy `p`.
fn of_entities() -> Vec<(&'static str, Command)> {
    let account = || OTHER.to_owned();
    let (kind, name) = (i32::from(EntityKind::User), || "ann".to_owned());
    let trust = RoleSpec {
        trust: "{}".to_owned(),
        max_session_s: 3_600,
        ..RoleSpec::default()
    };
    let inline = PutInlinePolicy {
        account: account(),
        kind,
        name: name(),
        policy: "own".to_owned(),
        document: "{}".to_owned(),
    };
    let version = CreatePolicyVersion {
        account: account(),
        name: "p".to_owned(),
        document: "{ }".to_owned(),
        set_as_default: true,
        at_ms: 2,
    };
    let tags = TagEntity {
        account: account(),
        kind,
        name: name(),
        set: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        remove: vec!["gone".to_owned()],
    };
    let delete = |kind: EntityKind, name: &str| DeleteEntity {
        account: account(),
        kind: kind.into(),
        name: name.to_owned(),
    };
    vec![
        ("good-user", user("bob").into()),
        (
            "good-role",
            CreateEntity::role(&other(), "r", "AROA0000000000000", trust, 1).into(),
        ),
        (
            "bad-user-again",
            CreateEntity {
                id: "AIDA1111111111111".to_owned(),
                ..user("Ann")
            }
            .into(),
        ),
        ("good-update", update("ann", "eve").into()),
        (
            "good-group-update",
            UpdateEntity {
                kind: EntityKind::Group.into(),
                ..update("devs", "DEVS")
            }
            .into(),
        ),
        ("bad-update-unknown", update("eve", "ann").into()),
        ("good-inline-policy", inline.into()),
        ("good-policy", policy("q").into()),
        ("good-policy-version", version.into()),
        ("good-attach", attach(EntityKind::User, "ann", ARN).into()),
        (
            "bad-attach-unknown",
            attach(
                EntityKind::User,
                "ann",
                "arn:aws:iam::210987654321:policy/x",
            )
            .into(),
        ),
        ("good-leave-group", member(false).into()),
        ("good-tags", tags.into()),
        ("bad-delete-member", delete(EntityKind::User, "ann").into()),
        ("bad-delete-group", delete(EntityKind::Group, "devs").into()),
        (
            "bad-delete-policy",
            DeletePolicy {
                account: account(),
                name: "p".to_owned(),
            }
            .into(),
        ),
        (
            "good-access-key-of-user",
            CreateAccessKey::new(&other(), "ann", key("AKIA9"), 1).into(),
        ),
    ]
}

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let third: AccountId = "333333333333".parse().unwrap();
    let additional =
        |id: &str| CreateAccount::additional(&third, "third", "root", key(id), 1).into();
    let create = |account: &AccountId, id| CreateAccessKey::new(account, "", key(id), 1).into();
    let key_state = |state| SetAccessKeyState::new(&other(), "", "AKIA1", state).into();
    let state = |account: &AccountId| SetAccountState::new(account, AccountState::Disabled).into();
    vec![
        ("good-additional-account", additional("AKIA3")),
        (
            "bad-additional-account-with-a-key-in-use",
            additional("AKIA1"),
        ),
        ("good-disable-account", state(&other())),
        ("bad-disable-first-account", state(&account())),
        ("good-access-key", create(&other(), "AKIA2")),
        ("bad-access-key-in-use", create(&account(), "AKIA1")),
        ("good-inactive-key", key_state(AccessKeyState::Inactive)),
        (
            "good-delete-key",
            DeleteAccessKey::new(&other(), "", "AKIA1").into(),
        ),
        (
            "bad-delete-key-of-another",
            DeleteAccessKey::new(&account(), "", "AKIA1").into(),
        ),
    ]
    .into_iter()
    .chain(of_entities())
    .collect()
}

pub(super) fn read_all(view: &dyn KeyValue) -> Result<(), StorageError> {
    query::first_account(view)?;
    for account in query::accounts(view, None, 10)? {
        query::account(view, &account.id)?;
        query::access_keys(view, &account.id, "")?;
        query::generation(view, &account.id)?;
        for kind in [EntityKind::User, EntityKind::Group, EntityKind::Role] {
            for found in query::entities(view, &account.id, kind, "/", Some("a"), 10)? {
                query::permissions(view, &account.id, kind, &found.name)?;
                query::group_members(view, &account.id, &found.name, None, 10)?;
                query::access_keys(view, &account.id, &found.name)?;
            }
        }
        for policy in query::policies(view, &account.id, "", None, 10)? {
            query::policy_versions(view, &account.id, &policy.name)?;
        }
        query::policy_users(view, &account.id, ARN, None, 10)?;
    }
    query::access_key(view, "AKIA1")?;
    Ok(())
}
