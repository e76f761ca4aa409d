//! Users.

use entrepot_service::iam::{EntityKind, KeyOwner, NewEntity};
use serde::Deserialize;
use serde_json::{Value, json};

use super::shapes::{Tag, given, user};
use super::{ByPath, Nothing, entities, failed, iam};
use crate::call::Call;
use crate::error::ApiError;

/// What the root user is called where there has to be a name.
pub(super) const ROOT: &str = "root";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateInput {
    user_name: String,
    path: Option<String>,
    permissions_boundary: Option<String>,
    tags: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetInput {
    user_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateInput {
    user_name: String,
    new_user_name: Option<String>,
    new_path: Option<String>,
}

pub(super) async fn create(call: &Call, input: CreateInput) -> Result<Value, ApiError> {
    let iam = iam(call);
    let new = NewEntity {
        name: input.user_name,
        path: input.path.unwrap_or_else(|| "/".to_owned()),
        tags: given(input.tags)?,
        boundary: input.permissions_boundary,
    };
    let made = iam.create_user(new).await;
    let made = made.map_err(|error| failed(call, &error))?;
    Ok(json!({ "User": user(iam, &made, true) }))
}

/// Without a name: the caller.
pub(super) async fn get(call: &Call, input: GetInput) -> Result<Value, ApiError> {
    let iam = iam(call);
    let found = iam.user(input.user_name.as_deref()).await;
    let shown = match found.map_err(|error| failed(call, &error))? {
        KeyOwner::User(found) => user(iam, &found, true),
        KeyOwner::Root { created_at_ms } => json!({
            "UserName": ROOT,
            "UserId": iam.account(),
            "Path": "/",
            "Arn": format!("arn:aws:iam::{}:root", iam.account()),
            "CreateDate": super::seconds(created_at_ms),
        }),
    };
    Ok(json!({ "User": shown }))
}

pub(super) async fn update(call: &Call, input: UpdateInput) -> Result<Nothing, ApiError> {
    let (name, path) = (input.new_user_name, input.new_path);
    let iam = iam(call);
    let done = iam.update(EntityKind::User, &input.user_name, name, path);
    let done = done.await.map(|()| Nothing {});
    done.map_err(|error| failed(call, &error))
}

pub(super) async fn list(call: &Call, input: ByPath) -> Result<Value, ApiError> {
    entities(call, EntityKind::User, "Users", input, |iam, it| {
        user(iam, it, false)
    })
    .await
}
