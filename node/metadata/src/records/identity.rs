//! Records of accounts' identities: who there is besides the root user, and what
//! proves it.

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
        }
    }
}
