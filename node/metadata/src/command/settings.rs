//! Commands about what a registry and its repositories are to be like, beyond
//! what is in them. All of them belong into the region's group.
//!
//! Texts and bodies are kept as they are: what they mean is checked by whoever
//! proposes them.

use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_oci::{AccountId, RepositoryName};

use crate::records::settings::{EncryptionRecord, ItemKind, MutabilityRecord, TextKind};

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
    pub fn new(account: &AccountId, repository: &RepositoryName) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            ..Self::default()
        }
    }
}

impl PutRepositoryText {
    pub fn new(
        account: &AccountId,
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
        account: &AccountId,
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

impl DeleteRegistryItem {
    pub fn new(account: &AccountId, kind: ItemKind, name: &str) -> Self {
        Self {
            account: account.to_string(),
            kind: kind.into(),
            name: name.to_owned(),
        }
    }
}
