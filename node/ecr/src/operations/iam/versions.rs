//! Versions of managed policies.

use entrepot_service::iam::VersionInfo;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Nothing, Part, encoded, failed, iam, listed, seconds};
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateInput {
    policy_arn: String,
    policy_document: String,
    set_as_default: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VersionInput {
    policy_arn: String,
    version_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListInput {
    policy_arn: String,
    #[serde(flatten)]
    part: Part,
}

pub(super) async fn create(call: &Call, input: CreateInput) -> Result<Value, ApiError> {
    let is_default = input.set_as_default.unwrap_or_default();
    let (arn, document) = (&input.policy_arn, input.policy_document);
    let made = iam(call).create_version(arn, document, is_default).await;
    let made = made.map_err(|error| failed(call, &error))?;
    // What the client has just sent is not sent back.
    Ok(json!({ "PolicyVersion": version(&made, false) }))
}

pub(super) async fn get(call: &Call, input: VersionInput) -> Result<Value, ApiError> {
    let number = number(&input)?;
    let found = iam(call).version(&input.policy_arn, number).await;
    let found = found.map_err(|error| failed(call, &error))?;
    Ok(json!({ "PolicyVersion": version(&found, true) }))
}

pub(super) async fn list(call: &Call, input: ListInput) -> Result<Value, ApiError> {
    let before: Option<u64> = input.part.start()?;
    let size = input.part.size();
    let page = iam(call).versions(&input.policy_arn, before, size).await;
    let page = page.map_err(|error| failed(call, &error))?;
    let shown: Vec<_> = page.items.iter().map(|it| version(it, false)).collect();
    let last = page.items.last().filter(|_| page.more);
    Ok(listed("Versions", &shown, last.map(|it| &it.version)))
}

pub(super) async fn set_default(call: &Call, input: VersionInput) -> Result<Nothing, ApiError> {
    let number = number(&input)?;
    let iam = iam(call);
    let done = iam.set_default_version(&input.policy_arn, number);
    let done = done.await.map(|()| Nothing {});
    done.map_err(|error| failed(call, &error))
}

pub(super) async fn delete(call: &Call, input: VersionInput) -> Result<Nothing, ApiError> {
    let number = number(&input)?;
    let done = iam(call).delete_version(&input.policy_arn, number).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

/// Of `v3`; the model lets other texts behind it, of which there are none here.
fn number(input: &VersionInput) -> Result<u64, ApiError> {
    let digits = input.version_id.strip_prefix('v');
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| {
        let text = format!(
            "Policy {} version {} does not exist or is not attachable.",
            input.policy_arn, input.version_id
        );
        ApiError::with_status(axum::http::StatusCode::NOT_FOUND, "NoSuchEntity", text)
    })
}

fn version(version: &VersionInfo, with_document: bool) -> Value {
    json!({
        "VersionId": format!("v{}", version.version),
        "IsDefaultVersion": version.is_default,
        "CreateDate": version.created_at_ms.map(seconds),
        "Document": with_document.then(|| encoded(&version.document)),
    })
}
