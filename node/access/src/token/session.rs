//! Temporary credentials (STS): an access key that nobody keeps. Its id and its
//! secret follow from its token, for whoever has the cluster's key.

use subtle::ConstantTimeEq as _;

use super::wire::Wire;
use super::{Claims, TokenError, open, seal};
use crate::Secret;
use crate::key_id::{key_secret, temporary_key_id};
use crate::trust::ClusterKey;

/// For how long credentials are good (STS: 15 minutes to 36 hours).
pub const SESSION_LIFE_MIN_MS: i64 = 15 * 60 * 1000;
pub const SESSION_LIFE_MAX_MS: i64 = 36 * 60 * 60 * 1000;

const PURPOSE: &str = "session token";
const KEY_CONTEXT: &str = "entrepot 2026 access keys of session tokens";

/// What temporary credentials stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionToken {
    pub claims: Claims,
}

/// What a client gets.
#[derive(Clone, Debug)]
pub struct SessionCredentials {
    /// `ASIA...`
    pub key_id: String,
    pub secret: Secret,
    pub token: Secret,
}

// === impl SessionToken ===

impl SessionToken {
    /// New credentials for it: each time others.
    ///
    /// # Errors
    /// [`TokenError::TooLong`], [`TokenError::Sealing`]
    pub fn credentials(&self, key: &ClusterKey) -> Result<SessionCredentials, TokenError> {
        self.claims.of_somebody()?;
        let token = seal(key, PURPOSE, &Wire::encode(&self.claims, None)?)?;
        let (key_id, secret) = self.access_key(key, &token);
        Ok(SessionCredentials {
            key_id,
            secret,
            token: Secret::new(token),
        })
    }

    /// What the token stands for, and the secret with which the request must be
    /// signed that brought it and was signed by `key_id`.
    ///
    /// # Errors
    /// [`TokenError::Expired`]; [`TokenError::Invalid`], also for a token with
    /// another's key.
    pub fn open(
        key: &ClusterKey,
        token: &Secret,
        key_id: &str,
        now_ms: i64,
    ) -> Result<(Self, Secret), TokenError> {
        let plain = open(key, PURPOSE, token.expose())?;
        let (claims, region) = Wire::decode(&plain)?;
        claims.of_somebody()?;
        if region.is_some() {
            return Err(TokenError::Invalid);
        }
        let opened = Self { claims };
        let (own_id, secret) = opened.access_key(key, token.expose());
        if !bool::from(own_id.as_bytes().ct_eq(key_id.as_bytes())) {
            return Err(TokenError::Invalid);
        }
        opened.claims.check(SESSION_LIFE_MAX_MS, now_ms)?;
        Ok((opened, secret))
    }

    fn access_key(&self, key: &ClusterKey, token: &str) -> (String, Secret) {
        let mut hasher = blake3::Hasher::new_keyed(&key.derive(KEY_CONTEXT));
        hasher.update(token.as_bytes());
        let mut output = hasher.finalize_xof();
        let (mut chance, mut secret) = ([0; 5], [0; 30]);
        output.fill(&mut chance);
        output.fill(&mut secret);
        let key_id = temporary_key_id(&self.claims.principal.account, chance);
        (key_id, key_secret(&secret))
    }
}
