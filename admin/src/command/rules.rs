//! `entrepot rule`.

use entrepot_proto::admin;

use super::print;
use crate::arguments::{Near, Rule, RulePut, To};
use crate::client::Client;
use crate::failure::Failure;
use crate::report::{DeletedRule, PutRuleReport, RulesReport};

pub(super) async fn rule(client: &Client, command: Rule, json: bool) -> Result<(), Failure> {
    match command {
        Rule::Put(put) => print(&put_rule(client, put).await?, json),
        Rule::List => print(&RulesReport::from(client.rules().await?), json),
        Rule::Delete { id } => match client.delete_rule(&id).await {
            Ok(()) => print(&DeletedRule { deleted: id }, json),
            Err(failure) => Err(failure.or_missing(|| Failure::RuleUnknown(id))),
        },
    }
}

async fn put_rule(client: &Client, put: RulePut) -> Result<PutRuleReport, Failure> {
    let options = options(&put);
    let rule = admin::Rule {
        options: (options != admin::RuleOptions::default()).then_some(options),
        id: put.id,
        prefixes: put.prefixes,
        destination_region: String::new(),
        destinations: put.to.into_iter().map(destination).collect(),
    };
    let replaced = client.put_rule(rule.clone()).await?;
    Ok(PutRuleReport {
        rule: rule.into(),
        replaced,
    })
}

fn options(put: &RulePut) -> admin::RuleOptions {
    let timeout = put.synchronous_timeout.unwrap_or_default().as_millis();
    admin::RuleOptions {
        repositories: put.matches.clone(),
        repositories_excluded: put.excludes.clone(),
        tags: put.tags.clone(),
        tags_excluded: put.tags_excluded.clone(),
        artifact_types: put.artifact_types.clone(),
        deletions: put.deletions,
        mapping: put.map.clone().map(|map| admin::PrefixMapping {
            from: map.from,
            to: map.to,
        }),
        priority: put.priority,
        synchronous: put.synchronous,
        synchronous_timeout_ms: u64::try_from(timeout).unwrap_or(u64::MAX),
        bandwidth_bytes_per_second: put.bandwidth.map_or(0, |it| it.0),
        windows: put.windows.iter().map(|it| it.0).collect(),
        near: put.near.iter().map(near).collect(),
        read_through: put.read_through,
        settings: put.settings,
        backfill: put.backfill,
        objective: put.slo.map(|it| it.0),
    }
}

fn near(near: &Near) -> admin::NearRegions {
    admin::NearRegions {
        regions: near.0.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn destination(to: To) -> admin::RuleDestination {
    admin::RuleDestination {
        region: to.region.to_string(),
        account: to.account.map(|it| it.to_string()).unwrap_or_default(),
    }
}
