//! The registry itself: its policy, its account settings, and the principals whose
//! pulls do not count.

use entrepot_service::ServiceError;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::error::ApiError;
use crate::page;
use crate::wire::json::seconds;

/// What an operation reads that reads nothing.
#[derive(Deserialize)]
pub(super) struct NoInput {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyInput {
    policy_text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyOutput {
    registry_id: String,
    policy_text: String,
}

#[derive(Deserialize)]
pub(super) struct SettingInput {
    name: String,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Setting {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExclusionInput {
    principal_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegisterOutput {
    principal_arn: String,
    created_at: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeregisterOutput {
    principal_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListInput {
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListOutput {
    pull_time_update_exclusions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

// === policy ===

pub(super) async fn put_policy(call: &Call, input: PolicyInput) -> Result<PolicyOutput, ApiError> {
    call.registry
        .put_registry_policy(&call.caller, &input.policy_text)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(policy(call, input.policy_text))
}

pub(super) async fn get_policy(call: &Call, _: NoInput) -> Result<PolicyOutput, ApiError> {
    let found = call.registry.registry_policy(&call.caller).await;
    Ok(policy(call, found.map_err(|error| no_policy(call, error))?))
}

pub(super) async fn delete_policy(call: &Call, _: NoInput) -> Result<PolicyOutput, ApiError> {
    let deleted = call.registry.delete_registry_policy(&call.caller).await;
    Ok(policy(
        call,
        deleted.map_err(|error| no_policy(call, error))?,
    ))
}

fn policy(call: &Call, policy_text: String) -> PolicyOutput {
    PolicyOutput {
        registry_id: call.account().to_string(),
        policy_text,
    }
}

fn no_policy(call: &Call, error: ServiceError) -> ApiError {
    call.failed_or(error, "RegistryPolicyNotFoundException", || {
        let account = call.account();
        format!("Registry policy does not exist in the registry with id '{account}'")
    })
}

// === account settings ===

pub(super) async fn get_setting(call: &Call, input: SettingInput) -> Result<Setting, ApiError> {
    let value = call.registry.account_setting(&call.caller, &input.name);
    Ok(Setting {
        value: value.await.map_err(|error| call.failed(error))?,
        name: input.name,
    })
}

pub(super) async fn put_setting(call: &Call, input: Setting) -> Result<Setting, ApiError> {
    call.registry
        .put_account_setting(&call.caller, &input.name, &input.value)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(input)
}

// === principals whose pulls do not count ===

pub(super) async fn register(
    call: &Call,
    input: ExclusionInput,
) -> Result<RegisterOutput, ApiError> {
    let arn = input.principal_arn;
    let registered = call.registry.register_exclusion(&call.caller, &arn).await;
    let registered = registered.map_err(|error| match error {
        ServiceError::Conflict(_) => ApiError::new(
            "ExclusionAlreadyExistsException",
            format!("A pull time update exclusion already exists for the principal '{arn}'"),
        ),
        error => call.failed(error),
    })?;
    Ok(RegisterOutput {
        created_at: seconds(registered.created_at_ms),
        principal_arn: arn,
    })
}

pub(super) async fn deregister(
    call: &Call,
    input: ExclusionInput,
) -> Result<DeregisterOutput, ApiError> {
    let arn = input.principal_arn;
    call.registry
        .deregister_exclusion(&call.caller, &arn)
        .await
        .map_err(|error| {
            call.failed_or(error, "ExclusionNotFoundException", || {
                format!("There is no pull time update exclusion for the principal '{arn}'")
            })
        })?;
    Ok(DeregisterOutput { principal_arn: arn })
}

pub(super) async fn exclusions(call: &Call, input: ListInput) -> Result<ListOutput, ApiError> {
    let after: Option<String> = page::start(input.next_token.as_deref())?;
    let size = page::size(input.max_results);
    let found = call
        .registry
        .exclusions(&call.caller, after.as_deref(), Some(size))
        .await
        .map_err(|error| call.failed(error))?;
    let last = found.exclusions.last().filter(|_| found.more);
    Ok(ListOutput {
        next_token: last.map(|last| page::token(&last.principal)),
        pull_time_update_exclusions: found
            .exclusions
            .into_iter()
            .map(|it| it.principal)
            .collect(),
    })
}
