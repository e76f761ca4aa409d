//! Identity providers (`OpenID` Connect).

use entrepot_service::iam::{NewProvider, ProviderChange};
use serde::Deserialize;
use serde_json::{Value, json};

use super::shapes::{Tag, given, tags};
use super::{Nothing, failed, iam, seconds};
use crate::call::Call;
use crate::error::ApiError;

#[derive(Deserialize)]
pub(super) struct CreateInput {
    #[serde(rename = "Url")]
    url: String,
    #[serde(rename = "ClientIDList", default)]
    client_ids: Vec<String>,
    #[serde(rename = "ThumbprintList", default)]
    thumbprints: Vec<String>,
    #[serde(rename = "Tags")]
    tags: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
pub(super) struct OfProvider {
    #[serde(rename = "OpenIDConnectProviderArn")]
    arn: String,
}

#[derive(Deserialize)]
pub(super) struct ClientInput {
    #[serde(rename = "OpenIDConnectProviderArn")]
    arn: String,
    #[serde(rename = "ClientID")]
    client_id: String,
}

#[derive(Deserialize)]
pub(super) struct ThumbprintInput {
    #[serde(rename = "OpenIDConnectProviderArn")]
    arn: String,
    #[serde(rename = "ThumbprintList", default)]
    thumbprints: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct ListInput {}

pub(super) async fn create(call: &Call, input: CreateInput) -> Result<Value, ApiError> {
    let new = NewProvider {
        url: input.url,
        client_ids: input.client_ids,
        thumbprints: input.thumbprints,
        tags: given(input.tags)?,
    };
    let made = iam(call).create_provider(new).await;
    let made = made.map_err(|error| failed(call, &error))?;
    Ok(json!({ "OpenIDConnectProviderArn": made.arn, "Tags": tags(&made.tags) }))
}

pub(super) async fn get(call: &Call, input: OfProvider) -> Result<Value, ApiError> {
    let found = iam(call).provider(&input.arn).await;
    let found = found.map_err(|error| failed(call, &error))?;
    Ok(json!({
        "Url": found.name,
        "ClientIDList": found.client_ids,
        "ThumbprintList": found.thumbprints,
        "CreateDate": seconds(found.created_at_ms),
        "Tags": tags(&found.tags),
    }))
}

pub(super) async fn list(call: &Call, ListInput {}: ListInput) -> Result<Value, ApiError> {
    let found = iam(call).providers().await;
    let found = found.map_err(|error| failed(call, &error))?;
    let listed: Vec<Value> = found.iter().map(|arn| json!({ "Arn": arn })).collect();
    Ok(json!({ "OpenIDConnectProviderList": listed }))
}

pub(super) async fn delete(call: &Call, input: OfProvider) -> Result<Nothing, ApiError> {
    let done = iam(call).delete_provider(&input.arn).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn add_client(call: &Call, input: ClientInput) -> Result<Nothing, ApiError> {
    change(
        call,
        &input.arn,
        &ProviderChange::AddClientId(input.client_id),
    )
    .await
}

pub(super) async fn remove_client(call: &Call, input: ClientInput) -> Result<Nothing, ApiError> {
    change(
        call,
        &input.arn,
        &ProviderChange::RemoveClientId(input.client_id),
    )
    .await
}

pub(super) async fn thumbprints(call: &Call, input: ThumbprintInput) -> Result<Nothing, ApiError> {
    change(
        call,
        &input.arn,
        &ProviderChange::Thumbprints(input.thumbprints),
    )
    .await
}

async fn change(call: &Call, arn: &str, change: &ProviderChange) -> Result<Nothing, ApiError> {
    let done = iam(call).change_provider(arn, change).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}
