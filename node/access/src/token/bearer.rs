//! The token of the Bearer flow: what `/token` gives for other credentials, or to
//! nobody, and clients show with each request.
//!
//! It says who calls and nothing of what they may: that is decided anew for each
//! request, so that whatever is taken away is gone at once.

use entrepot_oci::RegionName;

use super::wire::Wire;
use super::{Claims, TokenError, open, seal};
use crate::Secret;
use crate::trust::ClusterKey;

/// For how long it is good: clients ask for another one.
pub const BEARER_TOKEN_LIFE_MS: i64 = 60 * 60 * 1000;

const PURPOSE: &str = "bearer token";

/// Good in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerToken {
    /// Of nobody, too.
    pub claims: Claims,
    pub region: RegionName,
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
        Self { claims, region }
    }

    /// # Errors
    /// [`TokenError::TooLong`], [`TokenError::Sealing`]
    pub fn seal(&self, key: &ClusterKey) -> Result<Secret, TokenError> {
        let plain = Wire::encode(&self.claims, Some(&self.region))?;
        seal(key, PURPOSE, &plain).map(Secret::new)
    }

    /// # Errors
    /// [`TokenError::Expired`]; [`TokenError::Invalid`], also for one of another
    /// region.
    pub fn open(
        key: &ClusterKey,
        token: &Secret,
        region: &RegionName,
        now_ms: i64,
    ) -> Result<Self, TokenError> {
        let plain = open(key, PURPOSE, token.expose())?;
        let (claims, own) = Wire::decode(&plain)?;
        let own = own.filter(|own| own == region).ok_or(TokenError::Invalid)?;
        claims.check(BEARER_TOKEN_LIFE_MS, now_ms)?;
        Ok(Self {
            claims,
            region: own,
        })
    }
}
