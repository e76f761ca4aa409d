//! Logins by tokens, and the tokens for them.
//!
//! A token that was good is remembered with the generations of the accounts that
//! it concerns: while these stand, nothing has changed that it depends on. The
//! invariant: a token of somebody who has gone, whose key is not active or whose
//! account is disabled is refused, as soon as this node's copy of the records
//! says so.

use std::fmt;

use entrepot_access::token::{Audience, AuthorizationToken, BearerToken, Claims, TokenError};
use entrepot_access::{Identity, Secret};
use entrepot_metadata::query;
use entrepot_oci::RepositoryName;

use super::generations::Generations;
use crate::identities::is_in_force;
use crate::memory::Memory;
use crate::{Caller, Registry, ServiceError, Target};

/// Tokens that are remembered, some KiB each.
const TOKENS_MAX: usize = 8_192;

/// Of whoever proved themselves by something without an end.
const NO_END_MS: i64 = i64::MAX;

/// What is remembered of tokens that were good.
pub(crate) struct Tokens {
    known: Memory<blake3::Hash, Known>,
    /// Under a key that dies with the process.
    key: [u8; blake3::KEY_LEN],
}

#[derive(Clone)]
struct Known {
    caller: Caller,
    generations: Generations,
}

/// A token of the Bearer flow.
#[derive(Debug)]
pub struct GivenToken {
    pub token: Secret,
    pub expires_ms: i64,
    pub issued_ms: i64,
}

// === impl Registry ===

impl Registry {
    /// A password for registry clients, good as long as the caller is, at most
    /// twelve hours; and until when.
    ///
    /// # Errors
    /// `Denied` unless an identity's policy allows `ecr:GetAuthorizationToken`.
    pub fn authorization_token(&self, who: &Caller) -> Result<(Secret, i64), ServiceError> {
        let who = who.clone().meaning(who.principal.account.clone());
        self.authorize(&who, "ecr:GetAuthorizationToken", Target::Any)?;
        self.given(&who, Audience::Private)
    }

    /// The same for public registries.
    ///
    /// # Errors
    /// `Denied` unless identities' policies allow `ecr-public:GetAuthorizationToken`
    /// and `sts:GetServiceBearerToken`.
    pub fn public_authorization_token(&self, who: &Caller) -> Result<(Secret, i64), ServiceError> {
        let who = who.clone().meaning(who.principal.account.clone());
        for action in [
            "ecr-public:GetAuthorizationToken",
            "sts:GetServiceBearerToken",
        ] {
            self.authorize(&who, action, Target::Any)?;
        }
        self.given(&who, Audience::Public)
    }

    fn given(&self, who: &Caller, audience: Audience) -> Result<(Secret, i64), ServiceError> {
        let claims = self.claims_of(who);
        let ends_ms = claims.expires_ms;
        let now_ms = self.clock.now_ms();
        let token =
            AuthorizationToken::issue(claims, self.region().clone(), now_ms).ending(ends_ms);
        let token = token.for_audience(audience);
        let password = token.seal(&self.sealing).map_err(not_made)?;
        Ok((password, token.claims.expires_ms))
    }

    /// A token of the Bearer flow: for a caller who is known, or for nobody where
    /// everyone may pull from `repositories`, as from all public ones. It is for
    /// registries of the kind that the caller means.
    ///
    /// # Errors
    /// `Unauthorized` for nobody, where that is not so.
    pub fn bearer_token(
        &self,
        who: &Caller,
        repositories: &[RepositoryName],
    ) -> Result<GivenToken, ServiceError> {
        let audience = if who.account.is_public() {
            Audience::Public
        } else {
            Audience::Private
        };
        if who.principal.identity == Identity::Anonymous && audience == Audience::Private {
            let mut allowed = !repositories.is_empty();
            for repository in repositories {
                let target = Target::Repository(repository);
                allowed = allowed && self.may(who, "ecr:BatchGetImage", target)?;
            }
            if !allowed {
                return Err(ServiceError::Unauthorized);
            }
        }
        let now_ms = self.clock.now_ms();
        let token = BearerToken::issue(self.claims_of(who), self.region().clone(), now_ms);
        let token = token.for_audience(audience);
        Ok(GivenToken {
            token: token.seal(&self.sealing).map_err(not_made)?,
            expires_ms: token.claims.expires_ms,
            issued_ms: now_ms,
        })
    }

    fn claims_of(&self, who: &Caller) -> Claims {
        Claims {
            principal: who.principal.clone(),
            issued_ms: self.clock.now_ms(),
            expires_ms: who.proof.expires_ms.unwrap_or(NO_END_MS),
            key_id: who.proof.key_id.clone(),
            session_policy: who.proof.session_policy.as_deref().map(str::to_owned),
        }
    }

    /// # Errors
    /// `TokenInvalid`, `TokenExpired`.
    pub(super) fn by_authorization_token(
        &self,
        audience: Audience,
        token: &Secret,
    ) -> Result<Caller, ServiceError> {
        self.by_token("AWS", audience, token, |now_ms| {
            let (key, region) = (&self.sealing, self.region());
            let opened = AuthorizationToken::open(key, token, region, audience, now_ms);
            opened.map(|opened| opened.claims)
        })
    }

    /// # Errors
    /// `Unauthorized`: the client is to ask for another one.
    pub(super) fn by_bearer_token(
        &self,
        audience: Audience,
        token: &str,
    ) -> Result<Caller, ServiceError> {
        let token = &Secret::new(token.to_owned());
        let caller = self.by_token("Bearer", audience, token, |now_ms| {
            let (key, region) = (&self.sealing, self.region());
            let opened = BearerToken::open(key, token, region, audience, now_ms);
            opened.map(|opened| opened.claims)
        });
        caller.map_err(|error| match error {
            ServiceError::TokenInvalid | ServiceError::TokenExpired => ServiceError::Unauthorized,
            error => error,
        })
    }

    fn by_token(
        &self,
        kind: &str,
        audience: Audience,
        token: &Secret,
        open: impl FnOnce(i64) -> Result<Claims, TokenError>,
    ) -> Result<Caller, ServiceError> {
        let now_ms = self.clock.now_ms();
        let view = self.metadata.view(&self.global)?;
        let view = view.as_ref();
        let hash = self.tokens.hash(kind, audience, token);
        if let Some(known) = self.tokens.known.get(&hash)
            && known
                .caller
                .proof
                .expires_ms
                .is_some_and(|end| now_ms < end)
            && known.generations.are_still(view)?
        {
            return Ok(known.caller);
        }
        let claims = open(now_ms).map_err(|error| match error {
            TokenError::Expired => ServiceError::TokenExpired,
            _ => ServiceError::TokenInvalid,
        })?;
        let key = match &claims.key_id {
            Some(key_id) => query::access_key(view, key_id)?,
            None => None,
        };
        let key_account = key.map(|key| key.account);
        let generations = Generations::of(view, &claims.principal.account, key_account.as_ref())?;
        // There is no record of nobody.
        if claims.principal.is_of_an_account() && !is_in_force(view, &claims)? {
            return Err(ServiceError::TokenInvalid);
        }
        let caller = Caller::of_claims(claims);
        let known = Known {
            caller: caller.clone(),
            generations,
        };
        self.tokens.known.insert(hash, known);
        Ok(caller)
    }
}

fn not_made(error: TokenError) -> ServiceError {
    match error {
        TokenError::TooLong => ServiceError::Invalid(error.to_string()),
        error => ServiceError::internal(&error),
    }
}

// === impl Tokens ===

impl Tokens {
    fn hash(&self, kind: &str, audience: Audience, token: &Secret) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[audience as u8]);
        hasher.update(kind.as_bytes());
        hasher.update(b" ");
        hasher.update(token.expose().as_bytes());
        hasher.finalize()
    }
}

impl Default for Tokens {
    fn default() -> Self {
        let mut key = [0; blake3::KEY_LEN];
        // Without randomness the hashes are those of anybody's.
        let _ = getrandom::fill(&mut key);
        Self {
            known: Memory::new(TOKENS_MAX),
            key,
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}
