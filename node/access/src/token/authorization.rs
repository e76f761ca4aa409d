//! The token of `GetAuthorizationToken`: the password with which registry clients
//! log in as the user `AWS`.

use entrepot_oci::RegionName;

use super::wire::Wire;
use super::{Audience, Claims, TokenError, open, seal};
use crate::Secret;
use crate::trust::ClusterKey;

/// For how long it is good (ECR: 12 hours, fixed).
pub const AUTHORIZATION_TOKEN_LIFE_MS: i64 = 12 * 60 * 60 * 1000;

const PURPOSE: &str = "authorization token";
const PURPOSE_PUBLIC: &str = "authorization token for public registries";

/// Good in one region, for what its holder may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationToken {
    pub claims: Claims,
    pub region: RegionName,
    pub audience: Audience,
}

// === impl AuthorizationToken ===

impl AuthorizationToken {
    /// One from now on, for a caller of these claims, whose own times do not
    /// count: it is good for 12 hours, unless [`AuthorizationToken::ending`] says
    /// less.
    pub fn issue(claims: Claims, region: RegionName, now_ms: i64) -> Self {
        let claims = Claims {
            issued_ms: now_ms,
            expires_ms: now_ms.saturating_add(AUTHORIZATION_TOKEN_LIFE_MS),
            ..claims
        };
        Self {
            claims,
            region,
            audience: Audience::Private,
        }
    }

    /// The same, which ends at `expires_ms` if that is sooner.
    #[must_use]
    pub fn ending(mut self, expires_ms: i64) -> Self {
        self.claims.expires_ms = self.claims.expires_ms.min(expires_ms);
        self
    }

    /// The same, for registries of that kind alone.
    #[must_use]
    pub fn for_audience(self, audience: Audience) -> Self {
        Self { audience, ..self }
    }

    /// As a password: letters, digits, `-` and `_`, and so no colon.
    ///
    /// # Errors
    /// [`TokenError::TooLong`], [`TokenError::Sealing`]
    pub fn seal(&self, key: &ClusterKey) -> Result<Secret, TokenError> {
        self.claims.of_somebody()?;
        let plain = Wire::encode(&self.claims, Some(&self.region))?;
        seal(key, purpose(self.audience), &plain).map(Secret::new)
    }

    /// # Errors
    /// [`TokenError::Expired`]; [`TokenError::Invalid`], also for one of another
    /// region or for other registries.
    pub fn open(
        key: &ClusterKey,
        password: &Secret,
        region: &RegionName,
        audience: Audience,
        now_ms: i64,
    ) -> Result<Self, TokenError> {
        let plain = open(key, purpose(audience), password.expose())?;
        let (claims, own) = Wire::decode(&plain)?;
        let own = own.filter(|own| own == region).ok_or(TokenError::Invalid)?;
        claims.of_somebody()?;
        claims.check(AUTHORIZATION_TOKEN_LIFE_MS, now_ms)?;
        Ok(Self {
            claims,
            region: own,
            audience,
        })
    }
}

/// Tokens of one kind are nothing to registries of the other.
fn purpose(audience: Audience) -> &'static str {
    match audience {
        Audience::Private => PURPOSE,
        Audience::Public => PURPOSE_PUBLIC,
    }
}
