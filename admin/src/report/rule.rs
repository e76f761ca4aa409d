//! `entrepot rule put`, `list` and `delete`

use entrepot_proto::admin;
use serde::Serialize;

use crate::arguments::{Bandwidth, Slo, Window};
use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct PutRuleReport {
    pub(crate) rule: Rule,
    /// It took the place of a rule of the same id.
    pub(crate) replaced: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct RulesReport {
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DeletedRule {
    /// The id of the rule that is no more.
    pub(crate) deleted: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Rule {
    id: String,
    /// None: every repository.
    prefixes: Vec<String>,
    destinations: Vec<Destination>,
    /// None: nothing beyond the above.
    options: Option<Options>,
}

#[derive(Debug, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is said by itself")]
struct Options {
    repositories: Vec<String>,
    repositories_excluded: Vec<String>,
    tags: Vec<String>,
    tags_excluded: Vec<String>,
    artifact_types: Vec<String>,
    deletions: bool,
    mapping: Option<Mapping>,
    priority: u32,
    synchronous: bool,
    synchronous_timeout_ms: Option<u64>,
    settings: bool,
    bandwidth_bytes_per_second: Option<u64>,
    windows: Vec<String>,
    near: Vec<Vec<String>>,
    read_through: bool,
    backfill: bool,
    /// `99% within 30s`
    slo: Option<String>,
}

#[derive(Debug, Serialize)]
struct Mapping {
    from: String,
    to: String,
}

#[derive(Debug, Serialize)]
struct Destination {
    region: String,
    /// None: the account that the rule is of.
    account: Option<String>,
}

impl From<admin::Rule> for Rule {
    fn from(rule: admin::Rule) -> Self {
        Self {
            options: rule.options.map(Options::from),
            id: rule.id,
            prefixes: rule.prefixes,
            destinations: rule
                .destinations
                .into_iter()
                .map(|it| Destination {
                    region: it.region,
                    account: Some(it.account).filter(|account| !account.is_empty()),
                })
                .collect(),
        }
    }
}

impl From<admin::RuleOptions> for Options {
    fn from(options: admin::RuleOptions) -> Self {
        let timeout = options.synchronous_timeout_ms;
        let bandwidth = options.bandwidth_bytes_per_second;
        let windows = options.windows.into_iter();
        Self {
            repositories: options.repositories,
            repositories_excluded: options.repositories_excluded,
            tags: options.tags,
            tags_excluded: options.tags_excluded,
            artifact_types: options.artifact_types,
            deletions: options.deletions,
            mapping: options.mapping.map(|mapping| Mapping {
                from: mapping.from,
                to: mapping.to,
            }),
            priority: options.priority,
            synchronous: options.synchronous,
            synchronous_timeout_ms: (timeout > 0).then_some(timeout),
            settings: options.settings,
            bandwidth_bytes_per_second: (bandwidth > 0).then_some(bandwidth),
            windows: windows.map(|it| Window(it).to_string()).collect(),
            near: options.near.into_iter().map(|it| it.regions).collect(),
            read_through: options.read_through,
            backfill: options.backfill,
            slo: options.objective.map(|it| Slo(it).to_string()),
        }
    }
}

impl Options {
    /// In the words of the command line.
    fn words(&self) -> String {
        let each = |flag: &str, values: &[String]| -> Vec<String> {
            values.iter().map(|it| format!("{flag} {it}")).collect()
        };
        let mut words = [
            each("exclude", &self.repositories_excluded),
            each("tag", &self.tags),
            each("exclude-tag", &self.tags_excluded),
            each("artifact-type", &self.artifact_types),
        ]
        .concat();
        if self.deletions {
            words.push("deletions".to_owned());
        }
        if let Some(mapping) = &self.mapping {
            words.push(format!("map {}={}", mapping.from, mapping.to));
        }
        if self.priority > 0 {
            words.push(format!("priority {}", self.priority));
        }
        if let Some(bandwidth) = self.bandwidth_bytes_per_second {
            words.push(format!("bandwidth {}", Bandwidth(bandwidth)));
        }
        words.extend(each("window", &self.windows));
        let near = self.near.iter().map(|regions| regions.join(","));
        words.extend(each("near", &near.collect::<Vec<_>>()));
        if let Some(slo) = &self.slo {
            words.push(format!("slo {slo}"));
        }
        for (is_said, word) in [
            (self.synchronous, "synchronous"),
            (self.settings, "settings"),
            (self.read_through, "read-through"),
            (self.backfill, "backfill"),
        ] {
            if is_said {
                words.push(word.to_owned());
            }
        }
        words.join(", ")
    }
}

impl From<Vec<admin::Rule>> for RulesReport {
    fn from(rules: Vec<admin::Rule>) -> Self {
        let rules = rules.into_iter().map(Rule::from).collect();
        Self { rules }
    }
}

impl Rule {
    /// `every repository`, or the prefixes with a star behind each.
    fn what(&self) -> String {
        let wildcards = self.options.iter().flat_map(|it| &it.repositories);
        let prefixes = self.prefixes.iter().map(|p| format!("{p}*"));
        let patterns: Vec<String> = prefixes.chain(wildcards.cloned()).collect();
        if patterns.is_empty() {
            return "every repository".to_owned();
        }
        human::plain(&human::list(&patterns))
    }
}

impl Rule {
    fn options(&self) -> String {
        human::plain(
            &self
                .options
                .as_ref()
                .map(Options::words)
                .unwrap_or_default(),
        )
    }

    fn to(&self) -> String {
        let name = |it: &Destination| match &it.account {
            Some(account) => format!("{}/{account}", it.region),
            None => it.region.clone(),
        };
        let names: Vec<String> = self.destinations.iter().map(name).collect();
        human::plain(&human::list(&names))
    }
}

impl Report for PutRuleReport {
    fn people(&self, _now_ms: i64) -> String {
        let done = if self.replaced { "Replaced" } else { "Created" };
        format!(
            "{done} rule {}: {} to {}.",
            human::plain(&self.rule.id),
            self.rule.what(),
            self.rule.to()
        )
    }
}

impl Report for RulesReport {
    fn people(&self, _now_ms: i64) -> String {
        if self.rules.is_empty() {
            return "There are no rules: nothing is copied to other regions.".to_owned();
        }
        human::table(
            ["RULE", "REPOSITORIES", "TO", "OPTIONS"],
            self.rules
                .iter()
                .map(|rule| [rule.id.clone(), rule.what(), rule.to(), rule.options()]),
        )
    }
}

impl Report for DeletedRule {
    fn people(&self, _now_ms: i64) -> String {
        format!("Deleted rule {}.", human::plain(&self.deleted))
    }
}
