//! Access keys.

use entrepot_service::iam::{AccessKeyState, KeyInfo, KeyOwner};
use serde::Deserialize;
use serde_json::{Value, json};

use super::users::ROOT;
use super::{Nothing, Part, failed, iam, listed, seconds};
use crate::call::Call;
use crate::error::ApiError;

/// Of a key of which no use is known.
const NOT_AVAILABLE: &str = "N/A";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateInput {
    user_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyInput {
    user_name: Option<String>,
    access_key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateInput {
    user_name: Option<String>,
    access_key_id: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListInput {
    user_name: Option<String>,
    #[serde(flatten)]
    part: Part,
}

pub(super) async fn create(call: &Call, input: CreateInput) -> Result<Value, ApiError> {
    let made = iam(call).create_key(input.user_name.as_deref()).await;
    let (owner, info, key) = made.map_err(|error| failed(call, &error))?;
    let mut shown = key_of(&owner, &info);
    shown["SecretAccessKey"] = key.secret.expose().into();
    Ok(json!({ "AccessKey": shown }))
}

pub(super) async fn list(call: &Call, input: ListInput) -> Result<Value, ApiError> {
    let after: Option<String> = input.part.start()?;
    let (user, size) = (input.user_name.as_deref(), input.part.size());
    let found = iam(call).keys(user, after.as_deref(), size).await;
    let (owner, page) = found.map_err(|error| failed(call, &error))?;
    let shown: Vec<_> = page.items.iter().map(|it| key_of(&owner, it)).collect();
    let last = page.items.last().filter(|_| page.more);
    Ok(listed("AccessKeyMetadata", &shown, last.map(|it| &it.id)))
}

pub(super) async fn update(call: &Call, input: UpdateInput) -> Result<Nothing, ApiError> {
    let state = match input.status.as_str() {
        "Active" => AccessKeyState::Active,
        "Inactive" => AccessKeyState::Inactive,
        other => {
            let text = format!("The status of an access key cannot be set to {other}.");
            return Err(ApiError::new("InvalidInput", text));
        }
    };
    let (user, id) = (input.user_name.as_deref(), &input.access_key_id);
    let done = iam(call).set_key_state(user, id, state).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn delete(call: &Call, input: KeyInput) -> Result<Nothing, ApiError> {
    let (user, id) = (input.user_name.as_deref(), &input.access_key_id);
    let done = iam(call).delete_key(user, id).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

/// Uses are not written down: the answer is that of a key of which none is known.
pub(super) async fn last_used(call: &Call, input: KeyInput) -> Result<Value, ApiError> {
    let found = iam(call).key_owner(&input.access_key_id).await;
    let owner = found.map_err(|error| failed(call, &error))?;
    Ok(json!({
        "UserName": name_of(&owner),
        "AccessKeyLastUsed": { "ServiceName": NOT_AVAILABLE, "Region": NOT_AVAILABLE },
    }))
}

fn key_of(owner: &KeyOwner, key: &KeyInfo) -> Value {
    let status = match key.state {
        AccessKeyState::Active => "Active",
        AccessKeyState::Inactive => "Inactive",
    };
    json!({
        "UserName": name_of(owner),
        "AccessKeyId": key.id,
        "Status": status,
        "CreateDate": seconds(key.created_at_ms),
    })
}

fn name_of(owner: &KeyOwner) -> &str {
    match owner {
        KeyOwner::Root { .. } => ROOT,
        KeyOwner::User(user) => &user.name,
    }
}
