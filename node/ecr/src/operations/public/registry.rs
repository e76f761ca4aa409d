//! Public registries as such: which one is whose, and the password to push to it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::error::ApiError;
use crate::wire::json::seconds;

/// Whose password it is, as registry clients say it.
const USER: &str = "AWS";

/// Nothing that changes the answer: an account has one.
#[derive(Deserialize)]
pub(super) struct DescribeInput {}

#[derive(Serialize)]
pub(super) struct DescribeOutput {
    registries: [Described; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    registry_id: String,
    registry_arn: String,
    registry_uri: String,
    verified: bool,
    aliases: [Alias; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alias {
    name: String,
    status: &'static str,
    primary_registry_alias: bool,
    default_registry_alias: bool,
}

#[derive(Deserialize)]
pub(super) struct TokenInput {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenOutput {
    authorization_data: Data,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    authorization_token: String,
    expires_at: f64,
}

pub(super) async fn describe(call: &Call, _: DescribeInput) -> Result<DescribeOutput, ApiError> {
    let allowed = call.registry.describe_public_registry(&call.caller);
    allowed.map_err(|error| call.failed(error))?;
    let account = call.account();
    Ok(DescribeOutput {
        registries: [Described {
            registry_arn: format!("arn:aws:ecr-public::{account}:registry/{account}"),
            registry_id: account.to_string(),
            registry_uri: call.registry_uri(),
            verified: false,
            aliases: [Alias {
                name: call.caller.account.to_string(),
                status: "ACTIVE",
                primary_registry_alias: true,
                default_registry_alias: true,
            }],
        }],
    })
}

pub(super) async fn token(call: &Call, _: TokenInput) -> Result<TokenOutput, ApiError> {
    let given = call.registry.public_authorization_token(&call.caller);
    let (password, expires_ms) = given.map_err(|error| call.failed(error))?;
    let password = format!("{USER}:{}", password.expose());
    Ok(TokenOutput {
        authorization_data: Data {
            authorization_token: STANDARD.encode(password),
            expires_at: seconds(expires_ms),
        },
    })
}
