//! The caller, once known.

use std::fmt;

use entrepot_oci::AccountId;

/// An authenticated caller: a user of an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    pub account: AccountId,
    pub user: String,
}

// === impl Principal ===

impl fmt::Display for Principal {
    /// `<account>/<user>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.user)
    }
}
