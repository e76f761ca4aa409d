//! Lifecycle policies of repositories.

use entrepot_oci::RepositoryName;
use entrepot_service::ServiceError;
use serde::{Deserialize, Serialize};

use super::InRepository;
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutInput {
    repository_name: String,
    lifecycle_policy_text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyOutput {
    registry_id: String,
    repository_name: String,
    lifecycle_policy_text: String,
}

pub(super) async fn put(call: &Call, input: PutInput) -> Result<PolicyOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let kept = call
        .registry
        .put_lifecycle_policy(&call.caller, &repository, &input.lifecycle_policy_text)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(output(call, input.repository_name, kept))
}

pub(super) async fn get(call: &Call, input: InRepository) -> Result<PolicyOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let policy = call
        .registry
        .lifecycle_policy(&call.caller, &repository)
        .await
        .map_err(|error| none(call, &repository, error))?;
    Ok(output(call, input.repository_name, policy))
}

pub(super) async fn delete(call: &Call, input: InRepository) -> Result<PolicyOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let policy = call
        .registry
        .delete_lifecycle_policy(&call.caller, &repository)
        .await
        .map_err(|error| none(call, &repository, error))?;
    Ok(output(call, input.repository_name, policy))
}

fn output(call: &Call, repository_name: String, text: String) -> PolicyOutput {
    PolicyOutput {
        registry_id: call.account().to_string(),
        repository_name,
        lifecycle_policy_text: text,
    }
}

fn none(call: &Call, repository: &RepositoryName, error: ServiceError) -> ApiError {
    call.failed_or(error, "LifecyclePolicyNotFoundException", || {
        let account = call.account();
        format!(
            "Lifecycle policy does not exist for the repository with name '{repository}' in the \
             registry with id '{account}'"
        )
    })
}
