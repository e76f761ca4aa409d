//! Resource tags of repositories, which ARNs name.

use std::collections::{BTreeMap, BTreeSet};

use entrepot_oci::{AccountId, RegistryId, RepositoryName};
use entrepot_service::{RESOURCE_TAGS, ServiceError};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::call::Call;
use crate::error::ApiError;

/// As AWS has them.
const TAGS_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;
/// Keys that AWS keeps for itself begin with it, in any case.
const RESERVED: &str = "aws:";

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Tag {
    /// The model of ECR Public lets either be missing.
    #[serde(rename = "Key", default)]
    key: String,
    #[serde(rename = "Value", default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TagInput {
    resource_arn: String,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UntagInput {
    resource_arn: String,
    tag_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListInput {
    resource_arn: String,
}

/// Nothing.
#[derive(Serialize)]
pub(super) struct NoOutput {}

#[derive(Serialize)]
pub(super) struct ListOutput {
    tags: Vec<Tag>,
}

pub(super) async fn tag(call: &Call, input: TagInput) -> Result<NoOutput, ApiError> {
    let (call, repository) = resource(call, &input.resource_arn)?;
    let tags = checked(input.tags)?;
    call.registry
        .tag_resource(&call.caller, &repository, tags)
        .await
        .map_err(|error| match error {
            ServiceError::Invalid(text) => ApiError::new("InvalidTagParameterException", text),
            error => failed(&call, error),
        })?;
    Ok(NoOutput {})
}

pub(super) async fn untag(call: &Call, input: UntagInput) -> Result<NoOutput, ApiError> {
    let (call, repository) = resource(call, &input.resource_arn)?;
    if input.tag_keys.len() > TAGS_MAX {
        return Err(too_many());
    }
    call.registry
        .untag_resource(&call.caller, &repository, input.tag_keys)
        .await
        .map_err(|error| failed(&call, error))?;
    Ok(NoOutput {})
}

pub(super) async fn list(call: &Call, input: ListInput) -> Result<ListOutput, ApiError> {
    let (call, repository) = resource(call, &input.resource_arn)?;
    let tags = call
        .registry
        .resource_tags(&call.caller, &repository)
        .await
        .map_err(|error| call.failed(error))?;
    Ok(ListOutput { tags: wire(tags) })
}

/// The repository that an ARN names, and the call to the registry that has it.
fn resource(call: &Call, arn: &str) -> Result<(Call, RepositoryName), ApiError> {
    let invalid = || {
        ApiError::new(
            "InvalidParameterException",
            "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'",
        )
    };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", "aws", service, region, account, resource] = parts[..] else {
        return Err(invalid());
    };
    let is_public = call.api == Api::EcrPublic;
    let own_region = if is_public {
        ""
    } else {
        call.region().as_str()
    };
    if service != call.api.name() || region != own_region {
        return Err(invalid());
    }
    let account: AccountId = account.parse().map_err(|_| invalid())?;
    let registry = if is_public {
        RegistryId::public(&account)
    } else {
        account.into()
    };
    let repository = resource.strip_prefix("repository/").ok_or_else(invalid)?;
    let call = Call {
        caller: call.caller.clone().meaning(registry),
        ..call.clone()
    };
    let repository = call.repository(repository)?;
    Ok((call, repository))
}

/// Tags that a client gave, each key once. Conditions of policies pass over the
/// case of a key: two that differ by it alone would be one of two values.
pub(super) fn checked(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, ApiError> {
    let invalid = |text: String| Err(ApiError::new("InvalidTagParameterException", text));
    if tags.len() > TAGS_MAX {
        return Err(too_many());
    }
    let (mut checked, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for Tag { key, value } in tags {
        let length = key.chars().count();
        if !(1..=KEY_CHARS_MAX).contains(&length) || !key.chars().all(allowed) {
            return invalid(format!(
                "The tag key '{key}' must have 1 to {KEY_CHARS_MAX} letters, digits, spaces and \
                 characters of _.:/=+-@"
            ));
        }
        let is_reserved = key.get(..RESERVED.len());
        if is_reserved.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED)) {
            return invalid(format!("The tag key '{key}' must not begin with aws:"));
        }
        if value.chars().count() > VALUE_CHARS_MAX || !value.chars().all(allowed) {
            return invalid(format!(
                "The value of tag '{key}' must have at most {VALUE_CHARS_MAX} letters, digits, \
                 spaces and characters of _.:/=+-@"
            ));
        }
        if !seen.insert(key.to_lowercase()) {
            return invalid(format!(
                "The tag key '{key}' is given more than once; case makes no difference"
            ));
        }
        checked.insert(key, value);
    }
    Ok(checked)
}

fn allowed(sign: char) -> bool {
    sign.is_alphanumeric() || sign == ' ' || "_.:/=+-@".contains(sign)
}

pub(super) fn wire(tags: BTreeMap<String, String>) -> Vec<Tag> {
    tags.into_iter()
        .map(|(key, value)| Tag { key, value })
        .collect()
}

/// What a failed use case that sets tags means.
pub(super) fn failed(call: &Call, error: ServiceError) -> ApiError {
    match error {
        // Else it is the registry that has as many repositories as it may.
        ServiceError::LimitExceeded(text) if text.contains(RESOURCE_TAGS) => too_many(),
        error => call.failed(error),
    }
}

fn too_many() -> ApiError {
    ApiError::new(
        "TooManyTagsException",
        format!("A repository can have at most {TAGS_MAX} tags"),
    )
}
