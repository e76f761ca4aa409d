//! Requests that are signed with an access key (Signature Version 4).
//!
//! In two steps, so that the body of a request with a key that nobody has is
//! never read: [`Registry::signing_key`] finds the key, and
//! [`Registry::verify_signed`] gives the caller away once the signature is right.

use entrepot_access::sigv4::{Message, PathStyle, Payload, SigV4Error, Signature};
use entrepot_access::token::{SessionToken, TokenError};
use entrepot_access::{AccessKey, Secret};
use entrepot_metadata::query;

use crate::identities::{holder, is_in_force};
use crate::{Caller, Registry, ServiceError};

/// The key that a request says it is signed with. Whoever sent it need not have
/// it.
#[derive(Debug)]
pub struct SigningKey {
    secret: Secret,
    caller: Caller,
}

/// Why a signed request is not its caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    #[error(transparent)]
    Signature(#[from] SigV4Error),
    /// Nobody can say now.
    #[error(transparent)]
    Failed(#[from] ServiceError),
}

impl Registry {
    /// The key of a signature.
    ///
    /// # Errors
    /// [`SigV4Error::UnknownKey`] when there is none that is active, whose owner
    /// and account are there, [`SigV4Error::ExpiredToken`], and what
    /// [`Signature::check_time`] says.
    pub fn signing_key(&self, signature: &Signature) -> Result<SigningKey, SignedError> {
        // Nobody sends a body for a signature that is of another time.
        signature.check_time(self.clock.now_ms())?;
        let view = self
            .metadata
            .view(&self.global)
            .map_err(ServiceError::from)?;
        let view = view.as_ref();
        if let Some(token) = signature.session_token() {
            let token = Secret::new(token.to_owned());
            let now_ms = self.clock.now_ms();
            let opened = SessionToken::open(&self.sealing, &token, signature.key_id(), now_ms);
            let (session, secret) = opened.map_err(|error| match error {
                TokenError::Expired => SigV4Error::ExpiredToken,
                _ => SigV4Error::UnknownKey,
            })?;
            if !is_in_force(view, &session.claims).map_err(ServiceError::from)? {
                return Err(SigV4Error::UnknownKey.into());
            }
            let caller = Caller::of_claims(session.claims);
            return Ok(SigningKey { secret, caller });
        }
        let key = query::access_key(view, signature.key_id()).map_err(ServiceError::from)?;
        let key = key.ok_or(SigV4Error::UnknownKey)?;
        let holder = holder(view, &key).map_err(ServiceError::from)?;
        let holder = holder.ok_or(SigV4Error::UnknownKey)?;
        let opened = AccessKey::open(&key.id, &key.sealed_secret, &self.sealing)
            .map_err(|error| ServiceError::internal(&error))?;
        Ok(SigningKey {
            secret: opened.secret,
            caller: Caller::of(holder).with_key(&key.id),
        })
    }

    /// The caller of a request that `signature` was read from.
    ///
    /// # Errors
    /// [`SigV4Error`] unless the signature is the key's, over this request, and of
    /// now.
    pub fn verify_signed(
        &self,
        key: SigningKey,
        signature: &Signature,
        message: &Message<'_>,
        payload: Payload,
    ) -> Result<Caller, SigV4Error> {
        let now_ms = self.clock.now_ms();
        let secret = Some(&key.secret);
        signature.verify(message, payload, secret, PathStyle::SERVICE, now_ms)?;
        Ok(key.caller)
    }
}
