//! Who is calling. Nobody is served without credentials, unless a policy allows
//! everyone.
//!
//! The user of a login names whom it is for:
//!
//! | User | Proved by |
//! |---|---|
//! | the first account's root user | its password |
//! | an account's 12 digits, or these, `/` and its root user | a secret of the root user's access keys, or its password |
//! | an access key's id | that key's secret |
//! | `AWS` | an authorization token |
//!
//! A `Bearer` token is one that such a login was given.
//!
//! The invariant: whoever is refused cannot tell by the answer, or by how long
//! it took, whether there is such an account, user or key.

pub(crate) mod signed;

mod generations;
mod password;
mod tokens;

use std::sync::Arc;

use entrepot_access::token::Audience;
use entrepot_access::{AccessKey, BasicCredentials, Principal, parse_basic};
use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, Account};
use entrepot_oci::{AccountId, RegistryId};

pub use tokens::GivenToken;
pub(crate) use tokens::Tokens;

use crate::logins::Source;
use crate::{Caller, Origin, Registry, ServiceError, audit, identities};

/// Whose password an authorization token is.
const TOKEN_USER: &str = "AWS";
const BEARER: &str = "bearer ";

/// Whom credentials are for, as their user says.
enum Claim {
    /// They are right: a key's secret was as it should be.
    Proved(Box<Caller>, Account),
    /// The password decides; this is whose it is.
    Password(Account),
    /// Nobody whom there is.
    Nobody,
}

impl Registry {
    /// Whoever sent a request to `/v2/`, to the registry of `named` if its host
    /// says one: nobody, if there are no credentials.
    ///
    /// # Errors
    /// Of credentials that are there and wrong.
    pub async fn caller(
        &self,
        header: Option<&str>,
        origin: Arc<Origin>,
        named: Option<AccountId>,
    ) -> Result<Caller, ServiceError> {
        let header = header.filter(|header| !is_blank(header));
        let caller = if header.is_some() {
            self.authenticate(header, origin.source()).await?
        } else {
            let account = self.registry_of_nobody(named.as_ref())?;
            Caller::of(Principal::anonymous(account))
        };
        let caller = caller.from_origin(origin);
        Ok(match named {
            Some(account) => caller.meaning(account),
            None => caller,
        })
    }

    /// Whoever sent a request to the public registries, of which it names one or
    /// none yet: nobody, if there are no credentials.
    ///
    /// # Errors
    /// Of credentials that are there and wrong.
    pub async fn public_caller(
        &self,
        header: Option<&str>,
        origin: Arc<Origin>,
        named: Option<RegistryId>,
    ) -> Result<Caller, ServiceError> {
        let header = header.filter(|header| !is_blank(header));
        let caller = if header.is_some() {
            let source = origin.source();
            self.authenticate_for(Audience::Public, header, source)
                .await?
        } else {
            let account = named.as_ref().map(RegistryId::account);
            let account = self.registry_of_nobody(account.as_ref())?;
            Caller::of(Principal::anonymous(account))
        };
        let own = || RegistryId::public(&caller.principal.account);
        let registry = named.unwrap_or_else(own);
        Ok(caller.from_origin(origin).meaning(registry))
    }

    /// Checks the value of an `Authorization` header. Credentials that were right
    /// before are never kept waiting.
    pub async fn authenticate(
        &self,
        header: Option<&str>,
        source: Source,
    ) -> Result<Caller, ServiceError> {
        self.authenticate_for(Audience::Private, header, source)
            .await
    }

    /// Tokens have to be for registries of that kind.
    async fn authenticate_for(
        &self,
        audience: Audience,
        header: Option<&str>,
        source: Source,
    ) -> Result<Caller, ServiceError> {
        let header = header.ok_or(ServiceError::Unauthorized)?;
        // Before the records are read: what is found holds until it grows.
        let applied = self.metadata.applied(&self.global)?;
        let mark = self.verifier.mark(header);
        if let Some(caller) = self.proven.get(mark, source, applied) {
            return Ok(caller);
        }
        if let Some(token) = bearer(header) {
            return self.by_bearer_token(audience, token);
        }
        let credentials = parse_basic(header).map_err(|_| ServiceError::Unauthorized)?;
        if credentials.user() == TOKEN_USER {
            let caller = self.by_authorization_token(audience, credentials.password());
            return caller.inspect_err(|error| {
                audit::login_refused(TOKEN_USER, &error.to_string(), source);
            });
        }
        let caller = Box::pin(self.prove(credentials, source)).await?;
        self.proven.insert(mark, source, applied, &caller);
        Ok(caller)
    }

    /// That whoever proved themselves before still is who they were: what they
    /// proved it by has not ended, and they, their account and their key are there
    /// and active. For what goes on after its request was let in.
    ///
    /// # Errors
    /// `TokenExpired`, `TokenInvalid`.
    pub fn still_stands(&self, who: &Caller) -> Result<(), ServiceError> {
        let now_ms = self.clock.now_ms();
        if who.proof.expires_ms.is_some_and(|end| now_ms >= end) {
            return Err(ServiceError::TokenExpired);
        }
        let view = self.metadata.view(&self.global)?;
        if identities::stands(view.as_ref(), &who.principal, who.proof.key_id.as_deref())? {
            return Ok(());
        }
        Err(ServiceError::TokenInvalid)
    }

    /// Whom credentials are for whose proof holds as long as the records do.
    async fn prove(
        &self,
        credentials: BasicCredentials,
        source: Source,
    ) -> Result<Caller, ServiceError> {
        let view = self.metadata.view(&self.global)?;
        let Some(first) = query::first_account(view.as_ref())? else {
            return Err(ServiceError::unavailable(
                "this node has not learnt the cluster's accounts yet; try again",
            ));
        };
        match self.claim(view.as_ref(), &first, &credentials, source)? {
            Claim::Proved(caller, account) => {
                self.logins.right(source, credentials.user());
                if account.is_active() {
                    return Ok(*caller);
                }
                let text = format!("account {} is disabled", account.id);
                Err(ServiceError::Denied(text))
            }
            Claim::Password(account) => {
                let user = credentials.user().to_owned();
                self.check_password(credentials, user, account, source)
                    .await
            }
            // Refused after the same work as a wrong password: no user that is
            // not the first root user's comes here with that name.
            Claim::Nobody => {
                let user = first.root_user.clone();
                self.check_password(credentials, user, first, source).await
            }
        }
    }

    /// That `source` may try a signature by the key whose id is `claimed`. To be
    /// asked before that is checked, and told how it went. Wrong ones count for
    /// where they came from alone: the id of a key is no secret, and nobody is to
    /// keep others out by it.
    ///
    /// # Errors
    /// `LoginsTooMany` where it has sent too many wrong ones, unless `claimed` has
    /// proved itself from there before.
    pub fn may_try(&self, source: Source, claimed: &str) -> Result<(), ServiceError> {
        self.logins.may_sign(source, claimed)
    }

    pub fn has_proved(&self, source: Source, claimed: &str) {
        self.logins.right(source, claimed);
    }

    /// `reason`: for the audit log.
    pub fn has_failed(&self, source: Source, claimed: &str, reason: &str) {
        self.logins.wrong(source);
        audit::login_refused(claimed, reason, source);
    }

    fn claim(
        &self,
        view: &dyn KeyValue,
        first: &Account,
        credentials: &BasicCredentials,
        source: Source,
    ) -> Result<Claim, ServiceError> {
        let user = credentials.user();
        if user == first.root_user {
            return Ok(Claim::Password(first.clone()));
        }
        // Comparing a secret costs nothing: who guesses is not to do so at will.
        self.logins.may_try(source, user)?;
        if let Some(account) = named(view, user)? {
            for key in query::access_keys(view, &account.id, "")? {
                if self.is_proved(&key, credentials)? {
                    return Ok(Claim::Proved(
                        root_of(&account).with_key(&key.id).into(),
                        account,
                    ));
                }
            }
            // Without a password there is nothing to compare with.
            if account.password_hash.is_empty() {
                return Ok(Claim::Nobody);
            }
            return Ok(Claim::Password(account));
        }
        let Some(key) = query::access_key(view, user)? else {
            return Ok(Claim::Nobody);
        };
        if !self.is_proved(&key, credentials)? {
            return Ok(Claim::Nobody);
        }
        let Some(account) = query::account(view, &key.account)? else {
            return Ok(Claim::Nobody);
        };
        let owner = identities::owner(view, &key)?;
        Ok(owner.map_or(Claim::Nobody, |owner| {
            Claim::Proved(Caller::of(owner).with_key(&key.id).into(), account)
        }))
    }

    fn is_proved(
        &self,
        key: &query::AccessKey,
        credentials: &BasicCredentials,
    ) -> Result<bool, ServiceError> {
        let opened = AccessKey::open(&key.id, &key.sealed_secret, &self.sealing)
            .map_err(|error| ServiceError::internal(&error))?;
        Ok(opened.is_proved_by(credentials.password()) && key.is_active())
    }

    /// Which registry a request without credentials means.
    fn registry_of_nobody(&self, named: Option<&AccountId>) -> Result<AccountId, ServiceError> {
        if let Some(named) = named {
            return Ok(named.clone());
        }
        let view = self.metadata.view(&self.global)?;
        let first = query::first_account(view.as_ref())?;
        first
            .map(|first| first.id)
            .ok_or(ServiceError::Unauthorized)
    }
}

/// Some clients say without credentials that their user and password are empty.
fn is_blank(header: &str) -> bool {
    parse_basic(header).is_ok_and(|it| it.user().is_empty() && it.password().expose().is_empty())
}

fn bearer(header: &str) -> Option<&str> {
    let header = header.trim_matches([' ', '\t']);
    let (scheme, token) = header.split_at_checked(BEARER.len())?;
    scheme
        .eq_ignore_ascii_case(BEARER)
        .then(|| token.trim_start_matches(' '))
}

/// The account whose root user is called so: by its number, alone or before the
/// user's own name.
fn named(view: &dyn KeyValue, user: &str) -> Result<Option<Account>, ServiceError> {
    let (id, root_user) = match user.split_once('/') {
        Some((id, root_user)) => (id, Some(root_user)),
        None => (user, None),
    };
    let Ok(id) = id.parse::<AccountId>() else {
        return Ok(None);
    };
    let account = query::account(view, &id)?;
    Ok(account.filter(|account| root_user.is_none_or(|name| name == account.root_user)))
}

fn root_of(account: &Account) -> Caller {
    Caller::of(Principal::root(account.id.clone()))
}
