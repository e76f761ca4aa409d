//! Backfills: copies of what was there before a rule was.

use std::fmt;

use super::rules::DestinationRecord;

/// One destination is to have what is here already.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BackfillRecord {
    /// A UUID, drawn by who started it.
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub destination: Option<DestinationRecord>,
    /// Only what this rule takes; empty: what any rule with the destination does.
    #[prost(string, tag = "3")]
    pub rule: String,
    #[prost(int64, tag = "4")]
    pub started_at_ms: i64,
    #[prost(int64, optional, tag = "5")]
    pub ended_at_ms: Option<i64>,
    #[prost(enumeration = "BackfillPhase", tag = "6")]
    pub phase: i32,
    /// Why it failed, in one word; set as soon as it is sure to.
    #[prost(string, optional, tag = "7")]
    pub failure: Option<String>,
    /// What was found to be copied when it was counted, image by image and tag by tag.
    #[prost(message, optional, tag = "8")]
    pub counted: Option<BackfillCount>,
    /// Up to where tasks were asked for.
    #[prost(message, optional, tag = "9")]
    pub cursor: Option<CursorRecord>,
    /// Up to the end.
    #[prost(bool, tag = "10")]
    pub walked: bool,
    /// Asked for and not ended yet.
    #[prost(uint64, tag = "11")]
    pub waiting: u64,
    #[prost(uint64, tag = "12")]
    pub completed: u64,
    #[prost(uint64, tag = "13")]
    pub failed: u64,
    /// Of those that failed, some that their destination's account did not allow.
    #[prost(bool, tag = "14")]
    pub any_denied: bool,
    /// And some that failed for another reason.
    #[prost(bool, tag = "15")]
    pub any_refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum BackfillPhase {
    /// It is being counted.
    Preparing = 1,
    /// Tasks are asked for, and end.
    InProgress = 2,
    /// No more are asked for: those that were go on to their end.
    Stopping = 3,
    Complete = 4,
    Failed = 5,
    Stopped = 6,
}

/// How much there is to copy.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BackfillCount {
    /// Images, each as often as it has tags.
    #[prost(uint64, tag = "1")]
    pub images: u64,
    /// Of all blobs and manifests of theirs, each once.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// There are more bytes than were counted.
    #[prost(bool, tag = "3")]
    pub is_at_least: bool,
}

/// How far a walk through a registry has come.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CursorRecord {
    #[prost(string, tag = "1")]
    pub repository: String,
    /// The last image of it; empty: none yet.
    #[prost(string, tag = "2")]
    pub digest: String,
    /// The last tag of that image, which may have more; empty: it is done with.
    #[prost(string, tag = "3")]
    pub tag: String,
    /// The repository is done with.
    #[prost(bool, tag = "4")]
    pub finished: bool,
}

/// One image and tag of a backfill.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BackfillItemRecord {
    /// Why it failed.
    #[prost(string, optional, tag = "1")]
    pub reason: Option<String>,
    #[prost(bool, tag = "2")]
    pub denied: bool,
}

/// A rule asks for a backfill that has not begun.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct WantedBackfillRecord {
    /// Log index of the change of the rule.
    #[prost(uint64, tag = "1")]
    pub index: u64,
}

/// How an image and tag of a backfill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemState {
    Waiting,
    Failed,
    Complete,
}

// === impl BackfillPhase ===

impl BackfillPhase {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Stopped)
    }
}

impl fmt::Display for BackfillPhase {
    /// As ECR says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preparing => "PREPARING",
            Self::InProgress => "IN_PROGRESS",
            Self::Stopping => "STOPPING",
            Self::Complete => "COMPLETE",
            Self::Failed => "FAILED",
            Self::Stopped => "STOPPED",
        })
    }
}

// === impl ItemState ===

impl ItemState {
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Failed, Self::Complete];

    /// As it stands in keys.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Waiting => 0,
            Self::Failed => 1,
            Self::Complete => 2,
        }
    }

    pub(crate) fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.byte() == byte)
    }
}
