//! Lifecycle policies of repositories, and previews of what they would do.

use std::collections::{HashMap, HashSet};

use entrepot_oci::{RepositoryName, Tag};
use entrepot_service::{LifecyclePolicy, LifecyclePreview, PreviewedImage, ServiceError};
use serde::{Deserialize, Serialize};

use super::InRepository;
use super::image_ids::ImageId;
use super::images::Filter;
use crate::call::Call;
use crate::error::ApiError;
use crate::page;
use crate::wire::json::seconds;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    last_evaluated_at: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartInput {
    repository_name: String,
    lifecycle_policy_text: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartOutput {
    registry_id: String,
    repository_name: String,
    lifecycle_policy_text: String,
    status: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PreviewInput {
    repository_name: String,
    image_ids: Option<Vec<ImageId>>,
    next_token: Option<String>,
    max_results: Option<i64>,
    #[serde(default)]
    filter: Filter,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PreviewOutput {
    registry_id: String,
    repository_name: String,
    lifecycle_policy_text: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    preview_results: Vec<PreviewResult>,
    summary: Summary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PreviewResult {
    image_tags: Vec<String>,
    image_digest: String,
    image_pushed_at: f64,
    action: Action,
    applied_rule_priority: i64,
    storage_class: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_storage_class: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    expiring_image_total_count: usize,
    transitioning_image_total_counts: Vec<Transitioning>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Transitioning {
    target_storage_class: &'static str,
    image_total_count: usize,
}

/// What a client names, to be looked up for many images.
struct Named<'a> {
    by_digest: HashMap<&'a str, Vec<Option<&'a str>>>,
    by_tag: HashSet<&'a str>,
}

// === impl Named ===

impl<'a> Named<'a> {
    fn new(ids: &'a [ImageId]) -> Self {
        let mut named = Self {
            by_digest: HashMap::new(),
            by_tag: HashSet::new(),
        };
        for id in ids {
            match (id.image_digest.as_deref(), id.image_tag.as_deref()) {
                (Some(digest), tag) => named.by_digest.entry(digest).or_default().push(tag),
                (None, Some(tag)) => drop(named.by_tag.insert(tag)),
                (None, None) => {}
            }
        }
        named
    }

    fn has(&self, image: &PreviewedImage) -> bool {
        let tags = image.tags.iter().map(Tag::as_str);
        if tags.clone().any(|tag| self.by_tag.contains(tag)) {
            return true;
        }
        let with = self.by_digest.get(image.digest.to_string().as_str());
        let mut with = with.into_iter().flatten();
        with.any(|wanted| wanted.is_none_or(|wanted| tags.clone().any(|tag| tag == wanted)))
    }
}

pub(super) async fn put(call: &Call, input: PutInput) -> Result<PolicyOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let kept = call
        .registry
        .put_lifecycle_policy(&call.caller, &repository, &input.lifecycle_policy_text)
        .await
        .map_err(|error| call.failed(error))?;
    let kept = LifecyclePolicy {
        text: kept,
        last_run: None,
    };
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

pub(super) async fn start_preview(call: &Call, input: StartInput) -> Result<StartOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let text = input.lifecycle_policy_text.as_deref();
    let started = call
        .registry
        .start_lifecycle_preview(&call.caller, &repository, text)
        .await;
    Ok(StartOutput {
        registry_id: call.account().to_string(),
        repository_name: input.repository_name,
        lifecycle_policy_text: started.map_err(|error| none(call, &repository, error))?,
        status: "IN_PROGRESS",
    })
}

/// Those that the client names, or a page of all.
pub(super) async fn preview(call: &Call, input: PreviewInput) -> Result<PreviewOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    if input.image_ids.is_some() {
        let is_paged = input.next_token.is_some() || input.max_results.is_some();
        page::alone(is_paged, "imageIds")?;
    }
    let found = call
        .registry
        .lifecycle_preview(&call.caller, &repository)
        .await
        .map_err(|error| no_preview(call, &repository, error))?;
    let status = input.filter.status();
    let start = page::start::<usize>(input.next_token.as_deref())?.unwrap_or(0);
    let named = input.image_ids.as_deref().map(Named::new);
    let images = found.images.iter().enumerate().skip(start);
    let mut shown = images.filter(|(_, image)| {
        status.shows(&image.tags) && named.as_ref().is_none_or(|named| named.has(image))
    });
    let size = if named.is_some() {
        found.images.len()
    } else {
        page::size(input.max_results)
    };
    let preview_results = shown.by_ref().take(size).map(|(_, image)| result(image));
    let preview_results = preview_results.collect();
    let next_token = shown.next().map(|(at, _)| page::token(&at));
    Ok(PreviewOutput {
        registry_id: call.account().to_string(),
        repository_name: input.repository_name,
        status: if found.has_expired {
            "EXPIRED"
        } else {
            "COMPLETE"
        },
        next_token,
        preview_results,
        summary: summary(&found),
        lifecycle_policy_text: found.text,
    })
}

fn result(image: &PreviewedImage) -> PreviewResult {
    PreviewResult {
        image_tags: image.tags.iter().map(Tag::to_string).collect(),
        image_digest: image.digest.to_string(),
        image_pushed_at: seconds(image.pushed_at_ms),
        action: if image.to_archive {
            Action {
                kind: "TRANSITION",
                target_storage_class: Some("ARCHIVE"),
            }
        } else {
            Action {
                kind: "EXPIRE",
                target_storage_class: None,
            }
        },
        applied_rule_priority: image.priority,
        storage_class: if image.is_archived {
            "ARCHIVE"
        } else {
            "STANDARD"
        },
    }
}

fn summary(preview: &LifecyclePreview) -> Summary {
    let archiving = preview.archiving();
    let transitioning = (archiving > 0).then_some(Transitioning {
        target_storage_class: "ARCHIVE",
        image_total_count: archiving,
    });
    Summary {
        expiring_image_total_count: preview.expiring(),
        transitioning_image_total_counts: transitioning.into_iter().collect(),
    }
}

fn output(call: &Call, repository_name: String, policy: LifecyclePolicy) -> PolicyOutput {
    let evaluated_at = policy.last_run.map(|run| seconds(run.evaluated_at_ms));
    PolicyOutput {
        registry_id: call.account().to_string(),
        repository_name,
        lifecycle_policy_text: policy.text,
        last_evaluated_at: evaluated_at,
    }
}

fn no_preview(call: &Call, repository: &RepositoryName, error: ServiceError) -> ApiError {
    call.failed_or(error, "LifecyclePolicyPreviewNotFoundException", || {
        let account = call.account();
        format!(
            "Lifecycle policy preview does not exist for the repository with name '{repository}' \
             in the registry with id '{account}'"
        )
    })
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
