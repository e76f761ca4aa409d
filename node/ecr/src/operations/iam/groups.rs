//! Groups, and who is in them.

use entrepot_service::iam::{EntityKind, NewEntity, Tags};
use serde::Deserialize;
use serde_json::{Value, json};

use super::shapes::{group, user};
use super::{ByPath, Named, Nothing, Part, entities, failed, iam, listed};
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateInput {
    group_name: String,
    path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateInput {
    group_name: String,
    new_group_name: Option<String>,
    new_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MemberInput {
    group_name: String,
    user_name: String,
}

#[derive(Deserialize)]
pub(super) struct PartOf {
    #[serde(flatten)]
    of: Named,
    #[serde(flatten)]
    part: Part,
}

pub(super) async fn create(call: &Call, input: CreateInput) -> Result<Value, ApiError> {
    let iam = iam(call);
    let new = NewEntity {
        name: input.group_name,
        path: input.path.unwrap_or_else(|| "/".to_owned()),
        tags: Tags::new(),
        boundary: None,
    };
    let made = iam.create_group(new).await;
    let made = made.map_err(|error| failed(call, &error))?;
    Ok(json!({ "Group": group(iam, &made) }))
}

pub(super) async fn update(call: &Call, input: UpdateInput) -> Result<Nothing, ApiError> {
    let (name, path) = (input.new_group_name, input.new_path);
    let iam = iam(call);
    let done = iam.update(EntityKind::Group, &input.group_name, name, path);
    let done = done.await.map(|()| Nothing {});
    done.map_err(|error| failed(call, &error))
}

pub(super) async fn add(call: &Call, input: MemberInput) -> Result<Nothing, ApiError> {
    let (group, user) = (&input.group_name, &input.user_name);
    let done = iam(call).add_to_group(group, user).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn remove(call: &Call, input: MemberInput) -> Result<Nothing, ApiError> {
    let (group, user) = (&input.group_name, &input.user_name);
    let done = iam(call).remove_from_group(group, user).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn get(call: &Call, input: PartOf) -> Result<Value, ApiError> {
    let iam = iam(call);
    let after: Option<String> = input.part.start()?;
    let size = input.part.size();
    let found = iam.group(&input.of.name, after.as_deref(), size).await;
    let (found, page) = found.map_err(|error| failed(call, &error))?;
    let shown: Vec<_> = page.items.iter().map(|it| user(iam, it, false)).collect();
    let last = page.items.last().filter(|_| page.more);
    let mut answer = listed("Users", &shown, last.map(|it| &it.name));
    answer["Group"] = group(iam, &found);
    Ok(answer)
}

pub(super) async fn list(call: &Call, input: ByPath) -> Result<Value, ApiError> {
    entities(call, EntityKind::Group, "Groups", input, group).await
}

pub(super) async fn of_user(call: &Call, input: PartOf) -> Result<Value, ApiError> {
    let iam = iam(call);
    let after: Option<String> = input.part.start()?;
    let size = input.part.size();
    let page = iam.groups_of(&input.of.name, after.as_deref(), size).await;
    let page = page.map_err(|error| failed(call, &error))?;
    let shown: Vec<_> = page.items.iter().map(|it| group(iam, it)).collect();
    let last = page.items.last().filter(|_| page.more);
    Ok(listed("Groups", &shown, last.map(|it| &it.name)))
}
