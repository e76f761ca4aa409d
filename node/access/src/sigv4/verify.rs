//! Whether a signature is the key's, over this request, and of now.

use subtle::ConstantTimeEq as _;

use super::error::excerpt;
use super::read::only;
use super::{
    CLOCK_SKEW_MS, Message, PathStyle, Payload, SigV4Error, Signature, UNSIGNED, canonical,
};
use crate::Secret;

/// Signs in the place of a key that nobody has.
const NO_SECRET: &str = "0000000000000000000000000000000000000000";

impl Signature {
    /// Whether it is for one of these services, and for this region if one is
    /// given. Says nothing about who signed.
    ///
    /// # Errors
    /// [`SigV4Error::Service`], [`SigV4Error::Region`]
    pub fn check_scope(&self, services: &[&str], region: Option<&str>) -> Result<(), SigV4Error> {
        if region.is_some_and(|region| region != self.scope.region) {
            return Err(SigV4Error::Region(excerpt(&self.scope.region)));
        }
        if !services.contains(&self.scope.service.as_str()) {
            return Err(SigV4Error::Service(services.join("', '")));
        }
        Ok(())
    }

    /// Verifies it with the secret of its key; `None` where there is no such key,
    /// or it is not active: refused after the same work.
    ///
    /// # Errors
    /// Whatever else is wrong is said first; then [`SigV4Error::UnknownKey`] and
    /// [`SigV4Error::Mismatch`].
    pub fn verify(
        &self,
        message: &Message<'_>,
        payload: Payload,
        secret: Option<&Secret>,
        style: PathStyle,
        now_ms: i64,
    ) -> Result<(), SigV4Error> {
        self.check_time(now_ms)?;
        check_payload(message, payload)?;
        let signed: Vec<&str> = self.signed_headers.iter().map(String::as_str).collect();
        let request = canonical::request(message, &signed, payload, style);
        let nobody = Secret::new(NO_SECRET.to_owned());
        let expected =
            canonical::signature(&request, &self.time, &self.scope, secret.unwrap_or(&nobody));
        let is_same: bool = expected.as_bytes().ct_eq(self.digits.as_bytes()).into();
        match (secret, is_same) {
            (None, _) => Err(SigV4Error::UnknownKey),
            (Some(_), false) => Err(SigV4Error::Mismatch),
            (Some(_), true) => Ok(()),
        }
    }

    /// Whether it is of now. [`verify`](Self::verify) says it too, once there is a
    /// body.
    ///
    /// # Errors
    /// [`SigV4Error::NotYet`], [`SigV4Error::Expired`], [`SigV4Error::Over`]
    pub fn check_time(&self, now_ms: i64) -> Result<(), SigV4Error> {
        let signed_ms = self.time_ms;
        if signed_ms > now_ms.saturating_add(CLOCK_SKEW_MS) {
            return Err(SigV4Error::NotYet { signed_ms, now_ms });
        }
        match self.expires_s {
            Some(seconds) if now_ms > signed_ms.saturating_add(seconds * 1000) => {
                Err(SigV4Error::Over)
            }
            None if signed_ms < now_ms.saturating_sub(CLOCK_SKEW_MS) => {
                Err(SigV4Error::Expired { signed_ms, now_ms })
            }
            _ => Ok(()),
        }
    }
}

/// What the header says of the body must be true; without it, the signature
/// itself is over the body.
fn check_payload(message: &Message<'_>, payload: Payload) -> Result<(), SigV4Error> {
    let Some(said) = only(message, "x-amz-content-sha256")? else {
        return Ok(());
    };
    let is_true = match payload {
        Payload::Sha256(hash) => said == canonical::hex(&hash),
        Payload::Unsigned => said == UNSIGNED,
    };
    if is_true {
        Ok(())
    } else {
        Err(SigV4Error::Payload)
    }
}
