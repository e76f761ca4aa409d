//! Commands of backfills.

use entrepot_oci::AccountId;

use crate::query::Destination;
use crate::records::backfills::BackfillCount;

/// Begins to copy what is there to a destination that a rule names. One of that id
/// is fine: it has begun before.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StartBackfill {
    #[prost(string, tag = "1")]
    pub account: String,
    /// A UUID.
    #[prost(string, tag = "2")]
    pub id: String,
    /// Its name among the destinations of the account's registry.
    #[prost(string, tag = "3")]
    pub destination: String,
    /// Only what this rule takes; empty: what any rule does.
    #[prost(string, tag = "4")]
    pub rule: String,
    #[prost(int64, tag = "5")]
    pub at_ms: i64,
}

/// No more of a backfill is begun.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StopBackfill {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(int64, tag = "3")]
    pub at_ms: i64,
}

/// One bounded step of a backfill: what was asked for and has ended is noted, and
/// more is asked for. Of one that ended long ago, what it left is removed. Nothing
/// is done to one that is not there, or has no step to do.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StepBackfill {
    #[prost(string, tag = "1")]
    pub account: String,
    /// Log index of its start.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    #[prost(int64, tag = "3")]
    pub at_ms: i64,
    /// What was counted: ends the preparation.
    #[prost(message, optional, tag = "4")]
    pub counted: Option<BackfillCount>,
}

// === making them ===

impl StartBackfill {
    pub fn new(account: &AccountId, id: &str, destination: &Destination, at_ms: i64) -> Self {
        Self {
            account: account.to_string(),
            id: id.to_owned(),
            destination: destination.name(account),
            rule: String::new(),
            at_ms,
        }
    }
}

impl StopBackfill {
    pub fn new(account: &AccountId, id: &str, at_ms: i64) -> Self {
        Self {
            account: account.to_string(),
            id: id.to_owned(),
            at_ms,
        }
    }
}

impl StepBackfill {
    pub fn new(account: &AccountId, sequence: u64, at_ms: i64) -> Self {
        Self {
            account: account.to_string(),
            sequence,
            at_ms,
            counted: None,
        }
    }
}
