//! Commands about what a registry and its repositories are to be like, beyond
//! what is in them. All of them belong into the region's group.
//!
//! Texts and bodies are kept as they are: what they mean is checked by whoever
//! proposes them.

use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_oci::{AccountId, RegistryId, RepositoryName};

use crate::records::rules::{DestinationRecord, RuleOptions};
use crate::records::settings::{
    CreatedFor, EncryptionRecord, ItemKind, MutabilityRecord, TextKind,
};

/// What a repository is made with.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RepositorySpec {
    /// Unset: every tag may move.
    #[prost(message, optional, tag = "1")]
    pub mutability: Option<MutabilityRecord>,
    /// For good. Unset: AES256.
    #[prost(message, optional, tag = "2")]
    pub encryption: Option<EncryptionRecord>,
    #[prost(bool, tag = "3")]
    pub scan_on_push: bool,
    #[prost(btree_map = "string, string", tag = "4")]
    pub tags: BTreeMap<String, String>,
    /// Empty: none, as the next one.
    #[prost(string, tag = "5")]
    pub policy: String,
    #[prost(string, tag = "6")]
    pub lifecycle: String,
    /// Of a public repository.
    #[prost(string, tag = "7")]
    pub catalog: String,
}

/// What repositories are made with that nobody makes by hand: the body of an
/// [`ItemKind::CreationTemplate`], whose name is the prefix of their names.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreationTemplate {
    #[prost(message, optional, tag = "1")]
    pub spec: Option<RepositorySpec>,
    /// For which of the ways to make one.
    #[prost(enumeration = "CreatedFor", repeated, tag = "2")]
    pub applied_for: Vec<i32>,
    #[prost(string, optional, tag = "3")]
    pub description: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub role: Option<String>,
}

/// Makes these rules a registry's, and no others.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReplaceRules {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(message, repeated, tag = "2")]
    pub rules: Vec<RuleSpec>,
    /// What they were made from: kept as an [`ItemKind::ReplicationConfiguration`].
    #[prost(bytes = "bytes", tag = "3")]
    pub document: Bytes,
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
}

/// As in `PutRule`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RuleSpec {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, repeated, tag = "2")]
    pub prefixes: Vec<String>,
    #[prost(string, tag = "3")]
    pub destination_region: String,
    #[prost(message, repeated, tag = "4")]
    pub destinations: Vec<DestinationRecord>,
    #[prost(message, optional, tag = "5")]
    pub options: Option<RuleOptions>,
}

/// Changes the resource tags of a repository.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TagRepository {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub set: BTreeMap<String, String>,
    /// Keys; those that are not there are fine.
    #[prost(string, repeated, tag = "4")]
    pub remove: Vec<String>,
    /// `Invalid` when the repository would have two keys that differ by case alone.
    /// It is decided here, where nobody can have set another one meanwhile.
    #[prost(bool, tag = "5")]
    pub distinct: bool,
}

/// Sets a text of a repository, or removes it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutRepositoryText {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(enumeration = "TextKind", tag = "3")]
    pub kind: i32,
    /// Empty: there is to be none, `ItemUnknown` if there is none.
    #[prost(string, tag = "4")]
    pub text: String,
    #[prost(int64, tag = "5")]
    pub at_ms: i64,
}

/// Sets something that a registry has one or several of, each under a name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutRegistryItem {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(enumeration = "ItemKind", tag = "2")]
    pub kind: i32,
    /// Empty for what there is one of.
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(bytes = "bytes", tag = "4")]
    pub body: Bytes,
    /// `ItemExists` when there is one of that name.
    #[prost(bool, tag = "5")]
    pub must_be_new: bool,
    /// `ItemUnknown` when there is none.
    #[prost(bool, tag = "6")]
    pub must_exist: bool,
    #[prost(int64, tag = "7")]
    pub at_ms: i64,
    /// `ItemUnknown` unless there is one with this body.
    #[prost(bytes = "bytes", optional, tag = "8")]
    pub expected: Option<Bytes>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRegistryItem {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(enumeration = "ItemKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub name: String,
}

// === making them ===

impl TagRepository {
    pub fn new(account: &RegistryId, repository: &RepositoryName) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            ..Self::default()
        }
    }
}

impl PutRepositoryText {
    /// Of a kind that there always was.
    pub(super) fn is_of_first_kinds(&self) -> bool {
        let kind = TextKind::try_from(self.kind);
        kind.is_ok_and(|kind| {
            let first = [TextKind::Policy, TextKind::Lifecycle, TextKind::Catalog];
            first.contains(&kind)
        })
    }

    pub fn new(
        account: &RegistryId,
        repository: &RepositoryName,
        kind: TextKind,
        text: &str,
        at_ms: i64,
    ) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            kind: kind.into(),
            text: text.to_owned(),
            at_ms,
        }
    }
}

impl PutRegistryItem {
    /// New or not.
    pub fn new(
        account: &RegistryId,
        kind: ItemKind,
        name: &str,
        body: impl Into<Bytes>,
        at_ms: i64,
    ) -> Self {
        Self {
            account: account.to_string(),
            kind: kind.into(),
            name: name.to_owned(),
            body: body.into(),
            at_ms,
            ..Self::default()
        }
    }
}

impl ReplaceRules {
    pub fn new(
        account: &AccountId,
        rules: Vec<RuleSpec>,
        document: impl Into<Bytes>,
        at_ms: i64,
    ) -> Self {
        Self {
            account: account.to_string(),
            rules,
            document: document.into(),
            at_ms,
        }
    }

    /// Every version that knows the command can apply it.
    pub(crate) fn is_plain(&self) -> bool {
        let mut rules = self.rules.iter();
        rules.all(|rule| rule.destinations.is_empty() && rule.options.is_none())
    }
}

impl DeleteRegistryItem {
    pub fn new(account: &RegistryId, kind: ItemKind, name: &str) -> Self {
        Self {
            account: account.to_string(),
            kind: kind.into(),
            name: name.to_owned(),
        }
    }
}
