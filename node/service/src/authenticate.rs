//! Who is calling. Nobody is served without credentials.
//!
//! The user of a login names whom it is for:
//!
//! | User | Proved by |
//! |---|---|
//! | the first account's root user | its password |
//! | an account's 12 digits, or these, `/` and its root user | a secret of the root user's access keys, or its password |
//! | an access key's id | that key's secret |
//!
//! The invariant: whoever is refused cannot tell by the answer, or by how long
//! it took, whether there is such an account or key.

pub(crate) mod signed;

use std::sync::Arc;

use entrepot_access::{
    AccessError, AccessKey, AccountCredentials, BasicCredentials, Principal, parse_basic,
};
use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, Account};
use entrepot_oci::AccountId;
use tokio::time::Instant;

use crate::logins::Source;
use crate::{Caller, Registry, ServiceError};

/// Whom credentials are for, as their user says.
enum Claim {
    /// They are right: a key's secret was as it should be.
    Proved(Account),
    /// The password decides; this is whose it is.
    Password(Account),
    /// Nobody whom there is.
    Nobody,
}

impl Registry {
    /// Checks the value of an `Authorization` header. Credentials that were right
    /// before are never kept waiting.
    pub async fn authenticate(
        &self,
        header: Option<&str>,
        source: Source,
    ) -> Result<Caller, ServiceError> {
        let credentials = header
            .and_then(|header| parse_basic(header).ok())
            .ok_or(ServiceError::Unauthorized)?;
        let view = self.metadata.view(&self.global)?;
        let Some(first) = query::first_account(view.as_ref())? else {
            return Err(ServiceError::unavailable(
                "this node has not learnt the cluster's accounts yet; try again",
            ));
        };
        match self.claim(view.as_ref(), &first, &credentials)? {
            Claim::Proved(account) if account.is_active() => Ok(root_of(&account)),
            Claim::Proved(account) => Err(ServiceError::Denied(format!(
                "account {} is disabled",
                account.id
            ))),
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

    fn claim(
        &self,
        view: &dyn KeyValue,
        first: &Account,
        credentials: &BasicCredentials,
    ) -> Result<Claim, ServiceError> {
        let user = credentials.user();
        if user == first.root_user {
            return Ok(Claim::Password(first.clone()));
        }
        if let Some(account) = named(view, user)? {
            for key in query::access_keys(view, &account.id, "")? {
                if self.is_proved(&key, credentials)? {
                    return Ok(Claim::Proved(account));
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
        // What a user may is decided by policies, which nobody looks at here.
        if !key.owner.is_empty() || !self.is_proved(&key, credentials)? {
            return Ok(Claim::Nobody);
        }
        Ok(query::account(view, &key.account)?.map_or(Claim::Nobody, Claim::Proved))
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

    /// `user`: who has the password, as the credentials are to call them.
    async fn check_password(
        &self,
        credentials: BasicCredentials,
        user: String,
        account: Account,
        source: Source,
    ) -> Result<Caller, ServiceError> {
        let caller = root_of(&account);
        let known = AccountCredentials {
            user: &user,
            password_hash: &account.password_hash,
        };
        let decided = || {
            if self.verifier.check_cached(&credentials, &known) {
                return Some(Ok(caller.clone()));
            }
            let now = Instant::now().into_std();
            let wrong = self.verifier.is_known_wrong(&credentials, &known, now);
            wrong.then_some(Err(ServiceError::Unauthorized))
        };
        if let Some(answer) = decided() {
            return answer;
        }
        // Slow by design: few at a time, and not on the threads that serve.
        let login = match self.logins.turn(source, &decided).await? {
            Ok(login) => login,
            Err(answer) => return answer,
        };
        let verifier = Arc::clone(&self.verifier);
        let verifying = self.blocking.run(move || {
            let known = AccountCredentials {
                user: &user,
                password_hash: &account.password_hash,
            };
            let right = verifier.verify(&credentials, Some(&known));
            if matches!(right, Ok(false)) {
                let now = Instant::now().into_std();
                verifier.remember_wrong(&credentials, &known, now);
            }
            if !matches!(right, Ok(true)) {
                login.wrong();
            }
            // The turn lasts until here, even when the caller goes away.
            drop(login);
            right
        });
        let right = verifying
            .await
            .map_err(|error| ServiceError::internal(&error))?;
        match right {
            Ok(true) => Ok(caller),
            Ok(false) | Err(AccessError::PasswordTooLong { .. }) => Err(ServiceError::Unauthorized),
            Err(error) => Err(ServiceError::internal(&error)),
        }
    }
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
