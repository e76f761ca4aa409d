//! What a registry is to scan and to sign, and that nothing was signed.

use entrepot_service::{RegistryScanning, RepositoryFilter, ScanFrequency, ServiceError, Signing};
use serde::{Deserialize, Serialize};

use super::image_ids::{self, ImageId};
use super::registry::NoInput;
use crate::call::Call;
use crate::error::ApiError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetOutput {
    registry_id: String,
    scanning_configuration: RegistryScanning,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutOutput {
    registry_scanning_configuration: RegistryScanning,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchInput {
    repository_names: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchOutput {
    scanning_configurations: Vec<RepositoryConfiguration>,
    failures: Vec<Failure>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RepositoryConfiguration {
    repository_arn: String,
    repository_name: String,
    scan_on_push: bool,
    scan_frequency: ScanFrequency,
    applied_scan_filters: Vec<RepositoryFilter>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    repository_name: String,
    failure_code: &'static str,
    failure_reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageInput {
    repository_name: String,
    image_id: ImageId,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SigningForm {
    signing_configuration: Signing,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SigningOutput {
    registry_id: String,
    signing_configuration: Signing,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SigningStatusOutput {
    repository_name: String,
    image_id: ImageId,
    registry_id: String,
    signing_statuses: Vec<SigningStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SigningStatus {
    signing_profile_arn: String,
    status: &'static str,
    failure_code: &'static str,
    failure_reason: &'static str,
}

pub(super) async fn get(call: &Call, _: NoInput) -> Result<GetOutput, ApiError> {
    let found = call.registry.registry_scanning(&call.caller).await;
    Ok(GetOutput {
        registry_id: call.account().to_string(),
        scanning_configuration: found.map_err(|error| call.failed(error))?,
    })
}

pub(super) async fn put(call: &Call, input: RegistryScanning) -> Result<PutOutput, ApiError> {
    call.registry
        .put_registry_scanning(&call.caller, &input)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(PutOutput {
        registry_scanning_configuration: input,
    })
}

pub(super) async fn batch(call: &Call, input: BatchInput) -> Result<BatchOutput, ApiError> {
    let names: Result<Vec<_>, _> = input
        .repository_names
        .iter()
        .map(|name| call.repository(name))
        .collect();
    let names = names?;
    let found = call
        .registry
        .repository_scanning(&call.caller, &names)
        .await
        .map_err(|error| call.failed(error))?;
    let mut output = BatchOutput {
        scanning_configurations: Vec::new(),
        failures: Vec::new(),
    };
    for (name, found) in names.iter().zip(found) {
        match found {
            Some(scanning) => output
                .scanning_configurations
                .push(RepositoryConfiguration {
                    repository_arn: call.repository_arn(name),
                    repository_name: name.to_string(),
                    scan_on_push: scanning.frequency == ScanFrequency::ScanOnPush,
                    scan_frequency: scanning.frequency,
                    applied_scan_filters: scanning.filters,
                }),
            None => output.failures.push(Failure {
                repository_name: name.to_string(),
                failure_code: "REPOSITORY_NOT_FOUND",
                failure_reason: call.repository_unknown(name.as_str()).message,
            }),
        }
    }
    Ok(output)
}

// === signing ===

pub(super) async fn put_signing(call: &Call, input: SigningForm) -> Result<SigningForm, ApiError> {
    call.registry
        .put_signing(&call.caller, &input.signing_configuration)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(input)
}

pub(super) async fn get_signing(call: &Call, _: NoInput) -> Result<SigningOutput, ApiError> {
    let found = call.registry.signing(&call.caller).await;
    signing(call, found)
}

pub(super) async fn delete_signing(call: &Call, _: NoInput) -> Result<SigningOutput, ApiError> {
    let deleted = call.registry.delete_signing(&call.caller).await;
    signing(call, deleted)
}

fn signing(call: &Call, found: Result<Signing, ServiceError>) -> Result<SigningOutput, ApiError> {
    let signing_configuration = found.map_err(|error| {
        call.failed_or(error, "SigningConfigurationNotFoundException", || {
            let account = call.account();
            format!("Signing configuration does not exist in the registry with id '{account}'")
        })
    })?;
    Ok(SigningOutput {
        registry_id: call.account().to_string(),
        signing_configuration,
    })
}

pub(super) async fn signing_status(
    call: &Call,
    input: ImageInput,
) -> Result<SigningStatusOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let action = "ecr:DescribeImageSigningStatus";
    let image = image_ids::existing(call, action, &repository, &input.image_id).await?;
    let profiles = call
        .registry
        .signing_profiles(&call.caller, &repository)
        .await
        .map_err(|error| call.failed(error))?;
    let statuses = profiles.into_iter().map(|signing_profile_arn| SigningStatus {
        signing_profile_arn,
        status: "FAILED",
        failure_code: "SigningNotAvailable",
        failure_reason: "this version of Entrepot keeps signing configurations and signs nothing",
    });
    Ok(SigningStatusOutput {
        repository_name: input.repository_name,
        image_id: ImageId {
            image_digest: Some(image.digest.to_string()),
            image_tag: input.image_id.image_tag,
        },
        registry_id: call.account().to_string(),
        signing_statuses: statuses.collect(),
    })
}
