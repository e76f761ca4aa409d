//! Policies of repositories.

use entrepot_oci::RepositoryName;
use entrepot_service::ServiceError;
use serde::{Deserialize, Serialize};

use super::InRepository;
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SetInput {
    repository_name: String,
    policy_text: String,
    #[serde(default)]
    force: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyOutput {
    registry_id: String,
    repository_name: String,
    policy_text: String,
}

pub(super) async fn set(call: &Call, input: SetInput) -> Result<PolicyOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    call.registry
        .set_repository_policy(&call.caller, &repository, &input.policy_text, input.force)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(output(call, input.repository_name, input.policy_text))
}

pub(super) async fn get(call: &Call, input: InRepository) -> Result<PolicyOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let policy = call
        .registry
        .repository_policy(&call.caller, &repository)
        .await
        .map_err(|error| none(call, &repository, error))?;
    Ok(output(call, input.repository_name, policy))
}

pub(super) async fn delete(call: &Call, input: InRepository) -> Result<PolicyOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let policy = call
        .registry
        .delete_repository_policy(&call.caller, &repository)
        .await
        .map_err(|error| none(call, &repository, error))?;
    Ok(output(call, input.repository_name, policy))
}

fn output(call: &Call, repository_name: String, policy_text: String) -> PolicyOutput {
    PolicyOutput {
        registry_id: call.account().to_string(),
        repository_name,
        policy_text,
    }
}

fn none(call: &Call, repository: &RepositoryName, error: ServiceError) -> ApiError {
    call.failed_or(error, "RepositoryPolicyNotFoundException", || {
        let account = call.account();
        format!(
            "Repository policy does not exist for the repository with name '{repository}' in the \
             registry with id '{account}'"
        )
    })
}
