//! Commands of settings that follow their repositories to other regions.

use std::collections::BTreeMap;

use crate::query::SettingsTask;
use crate::records::settings::MutabilityRecord;

/// A repository here is to have the settings that one of the same account has in
/// another region. Nothing of it is copied any further.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutReplicaSettings {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub source_region: String,
    #[prost(string, tag = "4")]
    pub source_repository: String,
    /// Orders it among the changes of that source.
    #[prost(uint64, tag = "5")]
    pub sequence: u64,
    /// Unset: all tags may move.
    #[prost(message, optional, tag = "6")]
    pub mutability: Option<MutabilityRecord>,
    /// Empty: there is to be none.
    #[prost(string, tag = "7")]
    pub policy: String,
    #[prost(string, tag = "8")]
    pub lifecycle: String,
    #[prost(btree_map = "string, string", tag = "9")]
    pub tags: BTreeMap<String, String>,
    #[prost(int64, tag = "10")]
    pub at_ms: i64,
}

/// The settings have arrived, or never will.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EndSettingsTask {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    /// Its name among the destinations of the account's registry.
    #[prost(string, tag = "3")]
    pub destination: String,
    /// Of the task that was worked on: a newer one goes on.
    #[prost(uint64, tag = "4")]
    pub sequence: u64,
}

// === making them ===

impl EndSettingsTask {
    pub fn new(task: &SettingsTask) -> Self {
        Self {
            account: task.account.to_string(),
            repository: task.repository.to_string(),
            destination: task.destination.name(&task.account),
            sequence: task.sequence,
        }
    }
}
