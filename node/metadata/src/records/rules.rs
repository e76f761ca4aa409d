//! Replication rules, and what ECR's lack.

use crate::limits::{SYNCHRONOUS_TIMEOUT_MS, WINDOW_MINUTES_MAX};
use crate::query::matches_wildcard;

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RuleRecord {
    /// Sorted, no duplicates; none: every repository.
    #[prost(string, repeated, tag = "1")]
    pub prefixes: Vec<String>,
    /// The one destination of a rule that every version can read; else empty.
    #[prost(string, tag = "2")]
    pub destination_region: String,
    #[prost(int64, tag = "3")]
    pub updated_at_ms: i64,
    #[prost(uint64, tag = "4")]
    pub index: u64,
    /// Sorted, no duplicates; none: `destination_region` is the only one.
    #[prost(message, repeated, tag = "5")]
    pub destinations: Vec<DestinationRecord>,
    #[prost(message, optional, tag = "6")]
    pub options: Option<RuleOptions>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub struct DestinationRecord {
    #[prost(string, tag = "1")]
    pub region: String,
    #[prost(string, tag = "2")]
    pub account: String,
}

/// What a rule may say beyond where and which prefixes. By default nothing.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(clippy::struct_excessive_bools, reason = "each is said by itself")]
pub struct RuleOptions {
    /// Wildcards of repository names, `*` for any characters. A repository that one
    /// of them or one of the prefixes takes is copied.
    #[prost(string, repeated, tag = "1")]
    pub repositories: Vec<String>,
    /// Wildcards of repositories that are not copied all the same.
    #[prost(string, repeated, tag = "2")]
    pub repositories_excluded: Vec<String>,
    /// Wildcards of tags; none: every tag, and what has none.
    #[prost(string, repeated, tag = "3")]
    pub tags: Vec<String>,
    /// Wildcards of tags that are not copied all the same.
    #[prost(string, repeated, tag = "4")]
    pub tags_excluded: Vec<String>,
    /// Wildcards of artifact types (of an image: its config's media type); none:
    /// every type.
    #[prost(string, repeated, tag = "5")]
    pub artifact_types: Vec<String>,
    /// Deletions are copied too: ECR's `deleteReplication`.
    #[prost(bool, tag = "6")]
    pub deletions: bool,
    /// Policy, lifecycle policy, mutability and resource tags are copied too.
    #[prost(bool, tag = "7")]
    pub settings: bool,
    /// Under which name a repository is copied; unset: under its own.
    #[prost(message, optional, tag = "8")]
    pub mapping: Option<PrefixMapping>,
    /// Higher goes first, and decides where two rules name one destination.
    #[prost(uint32, tag = "9")]
    pub priority: u32,
    /// 0: as fast as the link takes it.
    #[prost(uint64, tag = "10")]
    pub bandwidth_bytes_per_second: u64,
    /// When copies are sent; none: always.
    #[prost(message, repeated, tag = "11")]
    pub windows: Vec<TimeWindow>,
    /// Regions near each other: one that has received may pass on to the others.
    #[prost(message, repeated, tag = "12")]
    pub near: Vec<NearRegions>,
    /// A pull at the destination of what is not there yet is served from here.
    #[prost(bool, tag = "13")]
    pub read_through: bool,
    /// A push is acknowledged once the destinations have it.
    #[prost(bool, tag = "14")]
    pub synchronous: bool,
    /// How long a push waits for that; 0: [`SYNCHRONOUS_TIMEOUT_MS`].
    #[prost(uint64, tag = "15")]
    pub synchronous_timeout_ms: u64,
    /// What is there when the rule is made is copied too.
    #[prost(bool, tag = "16")]
    pub backfill: bool,
    /// How many copies are to be there in time; none: nothing is promised.
    #[prost(message, optional, tag = "17")]
    pub objective: Option<Objective>,
}

/// So many of a million copies are there within a time of their push.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Objective {
    #[prost(uint32, tag = "1")]
    pub per_million: u32,
    #[prost(uint64, tag = "2")]
    pub within_ms: u64,
}

/// A repository whose name begins with `from` is copied under a name that begins
/// with `to` instead; others keep their names.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PrefixMapping {
    #[prost(string, tag = "1")]
    pub from: String,
    #[prost(string, tag = "2")]
    pub to: String,
}

/// On each of these days, from one minute up to another; over midnight if `to` is
/// not after `from`. In UTC.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TimeWindow {
    /// One bit a day, Monday's is the lowest; 0: every day.
    #[prost(uint32, tag = "1")]
    pub days: u32,
    /// Minutes since midnight.
    #[prost(uint32, tag = "2")]
    pub from_minute: u32,
    #[prost(uint32, tag = "3")]
    pub to_minute: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NearRegions {
    #[prost(string, repeated, tag = "1")]
    pub regions: Vec<String>,
}

// === impl RuleOptions ===

impl RuleOptions {
    /// Nothing is said that versions without options could not do.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Not all images of a repository go.
    pub fn filters_images(&self) -> bool {
        !self.tags.is_empty() || !self.tags_excluded.is_empty() || !self.artifact_types.is_empty()
    }

    /// Whether what has this tag, or none, goes as far as tags matter.
    pub fn takes_tag(&self, tag: Option<&str>) -> bool {
        let one = |wildcards: &[String], tag: &str| {
            let mut wildcards = wildcards.iter();
            wildcards.any(|wildcard| matches_wildcard(wildcard, tag))
        };
        let is_excluded = tag.is_some_and(|tag| one(&self.tags_excluded, tag));
        !is_excluded && (self.tags.is_empty() || tag.is_some_and(|tag| one(&self.tags, tag)))
    }

    /// None: no limit.
    pub fn bandwidth(&self) -> Option<u64> {
        Some(self.bandwidth_bytes_per_second).filter(|limit| *limit > 0)
    }

    /// Whether copies may be sent at that time (milliseconds since 1970, UTC).
    pub fn is_open_at(&self, at_ms: i64) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|window| window.contains(at_ms))
    }

    /// How long a push waits for this rule's destinations; none: not at all.
    pub fn synchronous_ms(&self) -> Option<u64> {
        let given = Some(self.synchronous_timeout_ms).filter(|given| *given > 0);
        self.synchronous
            .then(|| given.unwrap_or(SYNCHRONOUS_TIMEOUT_MS))
    }
}

// === impl TimeWindow ===

impl TimeWindow {
    pub fn contains(&self, at_ms: i64) -> bool {
        let minutes = at_ms.div_euclid(60_000);
        let day = minutes.div_euclid(i64::from(WINDOW_MINUTES_MAX));
        let minute = minutes.rem_euclid(i64::from(WINDOW_MINUTES_MAX));
        let (from, to) = (i64::from(self.from_minute), i64::from(self.to_minute));
        if from < to {
            self.is_on(day) && (from..to).contains(&minute)
        } else {
            // Over midnight: it began today or yesterday.
            (minute >= from && self.is_on(day)) || (minute < to && self.is_on(day - 1))
        }
    }

    /// `day`: days since 1970-01-01, which was a Thursday.
    fn is_on(&self, day: i64) -> bool {
        let weekday = (day + 3).rem_euclid(7);
        self.days == 0 || self.days & (1 << weekday) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds at a minute of a day since 1970-01-01, a Thursday.
    fn at(day: i64, minute: i64) -> i64 {
        (day * 24 * 60 + minute) * 60_000
    }

    #[test]
    fn a_window_opens_on_its_days_and_may_go_over_midnight() {
        let window = |days, from_minute, to_minute| TimeWindow {
            days,
            from_minute,
            to_minute,
        };
        let thursday = 1 << 3;
        let noon = window(thursday, 12 * 60, 13 * 60);
        assert!(noon.contains(at(0, 12 * 60)));
        assert!(!noon.contains(at(0, 13 * 60)));
        assert!(!noon.contains(at(1, 12 * 60)));
        let night = window(thursday, 22 * 60, 2 * 60);
        assert!(night.contains(at(0, 23 * 60)));
        assert!(night.contains(at(1, 60)));
        assert!(!night.contains(at(1, 2 * 60)));
        assert!(!night.contains(at(1, 23 * 60)));
        assert!(!night.contains(at(0, 60)));
        assert!(window(0, 22 * 60, 2 * 60).contains(at(4, 60)));
        let options = RuleOptions {
            windows: vec![noon, night],
            ..RuleOptions::default()
        };
        assert!(options.is_open_at(at(7, 23 * 60)));
        assert!(!options.is_open_at(at(7, 14 * 60)));
        assert!(RuleOptions::default().is_open_at(0));
    }
}
