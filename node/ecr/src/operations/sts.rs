//! STS: who calls, and temporary credentials.

#[cfg(test)]
mod tests;

use entrepot_service::iam::{AssumeRole, NewSession};
use serde::Deserialize;
use serde_json::{Value, json};

use super::iam::{failed, seconds};
use super::{Handler, works};
use crate::call::Call;
use crate::error::ApiError;

/// Those of STS.
pub(super) const TABLE: &[(&str, Handler)] = &[
    ("AssumeRole", works!(assume_role)),
    ("AssumeRoleWithWebIdentity", works!(assume_by_token)),
    ("GetAccessKeyInfo", works!(key_info)),
    ("GetCallerIdentity", works!(caller)),
    ("GetSessionToken", works!(session_token)),
];

#[derive(Deserialize)]
struct CallerInput {}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyInput {
    access_key_id: String,
}

/// Members that say something of which sessions here know nothing are refused:
/// whoever sends them relies on them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeInput {
    role_arn: String,
    role_session_name: String,
    duration_seconds: Option<u32>,
    policy: Option<String>,
    #[serde(default)]
    policy_arns: Vec<PolicyArn>,
    external_id: Option<String>,
    #[serde(flatten)]
    more: More,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TokenInput {
    role_arn: String,
    role_session_name: String,
    web_identity_token: String,
    provider_id: Option<Value>,
    duration_seconds: Option<u32>,
    policy: Option<String>,
    #[serde(default)]
    policy_arns: Vec<PolicyArn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SessionInput {
    duration_seconds: Option<u32>,
    #[serde(flatten)]
    more: More,
}

#[derive(Deserialize)]
struct PolicyArn {
    arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct More {
    #[serde(default)]
    tags: Vec<Value>,
    #[serde(default)]
    transitive_tag_keys: Vec<Value>,
    #[serde(default)]
    provided_contexts: Vec<Value>,
    source_identity: Option<Value>,
    serial_number: Option<Value>,
    token_code: Option<Value>,
    minimum_session_token_size: Option<Value>,
}

/// Never denied.
async fn caller(call: &Call, CallerInput {}: CallerInput) -> Result<Value, ApiError> {
    let principal = &call.caller.principal;
    // Nothing is asked of anybody.
    std::future::ready(Ok(json!({
        "Account": principal.account,
        "Arn": principal.arn(),
        "UserId": principal.user_id(),
    })))
    .await
}

async fn key_info(call: &Call, input: KeyInput) -> Result<Value, ApiError> {
    let iam = call.registry.iam(&call.caller);
    let account = iam.account_of_key(&input.access_key_id).await;
    let account = account.map_err(|error| failed(call, &error))?;
    Ok(json!({ "Account": account }))
}

async fn assume_role(call: &Call, input: AssumeInput) -> Result<Value, ApiError> {
    input.more.refuse()?;
    let arns = input.policy_arns.into_iter().map(PolicyArn::named);
    let asked = AssumeRole {
        role_arn: input.role_arn,
        session_name: input.role_session_name,
        duration_s: input.duration_seconds,
        policy: input.policy,
        policy_arns: arns.collect::<Result<_, _>>()?,
        external_id: input.external_id,
    };
    let made = call.registry.iam(&call.caller).assume_role(&asked).await;
    let made = made.map_err(|error| failed(call, &error))?;
    Ok(json!({
        "Credentials": credentials(&made),
        "AssumedRoleUser": {
            "Arn": made.principal.arn(),
            "AssumedRoleId": made.principal.user_id(),
        },
        "PackedPolicySize": made.packed_percent,
    }))
}

/// Whoever asks need not have signed.
async fn assume_by_token(call: &Call, input: TokenInput) -> Result<Value, ApiError> {
    if input.provider_id.is_some() {
        return Err(ApiError::new(
            "ValidationError",
            "ProviderId is of OAuth 2.0 access tokens, which are not supported here.",
        ));
    }
    let arns = input.policy_arns.into_iter().map(PolicyArn::named);
    let asked = AssumeRole {
        role_arn: input.role_arn,
        session_name: input.role_session_name,
        duration_s: input.duration_seconds,
        policy: input.policy,
        policy_arns: arns.collect::<Result<_, _>>()?,
        external_id: None,
    };
    let iam = call.registry.iam(&call.caller);
    let made = iam
        .assume_role_by_token(&asked, &input.web_identity_token)
        .await;
    let made = made.map_err(|error| failed(call, &error))?;
    let session = &made.session;
    Ok(json!({
        "Credentials": credentials(session),
        "AssumedRoleUser": {
            "Arn": session.principal.arn(),
            "AssumedRoleId": session.principal.user_id(),
        },
        "PackedPolicySize": session.packed_percent,
        "SubjectFromWebIdentityToken": made.subject,
        "Audience": made.audience,
        "Provider": made.provider,
    }))
}

async fn session_token(call: &Call, input: SessionInput) -> Result<Value, ApiError> {
    input.more.refuse()?;
    let made = call
        .registry
        .iam(&call.caller)
        .session_token(input.duration_seconds);
    let made = std::future::ready(made).await;
    let made = made.map_err(|error| failed(call, &error))?;
    Ok(json!({ "Credentials": credentials(&made) }))
}

fn credentials(made: &NewSession) -> Value {
    let credentials = &made.credentials;
    json!({
        "AccessKeyId": credentials.key_id,
        "SecretAccessKey": credentials.secret.expose(),
        "SessionToken": credentials.token.expose(),
        "Expiration": seconds(made.expires_ms),
    })
}

// === impl PolicyArn, More ===

impl PolicyArn {
    /// What limits a session is never passed over.
    fn named(self) -> Result<String, ApiError> {
        self.arn
            .ok_or_else(|| ApiError::new("ValidationError", "Each of PolicyArns must have an arn."))
    }
}

impl More {
    fn refuse(&self) -> Result<(), ApiError> {
        let is_named = [
            (!self.tags.is_empty(), "Tags"),
            (!self.transitive_tag_keys.is_empty(), "TransitiveTagKeys"),
            (!self.provided_contexts.is_empty(), "ProvidedContexts"),
            (self.source_identity.is_some(), "SourceIdentity"),
            (self.serial_number.is_some(), "SerialNumber"),
            (self.token_code.is_some(), "TokenCode"),
            (
                self.minimum_session_token_size.is_some(),
                "MinimumSessionTokenSize",
            ),
        ];
        match is_named.into_iter().find(|(is_named, _)| *is_named) {
            Some((_, name)) => Err(ApiError::new(
                "ValidationError",
                format!("{name} is not supported for sessions here."),
            )),
            None => Ok(()),
        }
    }
}
