//! Commands about accounts and access keys. All of them belong into the `global`
//! group.

use std::fmt;

use bytes::Bytes;
use entrepot_oci::AccountId;

use crate::records::identity::{AccessKeyState, AccountState};

/// Nobody of a disabled account is let in; what it has stays.
/// `AccountUnknown`, and `FirstAccount` for the one that is the operators'.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetAccountState {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(enumeration = "AccountState", tag = "2")]
    pub state: i32,
}

/// An access key, as whoever proposes it has drawn or taken it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct NewAccessKey {
    /// `AKIA...`, or whatever the owner calls it; of the whole cluster.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its secret, sealed under the cluster's key.
    #[prost(bytes = "bytes", tag = "2")]
    pub sealed_secret: Bytes,
}

/// Gives an access key to the root user or to a user. The same key again is
/// fine; another one's id is `EntityExists`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateAccessKey {
    #[prost(string, tag = "1")]
    pub account: String,
    /// A user's name; empty: the root user.
    #[prost(string, tag = "2")]
    pub owner: String,
    #[prost(message, optional, tag = "3")]
    pub key: Option<NewAccessKey>,
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
}

/// An inactive key lets nobody in until it is active again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SetAccessKeyState {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub owner: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(enumeration = "AccessKeyState", tag = "4")]
    pub state: i32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteAccessKey {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub owner: String,
    #[prost(string, tag = "3")]
    pub id: String,
}

// === impl SetAccountState ===

impl SetAccountState {
    pub fn new(account: &AccountId, state: AccountState) -> Self {
        Self {
            account: account.to_string(),
            state: state.into(),
        }
    }
}

// === impl NewAccessKey ===

impl NewAccessKey {
    pub fn new(id: &str, sealed_secret: impl Into<Bytes>) -> Self {
        Self {
            id: id.to_owned(),
            sealed_secret: sealed_secret.into(),
        }
    }
}

impl fmt::Debug for NewAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Sealed as it is, the secret has no business in a log.
        f.debug_struct("NewAccessKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

// === impl CreateAccessKey, SetAccessKeyState, DeleteAccessKey ===

impl CreateAccessKey {
    pub fn new(account: &AccountId, owner: &str, key: NewAccessKey, at_ms: i64) -> Self {
        Self {
            account: account.to_string(),
            owner: owner.to_owned(),
            key: Some(key),
            at_ms,
        }
    }
}

impl SetAccessKeyState {
    pub fn new(account: &AccountId, owner: &str, id: &str, state: AccessKeyState) -> Self {
        Self {
            account: account.to_string(),
            owner: owner.to_owned(),
            id: id.to_owned(),
            state: state.into(),
        }
    }
}

impl DeleteAccessKey {
    pub fn new(account: &AccountId, owner: &str, id: &str) -> Self {
        Self {
            account: account.to_string(),
            owner: owner.to_owned(),
            id: id.to_owned(),
        }
    }
}
