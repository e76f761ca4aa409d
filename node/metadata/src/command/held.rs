//! How much registries hold.

use entrepot_oci::RegistryId;

/// Counts some more of what was in a registry before anybody counted how much it
/// holds. Nothing is left to do once all is counted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CountHeld {
    #[prost(string, tag = "1")]
    pub account: String,
}

// === impl CountHeld ===

impl CountHeld {
    pub fn new(account: &RegistryId) -> Self {
        Self {
            account: account.to_string(),
        }
    }
}
