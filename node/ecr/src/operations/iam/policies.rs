//! Managed policies.

use entrepot_service::iam::{ManagedPolicy, NewPolicy, PolicyFilter, PolicyScope};
use serde::Deserialize;
use serde_json::{Value, json};

use super::shapes::{Tag, given, tags};
use super::{Nothing, Part, failed, iam, listed, seconds};
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateInput {
    policy_name: String,
    policy_document: String,
    path: Option<String>,
    description: Option<String>,
    tags: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PolicyInput {
    policy_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListInput {
    scope: Option<String>,
    only_attached: Option<bool>,
    path_prefix: Option<String>,
    policy_usage_filter: Option<String>,
    #[serde(flatten)]
    part: Part,
}

pub(super) async fn create(call: &Call, input: CreateInput) -> Result<Value, ApiError> {
    let new = NewPolicy {
        name: input.policy_name,
        path: input.path.unwrap_or_else(|| "/".to_owned()),
        description: input.description.unwrap_or_default(),
        document: input.policy_document,
        tags: given(input.tags)?,
    };
    let made = iam(call).create_policy(new).await;
    let made = made.map_err(|error| failed(call, &error))?;
    Ok(json!({ "Policy": policy(&made, true) }))
}

pub(super) async fn get(call: &Call, input: PolicyInput) -> Result<Value, ApiError> {
    let found = iam(call).policy(&input.policy_arn).await;
    let found = found.map_err(|error| failed(call, &error))?;
    Ok(json!({ "Policy": policy(&found, true) }))
}

pub(super) async fn delete(call: &Call, input: PolicyInput) -> Result<Nothing, ApiError> {
    let done = iam(call).delete_policy(&input.policy_arn).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn list(call: &Call, input: ListInput) -> Result<Value, ApiError> {
    let after: Option<String> = input.part.start()?;
    let usage = input.policy_usage_filter.as_deref();
    let filter = PolicyFilter {
        scope: match input.scope.as_deref() {
            Some("AWS") => PolicyScope::Aws,
            Some("Local") => PolicyScope::Local,
            _ => PolicyScope::All,
        },
        path_prefix: input.path_prefix.unwrap_or_else(|| "/".to_owned()),
        used: input.only_attached.unwrap_or_default(),
        attached: usage == Some("PermissionsPolicy"),
        bounding: usage == Some("PermissionsBoundary"),
    };
    let size = input.part.size();
    let page = iam(call).policies(&filter, after.as_deref(), size).await;
    let page = page.map_err(|error| failed(call, &error))?;
    let shown: Vec<_> = page.items.iter().map(|it| policy(it, false)).collect();
    let last = page.items.last().filter(|_| page.more);
    Ok(listed("Policies", &shown, last.map(|it| &it.arn)))
}

/// `full`: with what lists leave out.
fn policy(policy: &ManagedPolicy, full: bool) -> Value {
    let description = Some(&policy.description).filter(|text| full && !text.is_empty());
    json!({
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": format!("v{}", policy.default_version),
        "AttachmentCount": policy.attached,
        "PermissionsBoundaryUsageCount": policy.bounding,
        "IsAttachable": policy.attachable,
        "Description": description,
        "CreateDate": policy.created_at_ms.map(seconds),
        "UpdateDate": policy.updated_at_ms.map(seconds),
        "Tags": tags(&policy.tags).filter(|_| full),
    })
}
