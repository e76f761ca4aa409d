//! A registry's replication as ECR configures it: one document, whose rules become
//! the registry's replication rules.
//!
//! The invariant: what is described is what is done. The document is told as it was
//! given as long as the registry's rules are those that it stands for; once they
//! were changed otherwise, they are described.

use std::collections::BTreeSet;

use entrepot_metadata::command::{ReplaceRules, RuleSpec};
use entrepot_metadata::limits::{DESTINATIONS_MAX, RULES_MAX, TAGS_PER_PUSH_MAX};
use entrepot_metadata::query::{self, Destination, ItemKind, Rule, RuleOptions, Task};
use entrepot_oci::{Digest, RepositoryName};
use serde::{Deserialize, Serialize};

use crate::metadata::refused;
use crate::registry_items::{from_json, to_json};
use crate::repositories::{invalid, require};
use crate::{Caller, Registry, ServiceError, Target};

/// Tasks of one image that are looked at: those of its tags, at every destination.
const IMAGE_TASKS_MAX: usize = DESTINATIONS_MAX * TAGS_PER_PUSH_MAX * 10;

const AT: &str = "replicationConfiguration";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationConfiguration {
    pub rules: Vec<ReplicationRule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationRule {
    pub destinations: Vec<ReplicationDestination>,
    /// None: every repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_filters: Option<Vec<ReplicationFilter>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_replication: Option<DeleteReplication>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationDestination {
    pub region: String,
    /// An account's number.
    pub registry_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationFilter {
    pub filter: String,
    /// `PREFIX_MATCH`
    pub filter_type: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReplication {
    pub enabled: bool,
}

impl Registry {
    /// What the registry replicates where.
    pub async fn replication_configuration(
        &self,
        who: &Caller,
    ) -> Result<ReplicationConfiguration, ServiceError> {
        self.authorize(who, "ecr:DescribeRegistry", Target::Any)?;
        let view = self.current().await?;
        let rules = query::rules(view.as_ref(), &who.account.account())?;
        let kind = ItemKind::ReplicationConfiguration;
        let kept = query::registry_item(view.as_ref(), &who.account, kind, "")?;
        if let Some(kept) = kept {
            let kept: ReplicationConfiguration = from_json(&kept)?;
            if stands_for(who, &kept, &rules) {
                return Ok(kept);
            }
        }
        Ok(described(rules))
    }

    /// Makes these rules the registry's, in place of all that it has.
    ///
    /// # Errors
    /// `Invalid`, in ECR's words.
    pub async fn put_replication_configuration(
        &self,
        who: &Caller,
        configuration: &ReplicationConfiguration,
    ) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:PutReplicationConfiguration", Target::Any)?;
        self.check(who, configuration)?;
        let rules = specs(who, configuration)?;
        let (document, at_ms) = (to_json(configuration)?, self.clock.now_ms());
        let command = ReplaceRules::new(&who.account.account(), rules, document, at_ms);
        let response = self.propose(command.into()).await?;
        response.into_result().map(drop).map_err(refused)
    }

    fn check(
        &self,
        who: &Caller,
        configuration: &ReplicationConfiguration,
    ) -> Result<(), ServiceError> {
        if configuration.rules.len() > RULES_MAX {
            return Err(invalid(
                AT,
                format_args!("There can be at most {RULES_MAX} rules"),
            ));
        }
        let rules = configuration.rules.iter();
        let destinations = rules.flat_map(|rule| &rule.destinations);
        let mut unique = BTreeSet::new();
        for destination in destinations {
            let (region, account) = (&destination.region, &destination.registry_id);
            let is_own = *account == who.account.as_str();
            if is_own && *region == self.region().as_str() {
                return Err(invalid(
                    AT,
                    "Replication destination cannot be the same as the source registry",
                ));
            }
            if !self.peers.regions().iter().any(|it| it.as_str() == region) {
                return Err(invalid(
                    AT,
                    format_args!("Invalid destination region {region}"),
                ));
            }
            unique.insert((region, account));
        }
        if unique.len() > DESTINATIONS_MAX {
            return Err(invalid(
                AT,
                format_args!("There can be at most {DESTINATIONS_MAX} unique destinations"),
            ));
        }
        Ok(())
    }

    /// The replication tasks of an image, open and ended.
    pub async fn image_replication(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Task>, ServiceError> {
        let action = "ecr:DescribeImageReplicationStatus";
        self.authorize(who, action, Target::Repository(repository))?;
        let view = self.current().await?;
        let view = view.as_ref();
        require(view, who, repository)?;
        let found = query::tasks_of(view, &who.account, repository, digest, IMAGE_TASKS_MAX)?;
        Ok(found)
    }
}

/// The rules that a configuration stands for: each of its own, but for those that
/// name no destination.
fn specs(
    who: &Caller,
    configuration: &ReplicationConfiguration,
) -> Result<Vec<RuleSpec>, ServiceError> {
    let rules = configuration.rules.iter().enumerate();
    let rules = rules.filter(|(_, rule)| !rule.destinations.is_empty());
    let specs = rules.map(|(at, rule)| {
        let destinations: BTreeSet<Destination> = rule
            .destinations
            .iter()
            .map(destination)
            .collect::<Result<_, _>>()?;
        let filters = rule.repository_filters.iter().flatten();
        let prefixes: BTreeSet<&str> = filters.map(|it| it.filter.as_str()).collect();
        Ok(RuleSpec::new(
            &who.account.account(),
            // In the order of the configuration.
            &format!("ecr-{:02}", at + 1),
            prefixes.into_iter().map(str::to_owned).collect(),
            &destinations.into_iter().collect::<Vec<_>>(),
            RuleOptions {
                deletions: rule.delete_replication.is_some_and(|it| it.enabled),
                ..RuleOptions::default()
            },
        ))
    });
    specs.collect()
}

fn destination(given: &ReplicationDestination) -> Result<Destination, ServiceError> {
    let of = |error: &dyn std::fmt::Display| invalid(AT, format_args!("{error}"));
    Ok(Destination {
        region: given.region.parse().map_err(|error| of(&error))?,
        account: given.registry_id.parse().map_err(|error| of(&error))?,
    })
}

fn stands_for(who: &Caller, configuration: &ReplicationConfiguration, rules: &[Rule]) -> bool {
    let Ok(specs) = specs(who, configuration) else {
        return false;
    };
    let is_of = |(spec, rule): (&RuleSpec, &Rule)| {
        let now = RuleSpec::new(
            &who.account.account(),
            &rule.id,
            rule.prefixes.clone(),
            &rule.destinations,
            rule.options.clone(),
        );
        *spec == now
    };
    specs.len() == rules.len() && specs.iter().zip(rules).all(is_of)
}

/// Rules that were made otherwise, in ECR's terms.
fn described(rules: Vec<Rule>) -> ReplicationConfiguration {
    let destination = |it: &Destination| ReplicationDestination {
        region: it.region.to_string(),
        registry_id: it.account.to_string(),
    };
    let filter = |filter| ReplicationFilter {
        filter,
        filter_type: "PREFIX_MATCH".to_owned(),
    };
    let rules = rules.into_iter().map(|rule| ReplicationRule {
        destinations: rule.destinations.iter().map(destination).collect(),
        repository_filters: (!rule.prefixes.is_empty())
            .then(|| rule.prefixes.into_iter().map(filter).collect()),
        delete_replication: rule
            .options
            .deletions
            .then_some(DeleteReplication { enabled: true }),
    });
    ReplicationConfiguration {
        rules: rules.collect(),
    }
}
