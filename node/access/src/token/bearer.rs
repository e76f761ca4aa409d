//! The token of the Bearer flow: what `/token` gives for other credentials, or to
//! nobody, and clients show with each request.
//!
//! It says who calls and nothing of what they may: that is decided anew for each
//! request, so that whatever is taken away is gone at once.

use entrepot_oci::RegionName;

use super::wire::Wire;
use super::{Audience, Claims, TokenError, open, seal};
use crate::Secret;
use crate::trust::ClusterKey;

/// For how long it is good: clients ask for another one.
pub const BEARER_TOKEN_LIFE_MS: i64 = 60 * 60 * 1000;

const PURPOSE: &str = "bearer token";
const PURPOSE_PUBLIC: &str = "bearer token for public registries";

/// Good in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerToken {
    /// Of nobody, too.
    pub claims: Claims,
    pub region: RegionName,
    pub audience: Audience,
}

// === impl BearerToken ===

impl BearerToken {
    /// One from now on, that ends with what it was given for.
    pub fn issue(claims: Claims, region: RegionName, now_ms: i64) -> Self {
        let end = now_ms.saturating_add(BEARER_TOKEN_LIFE_MS);
        let claims = Claims {
            issued_ms: now_ms,
            expires_ms: claims.expires_ms.min(end),
            ..claims
        };
        Self {
            claims,
            region,
            audience: Audience::Private,
        }
    }

    /// The same, for registries of that kind alone.
    #[must_use]
    pub fn for_audience(self, audience: Audience) -> Self {
        Self { audience, ..self }
    }

    /// # Errors
    /// [`TokenError::TooLong`], [`TokenError::Sealing`]
    pub fn seal(&self, key: &ClusterKey) -> Result<Secret, TokenError> {
        let plain = Wire::encode(&self.claims, Some(&self.region))?;
        seal(key, purpose(self.audience), &plain).map(Secret::new)
    }

    /// # Errors
    /// [`TokenError::Expired`]; [`TokenError::Invalid`], also for one of another
    /// region or for other registries.
    pub fn open(
        key: &ClusterKey,
        token: &Secret,
        region: &RegionName,
        audience: Audience,
        now_ms: i64,
    ) -> Result<Self, TokenError> {
        let plain = open(key, purpose(audience), token.expose())?;
        let (claims, own) = Wire::decode(&plain)?;
        let own = own.filter(|own| own == region).ok_or(TokenError::Invalid)?;
        claims.check(BEARER_TOKEN_LIFE_MS, now_ms)?;
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
