//! Who is calling. For now there is one account with its root user; nobody is
//! served without credentials.

use std::sync::Arc;

use entrepot_access::{AccessError, AccountCredentials, Principal, parse_basic};
use entrepot_metadata::query;
use tokio::time::Instant;

use crate::logins::Source;
use crate::{Caller, Registry, ServiceError};

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
        let Some(account) = query::any_account(view.as_ref())? else {
            return Err(ServiceError::unavailable(
                "this node has not learnt the cluster's account yet; try again",
            ));
        };
        let caller = Caller::of(Principal::root(account.id.clone()));
        let known = AccountCredentials {
            user: &account.root_user,
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
                user: &account.root_user,
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
