//! Tokens that say by themselves who holds them: checked on any node without
//! asking anyone, and without a record of each.
//!
//! Sealed under the cluster's key, which every node has. The invariants: a token is
//! taken as it was made or not at all, is of one kind, and ends. What is revoked is
//! looked up by who holds it ([`Claims::principal`], [`Claims::key_id`]).

mod authorization;
mod bearer;
#[cfg(test)]
mod hostile;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use authorization::{AUTHORIZATION_TOKEN_LIFE_MS, AuthorizationToken};
pub use bearer::{BEARER_TOKEN_LIFE_MS, BearerToken};
pub use session::{SESSION_LIFE_MAX_MS, SESSION_LIFE_MIN_MS, SessionCredentials, SessionToken};

use crate::Principal;
use crate::trust::{ClusterKey, TrustError};

/// The longest token, in characters: as a Basic password it must fit into the
/// longest `Authorization` that is looked at.
pub const TOKEN_CHARS_MAX: usize = 6_000;
/// Clocks may be wrong by so much, in milliseconds.
const TOLERANCE_MS: i64 = 5 * 60 * 1000;

/// Which registries a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The private ones.
    Private,
    /// The public ones.
    Public,
}

/// What every token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub principal: Principal,
    pub issued_ms: i64,
    pub expires_ms: i64,
    /// The long-term access key that it goes back to: when that is gone or not
    /// active, so is the token. None: it goes back to a password.
    pub key_id: Option<String>,
    /// The policy of the session, JSON, which limits what the token is good for.
    pub session_policy: Option<String>,
}

/// Why a token is refused, in ECR's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not made here, changed, of another kind or for another region.
    #[error("Your Authorization Token is invalid.")]
    Invalid,
    #[error("Your authorization token has expired. Reauthenticate and try again.")]
    Expired,
    /// The session's policy leaves no room for it.
    #[error("The session policy is too large for a token")]
    TooLong,
    /// It could not be made.
    #[error("cannot make a token")]
    Sealing(#[source] TrustError),
}

// === impl Claims ===

impl Claims {
    /// Whether it is good now. What is issued in the future was so by a clock that
    /// is wrong: it would be good for too long.
    fn check(&self, life_max_ms: i64, now_ms: i64) -> Result<(), TokenError> {
        if now_ms > self.expires_ms.saturating_add(TOLERANCE_MS) {
            return Err(TokenError::Expired);
        }
        let is_early = self.issued_ms > now_ms.saturating_add(TOLERANCE_MS);
        let is_long = self.expires_ms.saturating_sub(self.issued_ms) > life_max_ms;
        if is_early || is_long {
            return Err(TokenError::Invalid);
        }
        Ok(())
    }

    /// That it is of somebody.
    fn of_somebody(&self) -> Result<(), TokenError> {
        if self.principal.is_of_an_account() {
            return Ok(());
        }
        Err(TokenError::Invalid)
    }
}

fn seal(key: &ClusterKey, purpose: &str, plain: &[u8]) -> Result<String, TokenError> {
    let sealed = key.seal(purpose, plain).map_err(TokenError::Sealing)?;
    let text = URL_SAFE_NO_PAD.encode(sealed);
    if text.len() > TOKEN_CHARS_MAX {
        return Err(TokenError::TooLong);
    }
    Ok(text)
}

fn open(key: &ClusterKey, purpose: &str, text: &str) -> Result<Vec<u8>, TokenError> {
    if text.len() > TOKEN_CHARS_MAX {
        return Err(TokenError::Invalid);
    }
    let sealed = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Invalid)?;
    key.open(purpose, &sealed).map_err(|_| TokenError::Invalid)
}
