//! Passwords: slow to check by design, and so few at a time.

use std::sync::Arc;

use entrepot_access::{AccessError, AccountCredentials, BasicCredentials};
use entrepot_metadata::query::Account;
use tokio::time::Instant;

use super::root_of;
use crate::logins::Source;
use crate::{Caller, Registry, ServiceError, audit};

impl Registry {
    /// `user`: who has the password, as the credentials are to call them.
    pub(super) async fn check_password(
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
        let claimed = credentials.user().to_owned();
        // Slow by design: few at a time, and not on the threads that serve.
        let turn = self.logins.turn(source, &claimed, &decided).await;
        let login = match turn.inspect_err(|error| refused(&claimed, error, source))? {
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
            if matches!(right, Ok(true)) {
                login.right();
            } else {
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
            Ok(false) | Err(AccessError::PasswordTooLong { .. }) => {
                let error = ServiceError::Unauthorized;
                refused(&claimed, &error, source);
                Err(error)
            }
            Err(error) => Err(ServiceError::internal(&error)),
        }
    }
}

fn refused(claimed: &str, error: &ServiceError, source: Source) {
    let reason = match error {
        ServiceError::Unauthorized => "wrong credentials".to_owned(),
        error => error.to_string(),
    };
    audit::login_refused(claimed, &reason, source);
}
