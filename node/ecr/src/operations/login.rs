//! The password that registry clients log in with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_oci::AccountId;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::error::ApiError;

/// Whose password it is, as registry clients say it.
const USER: &str = "AWS";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct Input {
    registry_ids: Vec<AccountId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    authorization_data: Vec<Data>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    authorization_token: String,
    expires_at: f64,
    proxy_endpoint: String,
}

/// One for each registry that is asked for, and they are all the same: what its
/// holder may in each is decided when it is used.
pub(super) async fn token(call: &Call, input: Input) -> Result<Output, ApiError> {
    let given = call.registry.authorization_token(&call.caller);
    let (password, expires_ms) = given.map_err(|error| call.failed(error))?;
    let accounts = if input.registry_ids.is_empty() {
        vec![call.caller.principal.account.clone()]
    } else {
        input.registry_ids
    };
    let authorization_token = STANDARD.encode(format!("{USER}:{}", password.expose()));
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of this century fit"
    )]
    let expires_at = expires_ms as f64 / 1000.0;
    let of = |account: AccountId| Data {
        authorization_token: authorization_token.clone(),
        expires_at,
        proxy_endpoint: call.registry_url(&account),
    };
    Ok(Output {
        authorization_data: accounts.into_iter().map(of).collect(),
    })
}
