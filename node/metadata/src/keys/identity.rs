//! Keys of accounts' identities.

use entrepot_oci::AccountId;

use super::{Key, Namespace};

pub(crate) fn first_account() -> Key {
    Key::new(Namespace::FirstAccount)
}

pub(crate) fn identities(account: &AccountId) -> Key {
    Key::new(Namespace::Identities).account(account)
}

pub(crate) fn access_key(id: &str) -> Key {
    Key::new(Namespace::AccessKey).name(id)
}

/// The prefix of the keys that `owner` has.
pub(crate) fn access_keys_of(account: &AccountId, owner: &str) -> Key {
    Key::new(Namespace::AccessKeyOf)
        .account(account)
        .name(owner)
}

pub(crate) fn access_key_of(account: &AccountId, owner: &str, id: &str) -> Key {
    access_keys_of(account, owner).name(id)
}
