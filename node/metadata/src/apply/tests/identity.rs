//! Users, groups, roles and managed policies: what is refused, and the pages of
//! lists. What else they do is held against a model, in `tests/model`.

use std::collections::BTreeMap;

use super::{Machine, account};
use crate::command::{
    AttachPolicy, Command, CreateAccessKey, CreateAccount, CreateEntity, CreatePolicy,
    CreatePolicyVersion, DeleteEntity, NewAccessKey, PutInlinePolicy, RoleSpec, SetGroupMember,
    TagEntity, UpdateEntity, UpdateRole,
};
use crate::limits::{
    ATTACHED_MAX, GROUPS_MAX, GROUPS_PER_USER_MAX, IDENTITY_TAGS_MAX, MANAGED_POLICY_CHARS_MAX,
};
use crate::query::{self, EntityKind};
use crate::response::{Entity, EntityLimit, Outcome, PolicyVersionMade, Refused};

fn id(number: usize) -> String {
    format!("AIDA{number:017}")
}

fn user(name: &str) -> CreateEntity {
    let number = name.bytes().map(usize::from).sum();
    CreateEntity::user(&account(), name, &id(number), 1)
}

fn group(name: &str) -> CreateEntity {
    let number = name.bytes().map(usize::from).sum();
    CreateEntity::group(&account(), name, &id(number), 1)
}

fn role(name: &str) -> CreateEntity {
    let spec = RoleSpec {
        trust: "{}".to_owned(),
        max_session_s: 3_600,
        ..RoleSpec::default()
    };
    CreateEntity::role(&account(), name, &id(7), spec, 1)
}

fn policy(name: &str, document: &str) -> CreatePolicy {
    CreatePolicy {
        account: account().to_string(),
        name: name.to_owned(),
        path: "/".to_owned(),
        id: "ANPA0000000000000".to_owned(),
        document: document.to_owned(),
        at_ms: 1,
        ..CreatePolicy::default()
    }
}

fn attach(name: &str, arn: &str) -> AttachPolicy {
    AttachPolicy {
        account: account().to_string(),
        kind: EntityKind::User.into(),
        name: name.to_owned(),
        policy_arn: arn.to_owned(),
    }
}

fn inline(name: &str, policy: &str, document: &str) -> PutInlinePolicy {
    PutInlinePolicy {
        account: account().to_string(),
        kind: EntityKind::User.into(),
        name: name.to_owned(),
        policy: policy.to_owned(),
        document: document.to_owned(),
    }
}

fn member(group: &str, user: &str) -> SetGroupMember {
    SetGroupMember {
        account: account().to_string(),
        group: group.to_owned(),
        user: user.to_owned(),
        is_member: true,
    }
}

fn with_account() -> Machine {
    let mut machine = Machine::default();
    machine.done(CreateAccount::new(&account(), "root", "$", 1));
    machine
}

fn quota(name: &str, max: usize) -> Refused {
    Refused::EntityLimit(EntityLimit::new(name, max))
}

#[track_caller]
fn invalid(machine: &mut Machine, command: impl Into<Command>) {
    let command = command.into();
    let refused = machine.refused(command.clone());
    assert!(
        matches!(refused, Refused::Invalid(_)),
        "{command:?}: {refused}"
    );
}

#[test]
fn identities_are_those_of_an_account_that_is_there() {
    let mut machine = Machine::default();
    let unknown = Refused::AccountUnknown(account().to_string());
    assert_eq!(machine.refused(user("ann")), unknown);
    assert_eq!(machine.refused(policy("p", "{}")), unknown);
}

#[test]
fn names_paths_and_ids_are_iams() {
    let mut machine = with_account();
    for name in ["", "a b", "a/b", "\u{e4}", &"a".repeat(65)] {
        invalid(&mut machine, user(name));
    }
    for path in [
        "",
        "a",
        "/a",
        "a/",
        "//",
        "/\u{e4}/",
        &format!("/{}/", "a".repeat(511)),
    ] {
        let path = path.to_owned();
        invalid(
            &mut machine,
            CreateEntity {
                path,
                ..user("ann")
            },
        );
    }
    for id in ["", "AIDA", "AIDA_0000000000000", &"A".repeat(129)] {
        let id = id.to_owned();
        invalid(&mut machine, CreateEntity { id, ..user("ann") });
    }
    let long = "x".repeat(128);
    machine.done(group(&long));
    machine.done(CreateEntity {
        path: "/team/+a=b,c.d@e-f/".to_owned(),
        ..user("a+=,.@-_Z9")
    });
}

#[test]
fn each_kind_has_what_it_may_have() {
    let mut machine = with_account();
    let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    invalid(&mut machine, CreateEntity { tags, ..group("g") });
    invalid(
        &mut machine,
        CreateEntity {
            role: None,
            ..role("r")
        },
    );
    invalid(
        &mut machine,
        CreateEntity {
            role: role("r").role,
            ..user("ann")
        },
    );
    let kind = EntityKind::Policy.into();
    invalid(
        &mut machine,
        CreateEntity {
            kind,
            ..user("ann")
        },
    );
    for (spec, is_right) in [
        (
            RoleSpec {
                max_session_s: 3_599,
                ..role("r").role.unwrap()
            },
            false,
        ),
        (
            RoleSpec {
                max_session_s: 43_201,
                ..role("r").role.unwrap()
            },
            false,
        ),
        (
            RoleSpec {
                description: "d".repeat(1_001),
                ..role("r").role.unwrap()
            },
            false,
        ),
        (
            RoleSpec {
                trust: String::new(),
                ..role("r").role.unwrap()
            },
            false,
        ),
        (role("r").role.unwrap(), true),
    ] {
        let create = CreateEntity {
            role: Some(spec),
            ..role("r")
        };
        if is_right {
            machine.done(create);
        } else {
            invalid(&mut machine, create);
        }
    }
}

#[test]
fn a_role_changes_by_what_is_given_and_a_services_by_nobody() {
    let mut machine = with_account();
    machine.done(role("r"));
    let update = UpdateRole {
        account: account().to_string(),
        name: "R".to_owned(),
        description: Some("new".to_owned()),
        ..UpdateRole::default()
    };
    machine.done(update.clone());
    let found = |machine: &Machine, name| {
        let found = query::entity(&machine.state, &account(), EntityKind::Role, name);
        found.unwrap().unwrap().role.unwrap()
    };
    let role_now = found(&machine, "r");
    assert_eq!(
        (role_now.description.as_str(), role_now.max_session_s),
        ("new", 3_600)
    );
    let spec = RoleSpec {
        service: "x.amazonaws.com".to_owned(),
        ..role("s").role.unwrap()
    };
    machine.done(CreateEntity {
        role: Some(spec),
        ..role("s")
    });
    let refused = machine.refused(UpdateRole {
        name: "s".to_owned(),
        ..update
    });
    assert_eq!(
        refused,
        Refused::Unmodifiable(Entity::new(EntityKind::Role, "s"))
    );
}

#[test]
fn there_is_no_more_of_anything_than_there_may_be() {
    let mut machine = with_account();
    machine.done(user("ann"));
    let mut groups = (0..GROUPS_MAX).map(|number| CreateEntity {
        id: id(number),
        ..group(&format!("g{number}"))
    });
    groups.by_ref().for_each(|group| drop(machine.done(group)));
    assert_eq!(
        machine.refused(group("more")),
        quota("GroupsPerAccount", GROUPS_MAX)
    );
    for number in 0..GROUPS_PER_USER_MAX {
        machine.done(member(&format!("g{number}"), "ann"));
    }
    let more = machine.refused(member("g299", "ann"));
    assert_eq!(more, quota("GroupsPerUser", GROUPS_PER_USER_MAX));

    let aws = |number| format!("arn:aws:iam::aws:policy/Policy{number}");
    for number in 0..ATTACHED_MAX {
        machine.done(attach("ann", &aws(number)));
    }
    let more = machine.refused(attach("ann", &aws(99)));
    assert_eq!(more, quota("PoliciesPerUser", ATTACHED_MAX));
    machine.done(attach("ann", &aws(3)));

    let tags = |count: usize| TagEntity {
        account: account().to_string(),
        kind: EntityKind::User.into(),
        name: "ann".to_owned(),
        set: (0..count)
            .map(|it| (it.to_string(), String::new()))
            .collect(),
        remove: Vec::new(),
    };
    let more = machine.refused(tags(IDENTITY_TAGS_MAX + 1));
    assert_eq!(more, quota("TagsPerResource", IDENTITY_TAGS_MAX));
    machine.done(tags(IDENTITY_TAGS_MAX));
}

#[test]
fn documents_have_their_sizes_without_white_space() {
    let mut machine = with_account();
    machine.done(user("ann"));
    let wide = |signs: usize| format!("{}{}", "x".repeat(signs), " \n".repeat(1_000));
    machine.done(inline("ann", "a", &wide(2_000)));
    let more = machine.refused(inline("ann", "b", &wide(49)));
    assert_eq!(more, quota("InlinePolicySizePerUser", 2_048));
    machine.done(inline("ann", "b", &wide(48)));
    invalid(&mut machine, inline("ann", "c", ""));
    invalid(&mut machine, inline("ann", "c", &" ".repeat(40_000)));

    let max = MANAGED_POLICY_CHARS_MAX;
    let more = machine.refused(policy("p", &wide(max + 1)));
    assert_eq!(more, quota("PolicySize", max));
    machine.done(policy("p", &wide(max)));
}

#[test]
fn a_version_that_is_made_again_is_the_same() {
    let mut machine = with_account();
    machine.done(policy("p", "{}"));
    let version = |at_ms| CreatePolicyVersion {
        account: account().to_string(),
        name: "P".to_owned(),
        document: "{ }".to_owned(),
        set_as_default: false,
        at_ms,
    };
    let made = |version| Outcome::PolicyVersionMade(PolicyVersionMade { version });
    assert_eq!(machine.done(version(5)), made(2));
    assert_eq!(machine.done(version(5)), made(2));
    assert_eq!(machine.done(version(6)), made(3));
}

#[test]
fn entities_are_listed_in_pages_and_by_path() {
    let mut machine = with_account();
    for (name, path) in [
        ("Zoe", "/a/"),
        ("ann", "/"),
        ("Bob", "/a/b/"),
        ("bo", "/ab/"),
    ] {
        machine.done(CreateEntity {
            path: path.to_owned(),
            ..user(name)
        });
    }
    let page = |path: &str, after: Option<&str>, limit| -> Vec<String> {
        let kind = EntityKind::User;
        let found = query::entities(&machine.state, &account(), kind, path, after, limit);
        found.unwrap().into_iter().map(|it| it.name).collect()
    };
    assert_eq!(page("", None, 10), ["ann", "bo", "Bob", "Zoe"]);
    assert_eq!(page("/", Some("BO"), 1), ["Bob"]);
    assert_eq!(page("/a/", None, 10), ["Bob", "Zoe"]);
    assert_eq!(page("/a/", Some("bob"), 10), ["Zoe"]);
    assert_eq!(page("/a", None, 1), ["bo"]);
    assert_eq!(page("/x", None, 10), [""; 0]);
}

#[test]
fn a_user_with_a_key_stays_and_a_key_is_the_users() {
    let mut machine = with_account();
    machine.done(user("Ann"));
    let key = NewAccessKey::new("AKIA1", &b"sealed"[..]);
    machine.done(CreateAccessKey::new(&account(), "ann", key, 1));
    let found = query::access_key(&machine.state, "AKIA1").unwrap().unwrap();
    assert_eq!(found.owner, "Ann");
    assert_eq!(
        query::access_keys(&machine.state, &account(), "ANN").unwrap(),
        [found]
    );
    let delete = DeleteEntity {
        account: account().to_string(),
        kind: EntityKind::User.into(),
        name: "ann".to_owned(),
    };
    let why = "cannot delete entity, must delete access keys first";
    assert_eq!(
        machine.refused(delete),
        Refused::DeleteConflict(why.to_owned())
    );
}

#[test]
fn who_is_renamed_keeps_everything() {
    let arn = format!("arn:aws:iam::{}:policy/p", account());
    let mut machine = with_account();
    machine.done(policy("p", "{}"));
    machine.done(CreateEntity {
        boundary: arn.clone(),
        attached: vec![arn.clone()],
        ..user("ann")
    });
    machine.done(user("ben"));
    machine.done(group("devs"));
    machine.done(member("devs", "ann"));
    let key = NewAccessKey::new("AKIAANN", &b"sealed"[..]);
    machine.done(CreateAccessKey::new(&account(), "ann", key, 1));
    let update = |kind: EntityKind, name: &str, new: &str| UpdateEntity {
        account: account().to_string(),
        kind: kind.into(),
        name: name.to_owned(),
        new_name: Some(new.to_owned()),
        new_path: None,
    };
    machine.done(update(EntityKind::User, "ann", "Eve"));
    machine.done(update(EntityKind::User, "eve", "EVE"));
    machine.done(update(EntityKind::Group, "devs", "ops"));
    let eve = query::entity(&machine.state, &account(), EntityKind::User, "eve");
    let eve = eve.unwrap().unwrap();
    assert_eq!((eve.name.as_str(), eve.id), ("EVE", user("ann").id));
    assert_eq!(
        (eve.groups, eve.attached),
        (vec!["ops".to_owned()], vec![arn])
    );
    let keys = query::access_keys(&machine.state, &account(), "Eve").unwrap();
    assert_eq!((keys.len(), keys[0].owner.as_str()), (1, "EVE"));
    let members = query::group_members(&machine.state, &account(), "ops", None, 9);
    assert_eq!(members.unwrap().len(), 1);
    let gone = query::entity(&machine.state, &account(), EntityKind::User, "ann");
    assert_eq!(gone.unwrap(), None);
    let taken = Refused::EntityExists(Entity::new(EntityKind::User, "ben"));
    assert_eq!(
        machine.refused(update(EntityKind::User, "eve", "BEN")),
        taken
    );
    machine.done(role("r"));
    invalid(&mut machine, update(EntityKind::Role, "r", "s"));
    invalid(&mut machine, update(EntityKind::User, "eve", "a b"));
}
