//! Users, groups, roles and tags as answers have them.

use entrepot_service::iam::{Entity, EntityKind, Iam, Tags};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Kind, Named, Nothing, encoded, failed, iam, seconds};
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    key: String,
    value: String,
}

/// `full`: with what lists leave out.
pub(super) fn user(iam: Iam<'_>, user: &Entity, full: bool) -> Value {
    json!({
        "UserName": user.name,
        "UserId": user.id,
        "Path": user.path,
        "Arn": iam.arn(EntityKind::User, &user.path, &user.name),
        "CreateDate": seconds(user.created_at_ms),
        "PermissionsBoundary": boundary(user).filter(|_| full),
        "Tags": tags(&user.tags).filter(|_| full),
    })
}

pub(super) fn group(iam: Iam<'_>, group: &Entity) -> Value {
    json!({
        "GroupName": group.name,
        "GroupId": group.id,
        "Path": group.path,
        "Arn": iam.arn(EntityKind::Group, &group.path, &group.name),
        "CreateDate": seconds(group.created_at_ms),
    })
}

/// `full`: with what lists leave out.
pub(super) fn role(iam: Iam<'_>, entity: &Entity, full: bool) -> Value {
    let role = entity.role.as_ref();
    let description = role.map(|role| role.description.as_str());
    json!({
        "RoleName": entity.name,
        "RoleId": entity.id,
        "Path": entity.path,
        "Arn": iam.arn(EntityKind::Role, &entity.path, &entity.name),
        "CreateDate": seconds(entity.created_at_ms),
        "AssumeRolePolicyDocument": role.map(|role| encoded(&role.trust)),
        "Description": description.filter(|text| !text.is_empty()),
        "MaxSessionDuration": role.map(|role| role.max_session_s),
        "PermissionsBoundary": boundary(entity).filter(|_| full),
        "Tags": tags(&entity.tags).filter(|_| full),
    })
}

fn boundary(entity: &Entity) -> Option<Value> {
    let arn = entity.boundary.as_ref()?;
    Some(json!({
        "PermissionsBoundaryType": "PermissionsBoundaryPolicy",
        "PermissionsBoundaryArn": arn,
    }))
}

/// None: there are none.
pub(super) fn tags(tags: &Tags) -> Option<Vec<Value>> {
    let shown = tags.iter().map(|(key, value)| tag(key, value));
    (!tags.is_empty()).then(|| shown.collect())
}

pub(super) fn tag(key: &str, value: &str) -> Value {
    json!({ "Key": key, "Value": value })
}

/// # Errors
/// `InvalidInput`: one comes twice.
pub(super) fn given(tags: Option<Vec<Tag>>) -> Result<Tags, ApiError> {
    let mut given = Tags::new();
    for tag in tags.unwrap_or_default() {
        if given.insert(tag.key, tag.value).is_some() {
            return Err(ApiError::new(
                "InvalidInput",
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
    }
    Ok(given)
}

pub(super) async fn delete<K: Kind>(call: &Call, input: Named) -> Result<Nothing, ApiError> {
    let done = iam(call).delete(K::KIND, &input.name).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}
