//! Who is calling. For now there is one account with its root user; nobody is
//! served without credentials.

use std::sync::Arc;
use std::time::Duration;

use entrepot_access::{AccessError, AccountCredentials, Principal, parse_basic};
use entrepot_metadata::query;

use crate::{Registry, ServiceError};

/// For a place to check a password in.
const WAIT_MAX: Duration = Duration::from_secs(10);

impl Registry {
    /// Checks the value of an `Authorization` header.
    pub async fn authenticate(&self, header: Option<&str>) -> Result<Principal, ServiceError> {
        let credentials = header
            .and_then(|header| parse_basic(header).ok())
            .ok_or(ServiceError::Unauthorized)?;
        let view = self.metadata.view(&self.global)?;
        let Some(account) = query::any_account(view.as_ref())? else {
            return Err(ServiceError::unavailable(
                "this node has not learnt the cluster's account yet; try again",
            ));
        };
        let principal = Principal {
            account: account.id.clone(),
            user: account.root_user.clone(),
        };
        let known = AccountCredentials {
            user: &account.root_user,
            password_hash: &account.password_hash,
        };
        if self.verifier.check_cached(&credentials, &known) {
            return Ok(principal);
        }
        // Slow by design: few at a time, and not on the threads that serve.
        let places = Arc::clone(&self.verifications);
        let place = tokio::time::timeout(WAIT_MAX, places.acquire_owned())
            .await
            .map_err(|_| {
                ServiceError::unavailable("this node has too many logins to check; try again")
            })?
            .map_err(|error| ServiceError::internal(&error))?;
        let verifier = Arc::clone(&self.verifier);
        let verifying = self.blocking.run(move || {
            // Kept for as long as it runs, even when the caller goes away.
            let _place = place;
            let known = AccountCredentials {
                user: &account.root_user,
                password_hash: &account.password_hash,
            };
            verifier.verify(&credentials, Some(&known))
        });
        let right = verifying
            .await
            .map_err(|error| ServiceError::internal(&error))?;
        match right {
            Ok(true) => Ok(principal),
            Ok(false) | Err(AccessError::PasswordTooLong { .. }) => Err(ServiceError::Unauthorized),
            Err(error) => Err(ServiceError::internal(&error)),
        }
    }
}
