//! Rules for repositories that another registry is to fill.

use entrepot_service::{CacheRule, CacheRuleMembers, ServiceError};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::error::ApiError;
use crate::page;
use crate::wire::json::seconds;

/// What validating a rule says.
const NO_PULLS: &str =
    "this version of Entrepot keeps pull through cache rules and does not pull by them";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateInput {
    ecr_repository_prefix: String,
    #[serde(flatten)]
    members: CacheRuleMembers,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpdateInput {
    ecr_repository_prefix: String,
    credential_arn: Option<String>,
    custom_role_arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PrefixInput {
    ecr_repository_prefix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeInput {
    ecr_repository_prefixes: Option<Vec<String>>,
    next_token: Option<String>,
    max_results: Option<i64>,
}

/// A rule, with the members that an operation tells of.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleOutput {
    ecr_repository_prefix: String,
    registry_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_registry_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_registry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_repository_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_valid: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeOutput {
    pull_through_cache_rules: Vec<RuleOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(super) async fn create(call: &Call, input: CreateInput) -> Result<RuleOutput, ApiError> {
    let prefix = input.ecr_repository_prefix;
    let made = call
        .registry
        .create_cache_rule(&call.caller, &prefix, input.members)
        .await;
    let made = made.map_err(|error| match error {
        ServiceError::Conflict(_) => {
            let account = call.account();
            let message = format!(
                "A pull through cache rule for the repository prefix '{prefix}' already exists in \
                 the registry with id '{account}'"
            );
            ApiError::new("PullThroughCacheRuleAlreadyExistsException", message)
        }
        ServiceError::Unsupported(text) => {
            ApiError::new("UnsupportedUpstreamRegistryException", text)
        }
        error => call.failed(error),
    })?;
    Ok(RuleOutput {
        updated_at: None,
        ..rule(call, made)
    })
}

pub(super) async fn update(call: &Call, input: UpdateInput) -> Result<RuleOutput, ApiError> {
    let prefix = input.ecr_repository_prefix;
    let changed = call
        .registry
        .update_cache_rule(
            &call.caller,
            &prefix,
            input.credential_arn,
            input.custom_role_arn,
        )
        .await;
    let changed = changed.map_err(|error| none(call, &prefix, error))?;
    Ok(RuleOutput {
        upstream_registry_url: None,
        upstream_registry: None,
        created_at: None,
        ..rule(call, changed)
    })
}

pub(super) async fn delete(call: &Call, input: PrefixInput) -> Result<RuleOutput, ApiError> {
    let prefix = input.ecr_repository_prefix;
    let deleted = call.registry.delete_cache_rule(&call.caller, &prefix).await;
    let deleted = deleted.map_err(|error| none(call, &prefix, error))?;
    Ok(RuleOutput {
        upstream_registry: None,
        updated_at: None,
        ..rule(call, deleted)
    })
}

pub(super) async fn validate(call: &Call, input: PrefixInput) -> Result<RuleOutput, ApiError> {
    let prefix = input.ecr_repository_prefix;
    let action = "ecr:ValidatePullThroughCacheRule";
    let found = call
        .registry
        .cache_rule(&call.caller, action, &prefix)
        .await;
    let found = found.map_err(|error| none(call, &prefix, error))?;
    Ok(RuleOutput {
        upstream_registry: None,
        created_at: None,
        updated_at: None,
        is_valid: Some(false),
        failure: Some(NO_PULLS),
        ..rule(call, found)
    })
}

pub(super) async fn describe(
    call: &Call,
    input: DescribeInput,
) -> Result<DescribeOutput, ApiError> {
    let paged = input.next_token.is_some() || input.max_results.is_some();
    if let Some(prefixes) = input.ecr_repository_prefixes {
        page::alone(paged, "ecrRepositoryPrefixes")?;
        let action = "ecr:DescribePullThroughCacheRules";
        let mut rules = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            let found = call
                .registry
                .cache_rule(&call.caller, action, &prefix)
                .await;
            let found = found.map_err(|error| none(call, &prefix, error))?;
            rules.push(rule(call, found));
        }
        return Ok(DescribeOutput {
            pull_through_cache_rules: rules,
            next_token: None,
        });
    }
    let after: Option<String> = page::start(input.next_token.as_deref())?;
    let size = page::size(input.max_results);
    let found = call
        .registry
        .cache_rules(&call.caller, after.as_deref(), Some(size))
        .await
        .map_err(|error| call.failed(error))?;
    let last = found.rules.last().filter(|_| found.more);
    Ok(DescribeOutput {
        next_token: last.map(|last| page::token(&last.prefix)),
        pull_through_cache_rules: found.rules.into_iter().map(|it| rule(call, it)).collect(),
    })
}

fn rule(call: &Call, rule: CacheRule) -> RuleOutput {
    let members = rule.members;
    RuleOutput {
        ecr_repository_prefix: rule.prefix,
        registry_id: call.account().to_string(),
        upstream_registry_url: Some(members.upstream_registry_url),
        upstream_registry: members.upstream_registry,
        upstream_repository_prefix: members.upstream_repository_prefix,
        credential_arn: members.credential_arn,
        custom_role_arn: members.custom_role_arn,
        created_at: Some(seconds(rule.created_at_ms)),
        updated_at: Some(seconds(rule.updated_at_ms)),
        is_valid: None,
        failure: None,
    }
}

fn none(call: &Call, prefix: &str, error: ServiceError) -> ApiError {
    call.failed_or(error, "PullThroughCacheRuleNotFoundException", || {
        let account = call.account();
        format!(
            "The pull through cache rule for the repository prefix '{prefix}' does not exist in \
             the registry with id '{account}'"
        )
    })
}
