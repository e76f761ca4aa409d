//! On whose behalf something is done, and to whose registry.

use entrepot_access::Principal;
use entrepot_oci::AccountId;

/// Who calls, and whose registry they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub principal: Principal,
    /// Whose registry: the caller's own, unless the request names another.
    pub account: AccountId,
}

// === impl Caller ===

impl Caller {
    /// One who means the registry of their own account.
    pub fn of(principal: Principal) -> Self {
        Self {
            account: principal.account.clone(),
            principal,
        }
    }
}
