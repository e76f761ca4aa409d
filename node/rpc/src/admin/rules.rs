//! Rules as they travel.

use entrepot_proto::admin;
use entrepot_service::{
    Caller, Destination, NearRegions, Objective, PrefixMapping, RuleInfo, RuleOptions, TimeWindow,
};
use tonic::Status;

use super::parse;

/// A rule as a client gives it. The account of a destination may be left out: it
/// is the caller's own then.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub(super) fn parsed(who: &Caller, rule: admin::Rule) -> Result<RuleInfo, Status> {
    let mut destinations = Vec::with_capacity(rule.destinations.len().max(1));
    for given in &rule.destinations {
        destinations.push(destination(who, Some(given))?);
    }
    if destinations.is_empty() {
        let region = parse(&rule.destination_region)?;
        destinations.push(Destination::new(&region, &who.account.account()));
    }
    Ok(RuleInfo {
        id: rule.id,
        prefixes: rule.prefixes,
        destinations,
        options: rule.options.map(options).unwrap_or_default(),
    })
}

pub(super) fn shown(who: &Caller, rule: RuleInfo) -> admin::Rule {
    // What clients that know of one region and no accounts look at.
    let only = match &rule.destinations[..] {
        [only] if who.account.is_of(&only.account) => only.region.to_string(),
        _ => String::new(),
    };
    let destinations = rule.destinations.iter();
    let destinations = destinations.map(|it| shown_destination(who, it));
    admin::Rule {
        id: rule.id,
        prefixes: rule.prefixes,
        destination_region: only,
        destinations: destinations.collect(),
        options: (!rule.options.is_plain()).then(|| shown_options(rule.options)),
    }
}

fn options(given: admin::RuleOptions) -> RuleOptions {
    RuleOptions {
        repositories: given.repositories,
        repositories_excluded: given.repositories_excluded,
        tags: given.tags,
        tags_excluded: given.tags_excluded,
        artifact_types: given.artifact_types,
        deletions: given.deletions,
        mapping: given.mapping.map(|mapping| PrefixMapping {
            from: mapping.from,
            to: mapping.to,
        }),
        priority: given.priority,
        synchronous: given.synchronous,
        synchronous_timeout_ms: given.synchronous_timeout_ms,
        settings: given.settings,
        bandwidth_bytes_per_second: given.bandwidth_bytes_per_second,
        windows: given
            .windows
            .into_iter()
            .map(|it| TimeWindow {
                days: it.days,
                from_minute: it.from_minute,
                to_minute: it.to_minute,
            })
            .collect(),
        near: given
            .near
            .into_iter()
            .map(|it| NearRegions {
                regions: it.regions,
            })
            .collect(),
        read_through: given.read_through,
        backfill: given.backfill,
        objective: given.objective.map(|it| Objective {
            per_million: it.per_million,
            within_ms: it.within_ms,
        }),
    }
}

fn shown_options(options: RuleOptions) -> admin::RuleOptions {
    admin::RuleOptions {
        repositories: options.repositories,
        repositories_excluded: options.repositories_excluded,
        tags: options.tags,
        tags_excluded: options.tags_excluded,
        artifact_types: options.artifact_types,
        deletions: options.deletions,
        mapping: options.mapping.map(|mapping| admin::PrefixMapping {
            from: mapping.from,
            to: mapping.to,
        }),
        priority: options.priority,
        synchronous: options.synchronous,
        synchronous_timeout_ms: options.synchronous_timeout_ms,
        settings: options.settings,
        bandwidth_bytes_per_second: options.bandwidth_bytes_per_second,
        windows: options
            .windows
            .into_iter()
            .map(|it| admin::TimeWindow {
                days: it.days,
                from_minute: it.from_minute,
                to_minute: it.to_minute,
            })
            .collect(),
        near: options
            .near
            .into_iter()
            .map(|it| admin::NearRegions {
                regions: it.regions,
            })
            .collect(),
        read_through: options.read_through,
        backfill: options.backfill,
        objective: options.objective.map(shown_objective),
    }
}

pub(crate) fn shown_objective(it: Objective) -> admin::Objective {
    admin::Objective {
        per_million: it.per_million,
        within_ms: it.within_ms,
    }
}

/// Where a client says that something goes.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub(crate) fn destination(
    who: &Caller,
    given: Option<&admin::RuleDestination>,
) -> Result<Destination, Status> {
    let given = given.ok_or_else(|| Status::invalid_argument("the request has no destination"))?;
    Ok(Destination {
        region: parse(&given.region)?,
        account: match given.account.as_str() {
            "" => who.account.account(),
            account => parse(account)?,
        },
    })
}

pub(crate) fn shown_destination(who: &Caller, it: &Destination) -> admin::RuleDestination {
    admin::RuleDestination {
        region: it.region.to_string(),
        account: other(who, it),
    }
}

/// The account of a destination; empty if it is the caller's own.
pub(super) fn other(who: &Caller, destination: &Destination) -> String {
    if who.account.is_of(&destination.account) {
        String::new()
    } else {
        destination.account.to_string()
    }
}
