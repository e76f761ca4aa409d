//! Repositories: made, described, deleted, and their settings.

use entrepot_oci::RepositoryName;
use entrepot_service::{NewRepository, Repository, ServiceError};
use serde::{Deserialize, Serialize};

use super::settings::{EncryptionConfiguration, ScanningConfiguration, TagMutability};
use super::tags::{self, Tag};
use crate::call::Call;
use crate::error::ApiError;
use crate::page;
use crate::wire::json::seconds;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateInput {
    repository_name: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(flatten)]
    mutability: TagMutability,
    #[serde(default)]
    image_scanning_configuration: ScanningConfiguration,
    encryption_configuration: Option<EncryptionConfiguration>,
}

#[derive(Serialize)]
pub(super) struct RepositoryOutput {
    repository: Described,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    repository_arn: String,
    registry_id: String,
    repository_name: String,
    repository_uri: String,
    created_at: f64,
    #[serde(flatten)]
    mutability: TagMutability,
    image_scanning_configuration: ScanningConfiguration,
    encryption_configuration: EncryptionConfiguration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeInput {
    repository_names: Option<Vec<String>>,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeOutput {
    repositories: Vec<Described>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteInput {
    repository_name: String,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MutabilityInput {
    repository_name: String,
    #[serde(flatten)]
    mutability: TagMutability,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MutabilityOutput {
    registry_id: String,
    repository_name: String,
    #[serde(flatten)]
    mutability: TagMutability,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScanningInput {
    repository_name: String,
    image_scanning_configuration: ScanningConfiguration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScanningOutput {
    registry_id: String,
    repository_name: String,
    image_scanning_configuration: ScanningConfiguration,
}

pub(super) async fn create(call: &Call, input: CreateInput) -> Result<RepositoryOutput, ApiError> {
    let repository = name(&input.repository_name)?;
    let new = NewRepository {
        mutability: input.mutability.of().unwrap_or_default(),
        encryption: input.encryption_configuration.map(Into::into),
        scan_on_push: input.image_scanning_configuration.scan_on_push,
        tags: tags::checked(input.tags)?,
        catalog: None,
    };
    let made = call
        .registry
        .create_described(&call.caller, &repository, new)
        .await;
    let made = made.map_err(|error| not_made(call, &repository, error))?;
    Ok(output(call, made))
}

pub(super) fn not_made(call: &Call, repository: &RepositoryName, error: ServiceError) -> ApiError {
    match error {
        ServiceError::Conflict(_) => {
            let account = call.account();
            let message = format!(
                "The repository with name '{repository}' already exists in the registry with id \
                 '{account}'"
            );
            ApiError::new("RepositoryAlreadyExistsException", message)
        }
        error => tags::failed(call, error),
    }
}

/// A name that the model has let pass, of a repository that is not there yet.
pub(super) fn name(text: &str) -> Result<RepositoryName, ApiError> {
    text.parse().map_err(|error| {
        let message = format!(
            "Invalid parameter at 'repositoryName' failed to satisfy constraint: '{error}'"
        );
        ApiError::new("InvalidParameterException", message)
    })
}

pub(super) async fn describe(
    call: &Call,
    input: DescribeInput,
) -> Result<DescribeOutput, ApiError> {
    let paged = input.next_token.is_some() || input.max_results.is_some();
    if let Some(names) = input.repository_names {
        page::alone(paged, "repositoryNames")?;
        let mut repositories = Vec::with_capacity(names.len());
        for name in names {
            let repository = call.repository(&name)?;
            let found = call
                .registry
                .describe_repository(&call.caller, &repository)
                .await;
            let found = found.map_err(|error| call.failed(error))?;
            repositories.push(described(call, found));
        }
        return Ok(DescribeOutput {
            repositories,
            next_token: None,
        });
    }
    let after: Option<String> = page::start(input.next_token.as_deref())?;
    let size = page::size(input.max_results);
    let found = call
        .registry
        .describe_repositories(&call.caller, after.as_deref(), Some(size))
        .await
        .map_err(|error| call.failed(error))?;
    let last = found.repositories.last().filter(|_| found.more);
    Ok(DescribeOutput {
        next_token: last.map(|last| page::token(&last.name.as_str())),
        repositories: found
            .repositories
            .into_iter()
            .map(|repository| described(call, repository))
            .collect(),
    })
}

pub(super) async fn delete(call: &Call, input: DeleteInput) -> Result<RepositoryOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let deleted = call
        .registry
        .delete_described(&call.caller, &repository, input.force)
        .await;
    Ok(output(call, deleted.map_err(|error| call.failed(error))?))
}

pub(super) async fn put_mutability(
    call: &Call,
    input: MutabilityInput,
) -> Result<MutabilityOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let mutability = input.mutability.of().unwrap_or_default();
    let changed = call
        .registry
        .put_tag_mutability(&call.caller, &repository, mutability)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(MutabilityOutput {
        registry_id: call.account().to_string(),
        repository_name: input.repository_name,
        mutability: changed.mutability.into(),
    })
}

pub(super) async fn put_scanning(
    call: &Call,
    input: ScanningInput,
) -> Result<ScanningOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let scan_on_push = input.image_scanning_configuration.scan_on_push;
    let changed = call
        .registry
        .put_scan_on_push(&call.caller, &repository, scan_on_push)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(ScanningOutput {
        registry_id: call.account().to_string(),
        repository_name: input.repository_name,
        image_scanning_configuration: ScanningConfiguration {
            scan_on_push: changed.scan_on_push,
        },
    })
}

fn output(call: &Call, repository: Repository) -> RepositoryOutput {
    RepositoryOutput {
        repository: described(call, repository),
    }
}

fn described(call: &Call, repository: Repository) -> Described {
    Described {
        repository_arn: call.repository_arn(&repository.name),
        registry_id: call.account().to_string(),
        repository_uri: call.repository_uri(&repository.name),
        repository_name: repository.name.to_string(),
        created_at: seconds(repository.created_at_ms),
        mutability: repository.mutability.into(),
        image_scanning_configuration: ScanningConfiguration {
            scan_on_push: repository.scan_on_push,
        },
        encryption_configuration: repository.encryption.map(Into::into).unwrap_or_default(),
    }
}
