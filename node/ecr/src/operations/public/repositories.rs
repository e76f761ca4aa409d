//! Public repositories: made, described, deleted.

use entrepot_service::{NewRepository, Repository};
use serde::{Deserialize, Serialize};

use super::super::repositories::{name, not_made};
use super::super::tags::{self, Tag};
use super::catalog::{CatalogInput, CatalogOutput};
use crate::call::Call;
use crate::error::ApiError;
use crate::page;
use crate::wire::json::seconds;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateInput {
    repository_name: String,
    catalog_data: Option<CatalogInput>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateOutput {
    repository: Described,
    #[serde(skip_serializing_if = "Option::is_none")]
    catalog_data: Option<CatalogOutput>,
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

pub(super) async fn create(call: &Call, input: CreateInput) -> Result<CreateOutput, ApiError> {
    let repository = name(&input.repository_name)?;
    let told = input.catalog_data.map(CatalogInput::read).transpose()?;
    let (catalog, logo) = told.unzip();
    let logo = logo.flatten();
    let catalog = catalog.map(|catalog| catalog.with_logo(logo.as_deref()));
    let new = NewRepository {
        tags: tags::checked(input.tags)?,
        catalog: catalog.clone(),
        ..NewRepository::default()
    };
    let made = call
        .registry
        .create_public(&call.caller, &repository, new, logo)
        .await;
    let made = made.map_err(|error| not_made(call, &repository, error))?;
    Ok(CreateOutput {
        repository: described(call, &made),
        catalog_data: catalog.map(|catalog| CatalogOutput::of(call, &repository, catalog)),
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
            repositories.push(described(call, &found));
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
    let repositories = found.repositories.iter();
    Ok(DescribeOutput {
        next_token: last.map(|last| page::token(&last.name.as_str())),
        repositories: repositories.map(|found| described(call, found)).collect(),
    })
}

pub(super) async fn delete(call: &Call, input: DeleteInput) -> Result<RepositoryOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let deleted = call
        .registry
        .delete_described(&call.caller, &repository, input.force)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(RepositoryOutput {
        repository: described(call, &deleted),
    })
}

fn described(call: &Call, repository: &Repository) -> Described {
    Described {
        repository_arn: call.repository_arn(&repository.name),
        registry_id: call.account().to_string(),
        repository_uri: call.repository_uri(&repository.name),
        repository_name: repository.name.to_string(),
        created_at: seconds(repository.created_at_ms),
    }
}
