//! Policies that belong to one user, group or role.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Kind, Named, Nothing, Part, encoded, failed, iam, listed};
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
pub(super) struct PutInput {
    #[serde(flatten)]
    of: Named,
    #[serde(rename = "PolicyName")]
    policy: String,
    #[serde(rename = "PolicyDocument")]
    document: String,
}

#[derive(Deserialize)]
pub(super) struct PolicyInput {
    #[serde(flatten)]
    of: Named,
    #[serde(rename = "PolicyName")]
    policy: String,
}

#[derive(Deserialize)]
pub(super) struct ListInput {
    #[serde(flatten)]
    of: Named,
    #[serde(flatten)]
    part: Part,
}

pub(super) async fn put<K: Kind>(call: &Call, input: PutInput) -> Result<Nothing, ApiError> {
    let (name, document) = (&input.of.name, &input.document);
    let iam = iam(call);
    let done = iam.put_inline(K::KIND, name, &input.policy, document);
    let done = done.await.map(|()| Nothing {});
    done.map_err(|error| failed(call, &error))
}

pub(super) async fn get<K: Kind>(call: &Call, input: PolicyInput) -> Result<Value, ApiError> {
    let (name, policy) = (input.of.name, input.policy);
    let found = iam(call).inline(K::KIND, &name, &policy).await;
    let document = found.map_err(|error| failed(call, &error))?;
    Ok(json!({
        (K::NAME): name,
        "PolicyName": policy,
        "PolicyDocument": encoded(&document),
    }))
}

pub(super) async fn delete<K: Kind>(call: &Call, input: PolicyInput) -> Result<Nothing, ApiError> {
    let iam = iam(call);
    let done = iam.delete_inline(K::KIND, &input.of.name, &input.policy);
    let done = done.await.map(|()| Nothing {});
    done.map_err(|error| failed(call, &error))
}

pub(super) async fn list<K: Kind>(call: &Call, input: ListInput) -> Result<Value, ApiError> {
    let after: Option<String> = input.part.start()?;
    let (name, size) = (&input.of.name, input.part.size());
    let iam = iam(call);
    let page = iam.inline_names(K::KIND, name, after.as_deref(), size);
    let page = page.await.map_err(|error| failed(call, &error))?;
    let last = page.items.last().filter(|_| page.more).cloned();
    let shown: Vec<_> = page.items.into_iter().map(Value::String).collect();
    Ok(listed("PolicyNames", &shown, last.as_ref()))
}
