//! Tags of users, roles and managed policies.

use entrepot_service::iam::Page;
use serde::Deserialize;
use serde_json::Value;

use super::shapes::{Tag, given, tag as shown};
use super::{Kind, Named, Nothing, Part, failed, iam, listed};
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
pub(super) struct TagInput {
    #[serde(flatten)]
    of: Named,
    #[serde(rename = "Tags")]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
pub(super) struct UntagInput {
    #[serde(flatten)]
    of: Named,
    #[serde(rename = "TagKeys")]
    keys: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct ListInput {
    #[serde(flatten)]
    of: Named,
    #[serde(flatten)]
    part: Part,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagPolicyInput {
    policy_arn: String,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UntagPolicyInput {
    policy_arn: String,
    tag_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListPolicyInput {
    policy_arn: String,
    #[serde(flatten)]
    part: Part,
}

pub(super) async fn tag<K: Kind>(call: &Call, input: TagInput) -> Result<Nothing, ApiError> {
    let tags = given(Some(input.tags))?;
    let done = iam(call).tag(K::KIND, &input.of.name, tags).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn untag<K: Kind>(call: &Call, input: UntagInput) -> Result<Nothing, ApiError> {
    let done = iam(call).untag(K::KIND, &input.of.name, &input.keys).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn list<K: Kind>(call: &Call, input: ListInput) -> Result<Value, ApiError> {
    let after: Option<String> = input.part.start()?;
    let (name, size) = (&input.of.name, input.part.size());
    let page = iam(call).tags(K::KIND, name, after.as_deref(), size).await;
    page.map(|page| answer(&page))
        .map_err(|error| failed(call, &error))
}

pub(super) async fn tag_policy(call: &Call, input: TagPolicyInput) -> Result<Nothing, ApiError> {
    let tags = given(Some(input.tags))?;
    let done = iam(call).tag_policy(&input.policy_arn, tags).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn untag_policy(
    call: &Call,
    input: UntagPolicyInput,
) -> Result<Nothing, ApiError> {
    let (arn, keys) = (&input.policy_arn, &input.tag_keys);
    let done = iam(call).untag_policy(arn, keys).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn of_policy(call: &Call, input: ListPolicyInput) -> Result<Value, ApiError> {
    let after: Option<String> = input.part.start()?;
    let (arn, size) = (&input.policy_arn, input.part.size());
    let page = iam(call).policy_tags(arn, after.as_deref(), size).await;
    page.map(|page| answer(&page))
        .map_err(|error| failed(call, &error))
}

fn answer(page: &Page<(String, String)>) -> Value {
    let tags = page.items.iter().map(|(key, value)| shown(key, value));
    let last = page.items.last().filter(|_| page.more);
    listed("Tags", &tags.collect::<Vec<_>>(), last.map(|(key, _)| key))
}
