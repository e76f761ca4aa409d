//! Up to when what was found out about a token holds.

use entrepot_metadata::KeyValue;
use entrepot_metadata::query;
use entrepot_oci::AccountId;

use crate::ServiceError;

/// Up to which changes of the accounts that it concerns something was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generations {
    own: (AccountId, u64),
    /// Of the key's, where that is another one.
    key: Option<(AccountId, u64)>,
}

// === impl Generations ===

impl Generations {
    /// Of now; to be read before what is found out.
    pub(super) fn of(
        view: &dyn KeyValue,
        account: &AccountId,
        key_account: Option<&AccountId>,
    ) -> Result<Self, ServiceError> {
        let of = |account: &AccountId| -> Result<_, ServiceError> {
            Ok((account.clone(), query::generation(view, account)?))
        };
        let key_account = key_account.filter(|it| *it != account);
        Ok(Self {
            own: of(account)?,
            key: key_account.map(of).transpose()?,
        })
    }

    /// Whether nothing has changed since.
    pub(super) fn are_still(&self, view: &dyn KeyValue) -> Result<bool, ServiceError> {
        for (account, generation) in std::iter::once(&self.own).chain(&self.key) {
            if query::generation(view, account)? != *generation {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
