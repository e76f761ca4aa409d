//! `entrepot rule put`, `list` and `delete`

use entrepot_proto::admin;
use serde::Serialize;

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

impl From<Vec<admin::Rule>> for RulesReport {
    fn from(rules: Vec<admin::Rule>) -> Self {
        let rules = rules.into_iter().map(Rule::from).collect();
        Self { rules }
    }
}

impl Rule {
    /// `every repository`, or the prefixes with a star behind each.
    fn what(&self) -> String {
        if self.prefixes.is_empty() {
            return "every repository".to_owned();
        }
        let patterns: Vec<String> = self.prefixes.iter().map(|p| format!("{p}*")).collect();
        human::plain(&human::list(&patterns))
    }
}

impl Rule {
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
            ["RULE", "REPOSITORIES", "TO"],
            self.rules
                .iter()
                .map(|rule| [rule.id.clone(), rule.what(), rule.to()]),
        )
    }
}

impl Report for DeletedRule {
    fn people(&self, _now_ms: i64) -> String {
        format!("Deleted rule {}.", human::plain(&self.deleted))
    }
}
