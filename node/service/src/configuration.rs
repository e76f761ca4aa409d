//! A registry's replication as ECR configures it: one document, whose rules become
//! the registry's replication rules.
//!
//! The invariant: what is described is what is done. The document is told as it was
//! given as long as the registry's rules are those that it stands for; once they
//! were changed otherwise, they are described.

use std::collections::{BTreeMap, BTreeSet};

use entrepot_metadata::command::{ReplaceRules, RuleSpec};
use entrepot_metadata::limits::{PREFIXES_MAX, RULES_MAX, TAGS_PER_PUSH_MAX};
use entrepot_metadata::query::{self, ItemKind, Rule, Task};
use entrepot_oci::{Digest, RegionName, RepositoryName};
use serde::{Deserialize, Serialize};

use crate::metadata::refused;
use crate::registry_items::{from_json, to_json};
use crate::repositories::{invalid, require};
use crate::{Caller, Registry, ServiceError, Target};

/// As ECR has them.
const CONFIGURED_RULES_MAX: usize = 10;
const DESTINATIONS_MAX: usize = 25;
/// Tasks of one image that are looked at: those of its tags, in every region.
const IMAGE_TASKS_MAX: usize = RULES_MAX * TAGS_PER_PUSH_MAX * 10;

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
        let rules = query::rules(view.as_ref(), &who.account)?;
        let kind = ItemKind::ReplicationConfiguration;
        let kept = query::registry_item(view.as_ref(), &who.account, kind, "")?;
        if let Some(kept) = kept {
            let kept: ReplicationConfiguration = from_json(&kept)?;
            if stands_for(&kept, &rules) {
                return Ok(kept);
            }
        }
        Ok(described(who, rules))
    }

    /// Makes these rules the registry's, in place of all that it has.
    ///
    /// # Errors
    /// `Invalid`, in ECR's words; `Unsupported` for what ECR can do and this
    /// version cannot.
    pub async fn put_replication_configuration(
        &self,
        who: &Caller,
        configuration: &ReplicationConfiguration,
    ) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:PutReplicationConfiguration", Target::Any)?;
        self.check(who, configuration)?;
        let rules = specs(configuration);
        if rules.len() > RULES_MAX {
            return Err(ServiceError::Unsupported(format!(
                "replication of so many repository prefixes to so many regions takes {} rules of \
                 Entrepot, which has at most {RULES_MAX} for a registry",
                rules.len()
            )));
        }
        let (document, at_ms) = (to_json(configuration)?, self.clock.now_ms());
        let command = ReplaceRules::new(&who.account, rules, document, at_ms);
        let response = self.propose(command.into()).await?;
        response.into_result().map(drop).map_err(refused)
    }

    fn check(
        &self,
        who: &Caller,
        configuration: &ReplicationConfiguration,
    ) -> Result<(), ServiceError> {
        if configuration.rules.len() > CONFIGURED_RULES_MAX {
            return Err(invalid(
                AT,
                format_args!("There can be at most {CONFIGURED_RULES_MAX} rules"),
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
            if !is_own {
                return Err(ServiceError::Unsupported(format!(
                    "replication to another account's registry ({account}) is not supported by \
                     this version of Entrepot: name regions of account {} only",
                    who.account
                )));
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
        let mut deletions = configuration
            .rules
            .iter()
            .filter_map(|it| it.delete_replication);
        if deletions.any(|it| it.enabled) {
            return Err(ServiceError::Unsupported(
                "the replication of deletions (deleteReplication) is not supported by this version \
                 of Entrepot"
                    .to_owned(),
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

/// The rules that a configuration stands for: one for each region, unless it has
/// more prefixes than a rule may.
fn specs(configuration: &ReplicationConfiguration) -> Vec<RuleSpec> {
    let mut wanted: BTreeMap<&str, Option<Vec<&str>>> = BTreeMap::new();
    for rule in &configuration.rules {
        for destination in &rule.destinations {
            let before = wanted
                .entry(&destination.region)
                .or_insert(Some(Vec::new()));
            match (&rule.repository_filters, before) {
                (Some(filters), Some(prefixes)) => {
                    prefixes.extend(filters.iter().map(|it| it.filter.as_str()));
                }
                (None, before) => *before = None,
                (Some(_), None) => {}
            }
        }
    }
    wanted
        .into_iter()
        .flat_map(|(region, prefixes)| match prefixes {
            None => vec![spec(region, 0, &[])],
            Some(prefixes) => {
                let prefixes = widest(prefixes);
                let chunks = prefixes.chunks(PREFIXES_MAX).enumerate();
                chunks.map(|(at, chunk)| spec(region, at, chunk)).collect()
            }
        })
        .collect()
}

fn spec(region: &str, at: usize, prefixes: &[&str]) -> RuleSpec {
    RuleSpec {
        id: match at {
            0 => format!("ecr-{region}"),
            at => format!("ecr-{region}-{}", at + 1),
        },
        prefixes: prefixes.iter().map(ToString::to_string).collect(),
        destination_region: region.to_owned(),
    }
}

/// In order, without those that begin with another one.
fn widest(mut prefixes: Vec<&str>) -> Vec<&str> {
    prefixes.sort_unstable();
    let mut widest: Vec<&str> = Vec::new();
    for prefix in prefixes {
        if !widest.last().is_some_and(|last| prefix.starts_with(last)) {
            widest.push(prefix);
        }
    }
    widest
}

fn stands_for(configuration: &ReplicationConfiguration, rules: &[Rule]) -> bool {
    let mut specs = specs(configuration);
    specs.sort_by(|a, b| a.id.cmp(&b.id));
    let is_of = |(spec, rule): (&RuleSpec, &Rule)| {
        spec.id == rule.id
            && spec.prefixes == rule.prefixes
            && spec.destination_region == rule.destination.as_str()
    };
    specs.len() == rules.len() && specs.iter().zip(rules).all(is_of)
}

/// Rules that were made otherwise, in ECR's terms.
fn described(who: &Caller, rules: Vec<Rule>) -> ReplicationConfiguration {
    let destination = |region: &RegionName| ReplicationDestination {
        region: region.to_string(),
        registry_id: who.account.to_string(),
    };
    let filter = |filter| ReplicationFilter {
        filter,
        filter_type: "PREFIX_MATCH".to_owned(),
    };
    let rules = rules.into_iter().map(|rule| ReplicationRule {
        destinations: vec![destination(&rule.destination)],
        repository_filters: (!rule.prefixes.is_empty())
            .then(|| rule.prefixes.into_iter().map(filter).collect()),
        delete_replication: None,
    });
    ReplicationConfiguration {
        rules: rules.collect(),
    }
}
