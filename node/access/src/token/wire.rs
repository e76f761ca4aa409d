//! What is within a token: JSON, with a version. A node that knows another version
//! refuses it, and its holder asks for a new one.

use entrepot_oci::{AccountId, RegionName};
use serde::{Deserialize, Serialize};

use super::{Claims, TokenError};
use crate::principal::{AssumedRole, Identity, Principal, User};

const VERSION: u8 = 1;

/// Short names: a token travels with every request.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    #[serde(rename = "v")]
    version: u8,
    #[serde(rename = "a")]
    account: AccountId,
    #[serde(rename = "i")]
    identity: WireIdentity,
    #[serde(rename = "t")]
    issued_ms: i64,
    #[serde(rename = "e")]
    expires_ms: i64,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    session_policy: Option<String>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    region: Option<RegionName>,
}

/// Path, name, id; of a session, its name too.
#[derive(Serialize, Deserialize)]
enum WireIdentity {
    #[serde(rename = "root")]
    Root,
    #[serde(rename = "user")]
    User(String, String, String),
    #[serde(rename = "role")]
    AssumedRole(String, String, String, String),
    #[serde(rename = "none")]
    Anonymous,
}

// === impl Wire ===

impl Wire {
    /// Services need no tokens: [`TokenError::Invalid`].
    pub(super) fn encode(
        claims: &Claims,
        region: Option<&RegionName>,
    ) -> Result<Vec<u8>, TokenError> {
        let identity = match claims.principal.identity.clone() {
            Identity::Root => WireIdentity::Root,
            Identity::User(User { path, name, id }) => WireIdentity::User(path, name, id),
            Identity::AssumedRole(it) => {
                WireIdentity::AssumedRole(it.path, it.role, it.role_id, it.session)
            }
            Identity::Anonymous => WireIdentity::Anonymous,
            Identity::Service(_) | Identity::Federated { .. } => return Err(TokenError::Invalid),
        };
        let wire = Self {
            version: VERSION,
            account: claims.principal.account.clone(),
            identity,
            issued_ms: claims.issued_ms,
            expires_ms: claims.expires_ms,
            key_id: claims.key_id.clone(),
            session_policy: claims.session_policy.clone(),
            region: region.cloned(),
        };
        serde_json::to_vec(&wire).map_err(|_| TokenError::Invalid)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<(Claims, Option<RegionName>), TokenError> {
        let wire: Self = serde_json::from_slice(bytes).map_err(|_| TokenError::Invalid)?;
        if wire.version != VERSION {
            return Err(TokenError::Invalid);
        }
        let identity = match wire.identity {
            WireIdentity::Root => Identity::Root,
            WireIdentity::Anonymous => Identity::Anonymous,
            WireIdentity::User(path, name, id) => Identity::User(User { path, name, id }),
            WireIdentity::AssumedRole(path, role, role_id, session) => {
                Identity::AssumedRole(AssumedRole {
                    path,
                    role,
                    role_id,
                    session,
                })
            }
        };
        let claims = Claims {
            principal: Principal {
                account: wire.account,
                identity,
            },
            issued_ms: wire.issued_ms,
            expires_ms: wire.expires_ms,
            key_id: wire.key_id,
            session_policy: wire.session_policy,
        };
        Ok((claims, wire.region))
    }
}
