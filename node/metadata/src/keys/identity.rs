//! Keys of accounts' identities. IAM's names differ by more than case, so keys
//! have them in lower case; how they are written is in the records.

use entrepot_oci::AccountId;

use super::{Key, Namespace};
use crate::records::identity::EntityKind;

/// What for somebody has a managed policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PolicyUse {
    Attached = 1,
    Boundary = 2,
}

pub(crate) fn first_account() -> Key {
    Key::new(Namespace::FirstAccount)
}

pub(crate) fn identities(account: &AccountId) -> Key {
    Key::new(Namespace::Identities).account(account)
}

pub(crate) fn access_key(id: &str) -> Key {
    Key::new(Namespace::AccessKey).name(id)
}

/// The prefix of the keys that `owner` has.
pub(crate) fn access_keys_of(account: &AccountId, owner: &str) -> Key {
    Key::new(Namespace::AccessKeyOf)
        .account(account)
        .name(&owner.to_ascii_lowercase())
}

pub(crate) fn access_key_of(account: &AccountId, owner: &str, id: &str) -> Key {
    access_keys_of(account, owner).name(id)
}

/// The prefix of all users, groups or roles of an account.
pub(crate) fn entities(account: &AccountId, kind: EntityKind) -> Key {
    Key::new(Namespace::Entity)
        .account(account)
        .raw(&[kind.byte()])
}

pub(crate) fn entity(account: &AccountId, kind: EntityKind, name: &str) -> Key {
    entities(account, kind).name(&name.to_ascii_lowercase())
}

pub(crate) fn policies(account: &AccountId) -> Key {
    Key::new(Namespace::Policy).account(account)
}

pub(crate) fn policy(account: &AccountId, name: &str) -> Key {
    policies(account).name(&name.to_ascii_lowercase())
}

/// The prefix of a policy's versions.
pub(crate) fn policy_versions(account: &AccountId, name: &str) -> Key {
    Key::new(Namespace::PolicyVersion)
        .account(account)
        .name(&name.to_ascii_lowercase())
}

pub(crate) fn policy_version(account: &AccountId, name: &str, version: u64) -> Key {
    policy_versions(account, name).number(version)
}

/// The prefix of a group's members.
pub(crate) fn group_members(account: &AccountId, group: &str) -> Key {
    Key::new(Namespace::GroupMember)
        .account(account)
        .name(&group.to_ascii_lowercase())
}

pub(crate) fn group_member(account: &AccountId, group: &str, user: &str) -> Key {
    group_members(account, group).name(&user.to_ascii_lowercase())
}

/// The prefix of those who have a policy for anything.
pub(crate) fn policy_uses(account: &AccountId, arn: &str) -> Key {
    Key::new(Namespace::PolicyUse).account(account).name(arn)
}

pub(crate) fn policy_use(
    account: &AccountId,
    arn: &str,
    how: PolicyUse,
    kind: EntityKind,
    name: &str,
) -> Key {
    policy_uses(account, arn)
        .raw(&[how as u8, kind.byte()])
        .name(&name.to_ascii_lowercase())
}
