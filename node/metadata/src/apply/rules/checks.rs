//! What a rule may say.

use std::collections::BTreeSet;

use entrepot_oci::{AccountId, RegionName};

use super::super::{Stop, invalid, parse};
use crate::command::RuleSpec;
use crate::limits::{
    DESTINATIONS_MAX, NEAR_GROUPS_MAX, OBJECTIVE_WITHIN_MS_MAX, PATTERN_BYTES_MAX, PATTERNS_MAX,
    PREFIX_BYTES_MAX, PREFIXES_MAX, REGIONS_MAX, RULE_ID_BYTES_MAX, SYNCHRONOUS_TIMEOUT_MS_MAX,
    WINDOW_MINUTES_MAX, WINDOWS_MAX,
};
use crate::query::{Destination, Rule};
use crate::records::rules::{
    DestinationRecord, NearRegions, Objective, PrefixMapping, RuleOptions, RuleRecord, TimeWindow,
};
use crate::response::Refused;

const MILLION: u32 = 1_000_000;

/// A rule that says nothing wrong.
pub(super) struct Checked<'a> {
    account: &'a AccountId,
    /// Sorted, no duplicates.
    prefixes: Vec<String>,
    destinations: BTreeSet<Destination>,
    options: RuleOptions,
}

/// What a text of a rule may consist of, beside small letters and digits.
#[derive(Clone, Copy)]
enum Alphabet {
    /// What no repository name can begin with is a mistake.
    Name,
    NameWildcard,
    TagWildcard,
    TypeWildcard,
}

pub(super) fn id(id: &str) -> Result<(), Refused> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=RULE_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(valid) {
        Ok(())
    } else {
        Err(invalid(
            "rule id",
            "must be 1 to 128 of a-z, A-Z, 0-9, '.', '_' and '-'",
        ))
    }
}

// === impl Checked ===

impl<'a> Checked<'a> {
    pub(super) fn new(account: &'a AccountId, spec: RuleSpec) -> Result<Self, Stop> {
        id(&spec.id)?;
        let prefixes = prefixes(spec.prefixes)?;
        let options = options(spec.options.unwrap_or_default())?;
        let mut destinations = BTreeSet::new();
        if spec.destinations.is_empty() {
            let region = parse("destination", &spec.destination_region)?;
            destinations.insert(Destination::new(&region, account));
        } else if !spec.destination_region.is_empty() {
            return Err(invalid("destination", "must be said in one way").into());
        }
        if spec.destinations.len() > DESTINATIONS_MAX {
            return Err(invalid("destinations", "must be at most 25").into());
        }
        for destination in &spec.destinations {
            destinations.insert(Destination {
                region: parse("destination", &destination.region)?,
                account: parse("destination account", &destination.account)?,
            });
        }
        Ok(Self {
            account,
            prefixes,
            destinations,
            options,
        })
    }

    /// The rule asks for the same as before.
    pub(super) fn is_same(&self, before: &Rule) -> bool {
        before.prefixes == self.prefixes
            && before.destinations.iter().eq(&self.destinations)
            && before.options == self.options
    }

    /// One destination in the own account is kept as it always was.
    pub(super) fn record(&self, updated_at_ms: i64, index: u64) -> RuleRecord {
        let own = self
            .destinations
            .first()
            .filter(|first| self.destinations.len() == 1 && first.account == *self.account);
        let destinations = self.destinations.iter().map(|it| DestinationRecord {
            region: it.region.to_string(),
            account: it.account.to_string(),
        });
        RuleRecord {
            prefixes: self.prefixes.clone(),
            destination_region: own.map(|own| own.region.to_string()).unwrap_or_default(),
            updated_at_ms,
            index,
            destinations: match own {
                Some(_) => Vec::new(),
                None => destinations.collect(),
            },
            options: Some(self.options.clone()).filter(|options| !options.is_plain()),
        }
    }
}

fn prefixes(prefixes: Vec<String>) -> Result<Vec<String>, Refused> {
    if prefixes.len() > PREFIXES_MAX {
        return Err(invalid("prefixes", "must be at most 100"));
    }
    for prefix in &prefixes {
        if prefix.is_empty() || !Alphabet::Name.has(prefix, PREFIX_BYTES_MAX) {
            return Err(invalid(
                "prefix",
                "must be 1 to 256 of a-z, 0-9, '.', '_', '-' and '/'",
            ));
        }
    }
    Ok(sorted(prefixes))
}

/// All of them cannot be promised: a rule would have missed it for ever after one.
fn check_objective(objective: &Objective) -> Result<(), Refused> {
    if !(1..MILLION).contains(&objective.per_million) {
        return Err(invalid(
            "objective",
            "must be more than 0 % and less than 100 % of the copies",
        ));
    }
    if !(1..=OBJECTIVE_WITHIN_MS_MAX).contains(&objective.within_ms) {
        return Err(invalid("objective", "must be within 1 ms to 7 days"));
    }
    Ok(())
}

fn options(options: RuleOptions) -> Result<RuleOptions, Refused> {
    if let Some(mapping) = &options.mapping {
        check_mapping(mapping)?;
    }
    if options.windows.len() > WINDOWS_MAX {
        return Err(invalid("windows", "must be at most 50"));
    }
    options.windows.iter().try_for_each(check_window)?;
    if options.near.len() > NEAR_GROUPS_MAX {
        return Err(invalid("near regions", "must be at most 20 groups"));
    }
    options.near.iter().try_for_each(check_near)?;
    if options.synchronous_timeout_ms > SYNCHRONOUS_TIMEOUT_MS_MAX {
        return Err(invalid(
            "synchronous timeout",
            "must be at most 600 seconds",
        ));
    }
    if options.synchronous_timeout_ms > 0 && !options.synchronous {
        return Err(invalid(
            "synchronous timeout",
            "must be of a rule that is synchronous",
        ));
    }
    if let Some(objective) = &options.objective {
        check_objective(objective)?;
    }
    let patterns = |what, patterns, alphabet: Alphabet| alphabet.patterns(what, patterns);
    Ok(RuleOptions {
        repositories: patterns("repository", options.repositories, Alphabet::NameWildcard)?,
        repositories_excluded: patterns(
            "excluded repository",
            options.repositories_excluded,
            Alphabet::NameWildcard,
        )?,
        tags: patterns("tag", options.tags, Alphabet::TagWildcard)?,
        tags_excluded: patterns("excluded tag", options.tags_excluded, Alphabet::TagWildcard)?,
        artifact_types: patterns(
            "artifact type",
            options.artifact_types,
            Alphabet::TypeWildcard,
        )?,
        ..options
    })
}

fn check_mapping(mapping: &PrefixMapping) -> Result<(), Refused> {
    let is_name = |text| Alphabet::Name.has(text, PREFIX_BYTES_MAX);
    if !is_name(&mapping.from) || !is_name(&mapping.to) {
        return Err(invalid(
            "mapping",
            "must be of a-z, 0-9, '.', '_', '-' and '/', at most 256",
        ));
    }
    if mapping.from == mapping.to {
        return Err(invalid("mapping", "must change something"));
    }
    Ok(())
}

fn check_window(window: &TimeWindow) -> Result<(), Refused> {
    let is_minute = |minute| minute < WINDOW_MINUTES_MAX;
    // Up to the end of the day is up to its last minute's end.
    let is_end = |minute| minute <= WINDOW_MINUTES_MAX;
    if window.days >= 1 << 7 || !is_minute(window.from_minute) || !is_end(window.to_minute) {
        return Err(invalid("window", "must be of minutes and days that exist"));
    }
    if window.from_minute == window.to_minute {
        return Err(invalid(
            "window",
            "must end at another minute than it begins",
        ));
    }
    Ok(())
}

fn check_near(near: &NearRegions) -> Result<(), Refused> {
    if !(2..=REGIONS_MAX).contains(&near.regions.len()) {
        return Err(invalid("near regions", "must be at least two"));
    }
    for region in &near.regions {
        let _: RegionName = parse("near region", region)?;
    }
    Ok(())
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts.dedup();
    texts
}

// === impl Alphabet ===

impl Alphabet {
    fn has(self, text: &str, bytes_max: usize) -> bool {
        let more: &[u8] = match self {
            Self::Name => b"._-/",
            Self::NameWildcard => b"._-/*",
            Self::TagWildcard => b"._-*",
            Self::TypeWildcard => b"._-/*+!#$&^",
        };
        let letter = |byte: u8| match self {
            Self::Name | Self::NameWildcard => byte.is_ascii_lowercase(),
            Self::TagWildcard | Self::TypeWildcard => byte.is_ascii_alphabetic(),
        };
        let valid = |byte: u8| letter(byte) || byte.is_ascii_digit() || more.contains(&byte);
        text.len() <= bytes_max && text.bytes().all(valid)
    }

    fn patterns(self, what: &str, patterns: Vec<String>) -> Result<Vec<String>, Refused> {
        if patterns.len() > PATTERNS_MAX {
            return Err(invalid(what, "patterns must be at most 100"));
        }
        for pattern in &patterns {
            if pattern.is_empty() || !self.has(pattern, PATTERN_BYTES_MAX) {
                return Err(invalid(
                    what,
                    "pattern must be 1 to 256 characters of what it is for, and '*'",
                ));
            }
        }
        Ok(sorted(patterns))
    }
}
