//! Roles.

use entrepot_service::iam::{EntityKind, NewEntity, NewRole, RoleChange};
use serde::Deserialize;
use serde_json::{Value, json};

use super::shapes::{Tag, given, role};
use super::{ByPath, Named, Nothing, entities, failed, iam};
use crate::call::Call;
use crate::error::ApiError;

/// Seconds, unless a role says otherwise.
const MAX_SESSION_DEFAULT: u32 = 3_600;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateInput {
    role_name: String,
    assume_role_policy_document: String,
    path: Option<String>,
    description: Option<String>,
    max_session_duration: Option<u32>,
    permissions_boundary: Option<String>,
    tags: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
pub(super) struct LinkedInput {
    #[serde(rename = "AWSServiceName")]
    service: String,
    #[serde(rename = "Description")]
    description: Option<String>,
    #[serde(rename = "CustomSuffix")]
    suffix: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateInput {
    role_name: String,
    description: Option<String>,
    max_session_duration: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TrustInput {
    role_name: String,
    policy_document: String,
}

pub(super) async fn create(call: &Call, input: CreateInput) -> Result<Value, ApiError> {
    let iam = iam(call);
    let new = NewEntity {
        name: input.role_name,
        path: input.path.unwrap_or_else(|| "/".to_owned()),
        tags: given(input.tags)?,
        boundary: input.permissions_boundary,
    };
    let spec = NewRole {
        trust: input.assume_role_policy_document,
        description: input.description.unwrap_or_default(),
        max_session_s: input.max_session_duration.unwrap_or(MAX_SESSION_DEFAULT),
    };
    let made = iam.create_role(new, spec).await;
    let made = made.map_err(|error| failed(call, &error))?;
    Ok(json!({ "Role": role(iam, &made, true) }))
}

pub(super) async fn create_linked(call: &Call, input: LinkedInput) -> Result<Value, ApiError> {
    let iam = iam(call);
    let (service, suffix) = (&input.service, input.suffix.as_deref());
    let made = iam.create_linked_role(service, input.description, suffix);
    let made = made.await.map_err(|error| failed(call, &error))?;
    Ok(json!({ "Role": role(iam, &made, true) }))
}

pub(super) async fn get(call: &Call, input: Named) -> Result<Value, ApiError> {
    let iam = iam(call);
    let found = iam.entity(EntityKind::Role, &input.name).await;
    let found = found.map_err(|error| failed(call, &error))?;
    Ok(json!({ "Role": role(iam, &found, true) }))
}

pub(super) async fn list(call: &Call, input: ByPath) -> Result<Value, ApiError> {
    entities(call, EntityKind::Role, "Roles", input, |iam, it| {
        role(iam, it, false)
    })
    .await
}

pub(super) async fn update(call: &Call, input: UpdateInput) -> Result<Nothing, ApiError> {
    let change = RoleChange {
        description: input.description,
        max_session_s: input.max_session_duration,
        ..RoleChange::default()
    };
    let (name, action) = (&input.role_name, "iam:UpdateRole");
    let done = iam(call).update_role(action, name, change).await;
    done.map(|_| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn update_description(call: &Call, input: UpdateInput) -> Result<Value, ApiError> {
    let iam = iam(call);
    let change = RoleChange {
        description: input.description,
        ..RoleChange::default()
    };
    let (name, action) = (&input.role_name, "iam:UpdateRoleDescription");
    let after = iam.update_role(action, name, change).await;
    let after = after.map_err(|error| failed(call, &error))?;
    Ok(json!({ "Role": role(iam, &after, true) }))
}

pub(super) async fn update_trust(call: &Call, input: TrustInput) -> Result<Nothing, ApiError> {
    let change = RoleChange {
        trust: Some(input.policy_document),
        ..RoleChange::default()
    };
    let (name, action) = (&input.role_name, "iam:UpdateAssumeRolePolicy");
    let done = iam(call).update_role(action, name, change).await;
    done.map(|_| Nothing {})
        .map_err(|error| failed(call, &error))
}

/// There are no instances, so that no role has any; tools ask before they delete
/// one.
pub(super) async fn instance_profiles(call: &Call, input: Named) -> Result<Value, ApiError> {
    let iam = iam(call);
    let action = "iam:ListInstanceProfilesForRole";
    let found = iam.entity_for(EntityKind::Role, &input.name, action).await;
    found.map_err(|error| failed(call, &error))?;
    Ok(json!({ "InstanceProfiles": [], "IsTruncated": false }))
}
