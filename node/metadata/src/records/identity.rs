//! Records of accounts' identities: who there is besides the root user, and what
//! proves it.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

/// Which account is the cluster's first; not there while there is one alone.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FirstAccountRecord {
    #[prost(string, tag = "1")]
    pub account: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct AccessKeyRecord {
    #[prost(string, tag = "1")]
    pub account: String,
    /// A user's name; empty: the root user.
    #[prost(string, tag = "2")]
    pub owner: String,
    /// Under the cluster's key.
    #[prost(bytes = "bytes", tag = "3")]
    pub sealed_secret: Bytes,
    #[prost(bool, tag = "4")]
    pub inactive: bool,
    #[prost(int64, tag = "5")]
    pub created_at_ms: i64,
    /// Log index of the last command that changed it.
    #[prost(uint64, tag = "6")]
    pub index: u64,
}

/// What is known of all identities of an account.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct IdentitiesRecord {
    /// Log index of the last command that changed who may what.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// How many there are.
    #[prost(uint32, tag = "2")]
    pub users: u32,
    #[prost(uint32, tag = "3")]
    pub groups: u32,
    #[prost(uint32, tag = "4")]
    pub roles: u32,
    #[prost(uint32, tag = "5")]
    pub policies: u32,
}

/// A user, a group or a role.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EntityRecord {
    /// As it was given; the key has it in lower case.
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub path: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(int64, tag = "4")]
    pub created_at_ms: i64,
    /// Log index of the command that made it.
    #[prost(uint64, tag = "5")]
    pub index: u64,
    #[prost(btree_map = "string, string", tag = "6")]
    pub tags: BTreeMap<String, String>,
    /// Documents by the names of the policies.
    #[prost(btree_map = "string, string", tag = "7")]
    pub inline: BTreeMap<String, String>,
    /// ARNs of managed policies; sorted, no duplicates.
    #[prost(string, repeated, tag = "8")]
    pub attached: Vec<String>,
    /// Of a user: names; sorted, no duplicates.
    #[prost(string, repeated, tag = "9")]
    pub groups: Vec<String>,
    /// ARN of a managed policy; empty: none.
    #[prost(string, tag = "10")]
    pub boundary: String,
    /// Of a role.
    #[prost(message, optional, tag = "11")]
    pub role: Option<RoleRecord>,
}

/// What only roles have.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RoleRecord {
    /// Who may assume it: a policy.
    #[prost(string, tag = "1")]
    pub trust: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(uint32, tag = "3")]
    pub max_session_s: u32,
    /// The service that it is for; empty: none.
    #[prost(string, tag = "4")]
    pub service: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PolicyRecord {
    /// As it was given; the key has it in lower case.
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub path: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(string, tag = "4")]
    pub description: String,
    /// The one that is in force.
    #[prost(uint64, tag = "5")]
    pub default_version: u64,
    /// The last one that was made: numbers are not given again.
    #[prost(uint64, tag = "6")]
    pub last_version: u64,
    #[prost(int64, tag = "7")]
    pub created_at_ms: i64,
    #[prost(int64, tag = "8")]
    pub updated_at_ms: i64,
    /// Log index of the command that made it.
    #[prost(uint64, tag = "9")]
    pub index: u64,
    #[prost(btree_map = "string, string", tag = "10")]
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PolicyVersionRecord {
    #[prost(string, tag = "1")]
    pub document: String,
    #[prost(int64, tag = "2")]
    pub created_at_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AccountState {
    Active = 1,
    Disabled = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AccessKeyState {
    Active = 1,
    Inactive = 2,
}

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum EntityKind {
    AccessKey = 1,
    User = 2,
    Group = 3,
    Role = 4,
    Policy = 5,
    PolicyVersion = 6,
    InlinePolicy = 7,
    Attachment = 8,
    Boundary = 9,
}

// === impl AccessKeyRecord ===

impl fmt::Debug for AccessKeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Sealed as it is, the secret has no business in a log.
        f.debug_struct("AccessKeyRecord")
            .field("account", &self.account)
            .field("owner", &self.owner)
            .field("inactive", &self.inactive)
            .field("created_at_ms", &self.created_at_ms)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

// === impl EntityKind ===

impl EntityKind {
    /// As IAM's messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessKey => "access key",
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
            Self::Policy => "policy",
            Self::PolicyVersion => "policy version",
            Self::InlinePolicy => "inline policy",
            Self::Attachment => "attached policy",
            Self::Boundary => "permissions boundary of",
        }
    }

    /// As keys have it.
    pub(crate) fn byte(self) -> u8 {
        self as u8
    }

    /// What has policies, by its byte.
    pub(crate) fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            2 => Some(Self::User),
            3 => Some(Self::Group),
            4 => Some(Self::Role),
            _ => None,
        }
    }
}

// === impl IdentitiesRecord ===

impl IdentitiesRecord {
    /// How many users, groups or roles there are.
    pub(crate) fn count(&self, kind: EntityKind) -> u32 {
        match kind {
            EntityKind::Group => self.groups,
            EntityKind::Role => self.roles,
            _ => self.users,
        }
    }

    pub(crate) fn count_mut(&mut self, kind: EntityKind) -> &mut u32 {
        match kind {
            EntityKind::Group => &mut self.groups,
            EntityKind::Role => &mut self.roles,
            _ => &mut self.users,
        }
    }
}
