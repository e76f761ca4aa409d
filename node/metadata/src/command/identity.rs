//! Commands about users, groups, roles and managed policies. All of them belong
//! into the `global` group. Names are those of IAM: they differ by more than
//! case. That documents are policies is for the proposer to check.

use std::collections::BTreeMap;

use entrepot_oci::AccountId;

use crate::records::identity::EntityKind;

/// Makes a user, a group or a role; `EntityExists` when there is one of that
/// name, unless it has the same id: then it is this command's own, from before.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateEntity {
    #[prost(string, tag = "1")]
    pub account: String,
    /// `User`, `Group` or `Role`.
    #[prost(enumeration = "EntityKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub name: String,
    /// `/`, or `/.../`.
    #[prost(string, tag = "4")]
    pub path: String,
    /// `AIDA...`, `AGPA...` or `AROA...`
    #[prost(string, tag = "5")]
    pub id: String,
    #[prost(int64, tag = "6")]
    pub at_ms: i64,
    /// Not of a group.
    #[prost(btree_map = "string, string", tag = "7")]
    pub tags: BTreeMap<String, String>,
    /// ARN of the permissions boundary; empty: none. Not of a group.
    #[prost(string, tag = "8")]
    pub boundary: String,
    /// Of a role, and of nothing else.
    #[prost(message, optional, tag = "9")]
    pub role: Option<RoleSpec>,
    /// ARNs of managed policies that it has from the beginning.
    #[prost(string, repeated, tag = "10")]
    pub attached: Vec<String>,
}

/// What only roles have.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RoleSpec {
    /// Who may assume it: a policy.
    #[prost(string, tag = "1")]
    pub trust: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(uint32, tag = "3")]
    pub max_session_s: u32,
    /// The service that it is for, which alone changes it; empty: none.
    #[prost(string, tag = "4")]
    pub service: String,
}

/// `DeleteConflict` while it has keys, policies, groups or members.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteEntity {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(enumeration = "EntityKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub name: String,
}

/// Changes a role: what is given, and nothing else.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UpdateRole {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, optional, tag = "3")]
    pub trust: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub description: Option<String>,
    #[prost(uint32, optional, tag = "5")]
    pub max_session_s: Option<u32>,
}

/// Gives a user or a group another name, another path or both; it stays the same
/// one. `EntityExists` when another has the name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UpdateEntity {
    #[prost(string, tag = "1")]
    pub account: String,
    /// `User` or `Group`.
    #[prost(enumeration = "EntityKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, optional, tag = "4")]
    pub new_name: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub new_path: Option<String>,
}

/// Makes or replaces a policy that belongs to one user, group or role.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutInlinePolicy {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(enumeration = "EntityKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub policy: String,
    #[prost(string, tag = "5")]
    pub document: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteInlinePolicy {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(enumeration = "EntityKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub policy: String,
}

/// Attaches a managed policy, of the account or AWS's own; that there is such a
/// one of AWS's is for the proposer to check. One that is attached is fine.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AttachPolicy {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(enumeration = "EntityKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub policy_arn: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DetachPolicy {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(enumeration = "EntityKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub policy_arn: String,
}

/// Sets the permissions boundary of a user or a role.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetBoundary {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(enumeration = "EntityKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub name: String,
    /// Empty: none any more.
    #[prost(string, tag = "4")]
    pub policy_arn: String,
}

/// Changes the tags of a user, a role or a managed policy.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TagEntity {
    #[prost(string, tag = "1")]
    pub account: String,
    /// `User`, `Role` or `Policy`.
    #[prost(enumeration = "EntityKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub set: BTreeMap<String, String>,
    /// Keys; those that are not there are fine.
    #[prost(string, repeated, tag = "5")]
    pub remove: Vec<String>,
}

/// Puts a user into a group, or takes it out. As it is already is fine.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetGroupMember {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub group: String,
    #[prost(string, tag = "3")]
    pub user: String,
    #[prost(bool, tag = "4")]
    pub is_member: bool,
}

/// Makes a managed policy with its version 1, which is the default.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreatePolicy {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub path: String,
    /// `ANPA...`
    #[prost(string, tag = "4")]
    pub id: String,
    #[prost(string, tag = "5")]
    pub description: String,
    #[prost(string, tag = "6")]
    pub document: String,
    #[prost(btree_map = "string, string", tag = "7")]
    pub tags: BTreeMap<String, String>,
    #[prost(int64, tag = "8")]
    pub at_ms: i64,
}

/// Answered with the number that the version has.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreatePolicyVersion {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub document: String,
    #[prost(bool, tag = "4")]
    pub set_as_default: bool,
    #[prost(int64, tag = "5")]
    pub at_ms: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetDefaultPolicyVersion {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(uint64, tag = "3")]
    pub version: u64,
}

/// `DeleteConflict` of the default version.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeletePolicyVersion {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(uint64, tag = "3")]
    pub version: u64,
}

/// `DeleteConflict` while it is attached, or has versions but the default.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeletePolicy {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub name: String,
}

// === impl CreateEntity ===

impl CreateEntity {
    fn new(account: &AccountId, kind: EntityKind, name: &str, id: &str, at_ms: i64) -> Self {
        Self {
            account: account.to_string(),
            kind: kind.into(),
            name: name.to_owned(),
            path: "/".to_owned(),
            id: id.to_owned(),
            at_ms,
            ..Self::default()
        }
    }

    /// Without path, tags and boundary, as the next ones.
    pub fn user(account: &AccountId, name: &str, id: &str, at_ms: i64) -> Self {
        Self::new(account, EntityKind::User, name, id, at_ms)
    }

    pub fn group(account: &AccountId, name: &str, id: &str, at_ms: i64) -> Self {
        Self::new(account, EntityKind::Group, name, id, at_ms)
    }

    pub fn role(account: &AccountId, name: &str, id: &str, role: RoleSpec, at_ms: i64) -> Self {
        Self {
            role: Some(role),
            ..Self::new(account, EntityKind::Role, name, id, at_ms)
        }
    }
}
