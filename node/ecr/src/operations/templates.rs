//! Templates of repositories that nobody makes by hand.

use entrepot_service::{CreatedFor, ServiceError, Template, TemplateChange};
use serde::{Deserialize, Serialize};

use super::settings::{EncryptionConfiguration, TagMutability};
use super::tags::{self, Tag};
use crate::call::Call;
use crate::error::ApiError;
use crate::page;
use crate::wire::json::seconds;

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum AppliedFor {
    Replication,
    PullThroughCache,
    CreateOnPush,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutInput {
    prefix: String,
    description: Option<String>,
    encryption_configuration: Option<EncryptionConfiguration>,
    resource_tags: Option<Vec<Tag>>,
    #[serde(flatten)]
    mutability: TagMutability,
    repository_policy: Option<String>,
    lifecycle_policy: Option<String>,
    applied_for: Option<Vec<AppliedFor>>,
    custom_role_arn: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct DeleteInput {
    prefix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeInput {
    prefixes: Option<Vec<String>>,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TemplateOutput {
    registry_id: String,
    repository_creation_template: Described,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeOutput {
    registry_id: String,
    repository_creation_templates: Vec<Described>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    encryption_configuration: EncryptionConfiguration,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_tags: Vec<Tag>,
    #[serde(flatten)]
    mutability: TagMutability,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle_policy: Option<String>,
    applied_for: Vec<AppliedFor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_role_arn: Option<String>,
    created_at: f64,
    updated_at: f64,
}

pub(super) async fn create(call: &Call, input: PutInput) -> Result<TemplateOutput, ApiError> {
    let (prefix, members) = input.read()?;
    let made = call
        .registry
        .create_template(&call.caller, &prefix, members)
        .await;
    let made = made.map_err(|error| match error {
        ServiceError::Conflict(_) => {
            let account = call.account();
            let message = format!(
                "The repository creation template with prefix '{prefix}' already exists in the \
                 registry with id '{account}'"
            );
            ApiError::new("TemplateAlreadyExistsException", message)
        }
        error => call.failed(error),
    })?;
    Ok(output(call, made))
}

pub(super) async fn update(call: &Call, input: PutInput) -> Result<TemplateOutput, ApiError> {
    let (prefix, change) = input.read()?;
    let changed = call
        .registry
        .update_template(&call.caller, &prefix, change)
        .await;
    let changed = changed.map_err(|error| none(call, &prefix, error))?;
    Ok(output(call, changed))
}

pub(super) async fn delete(call: &Call, input: DeleteInput) -> Result<TemplateOutput, ApiError> {
    let prefix = input.prefix;
    let deleted = call.registry.delete_template(&call.caller, &prefix).await;
    let deleted = deleted.map_err(|error| none(call, &prefix, error))?;
    Ok(output(call, deleted))
}

pub(super) async fn describe(
    call: &Call,
    input: DescribeInput,
) -> Result<DescribeOutput, ApiError> {
    let paged = input.next_token.is_some() || input.max_results.is_some();
    let (templates, next_token) = match input.prefixes {
        Some(prefixes) if !prefixes.is_empty() => {
            page::alone(paged, "prefixes")?;
            page::few(prefixes.len(), "prefixes")?;
            let found = call.registry.templates_of(&call.caller, &prefixes).await;
            (found.map_err(|error| call.failed(error))?, None)
        }
        _ => {
            let after: Option<String> = page::start(input.next_token.as_deref())?;
            let size = page::size(input.max_results);
            let found = call
                .registry
                .templates(&call.caller, after.as_deref(), Some(size))
                .await
                .map_err(|error| call.failed(error))?;
            let last = found.templates.last().filter(|_| found.more);
            let next = last.map(|last| page::token(&last.prefix));
            (found.templates, next)
        }
    };
    Ok(DescribeOutput {
        registry_id: call.account().to_string(),
        repository_creation_templates: templates.into_iter().map(Described::from).collect(),
        next_token,
    })
}

fn output(call: &Call, template: Template) -> TemplateOutput {
    TemplateOutput {
        registry_id: call.account().to_string(),
        repository_creation_template: template.into(),
    }
}

fn none(call: &Call, prefix: &str, error: ServiceError) -> ApiError {
    call.failed_or(error, "TemplateNotFoundException", || {
        let account = call.account();
        format!(
            "The repository creation template with prefix '{prefix}' does not exist in the \
             registry with id '{account}'"
        )
    })
}

// === impl PutInput ===

impl PutInput {
    fn read(self) -> Result<(String, TemplateChange), ApiError> {
        let tags = self.resource_tags.map(tags::checked).transpose();
        // The model has no code for tags here.
        let tags =
            tags.map_err(|error| ApiError::new("InvalidParameterException", error.message))?;
        let change = TemplateChange {
            description: self.description,
            mutability: self.mutability.of(),
            encryption: self.encryption_configuration.map(Into::into),
            tags,
            policy: self.repository_policy,
            lifecycle: self.lifecycle_policy,
            applied_for: self
                .applied_for
                .map(|ways| ways.into_iter().map(Into::into).collect()),
            role: self.custom_role_arn,
        };
        Ok((self.prefix, change))
    }
}

// === impl Described, AppliedFor ===

impl From<Template> for Described {
    fn from(template: Template) -> Self {
        let encryption = template.encryption.map(Into::into);
        Self {
            prefix: template.prefix,
            description: template.description,
            encryption_configuration: encryption.unwrap_or_default(),
            resource_tags: tags::wire(template.tags),
            mutability: template.mutability.into(),
            repository_policy: template.policy,
            lifecycle_policy: template.lifecycle,
            applied_for: template.applied_for.into_iter().map(Into::into).collect(),
            custom_role_arn: template.role,
            created_at: seconds(template.created_at_ms),
            updated_at: seconds(template.updated_at_ms),
        }
    }
}

impl From<AppliedFor> for CreatedFor {
    fn from(applied: AppliedFor) -> Self {
        match applied {
            AppliedFor::Replication => Self::Replication,
            AppliedFor::PullThroughCache => Self::PullThroughCache,
            AppliedFor::CreateOnPush => Self::Push,
        }
    }
}

impl From<CreatedFor> for AppliedFor {
    fn from(way: CreatedFor) -> Self {
        match way {
            CreatedFor::Replication => Self::Replication,
            CreatedFor::PullThroughCache => Self::PullThroughCache,
            CreatedFor::Push => Self::CreateOnPush,
        }
    }
}
