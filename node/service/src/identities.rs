//! Who is behind a key or a token, as the records say it now.
//!
//! The invariant: an account, a user, a role or a key that is gone or not active
//! is nobody, and one that was made anew under an old name is somebody else; so
//! is one who has moved to another path, whom policies know by another ARN.

use entrepot_access::token::Claims;
use entrepot_access::{AssumedRole, Identity, Principal, User};
use entrepot_metadata::query::{self, AccessKey, EntityKind};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::AccountId;

/// Who holds a long-term access key; none: it is good for nothing.
pub(crate) fn holder(
    view: &dyn KeyValue,
    key: &AccessKey,
) -> Result<Option<Principal>, StorageError> {
    if !key.is_active() || !is_active(view, &key.account)? {
        return Ok(None);
    }
    owner(view, key)
}

/// Whose key it is, good or not; none: they are gone.
pub(crate) fn owner(
    view: &dyn KeyValue,
    key: &AccessKey,
) -> Result<Option<Principal>, StorageError> {
    if key.owner.is_empty() {
        return Ok(Some(Principal::root(key.account.clone())));
    }
    let user = query::entity(view, &key.account, EntityKind::User, &key.owner)?;
    Ok(user.map(|user| Principal {
        account: key.account.clone(),
        identity: Identity::User(User {
            path: user.path,
            name: user.name,
            id: user.id,
        }),
    }))
}

/// Whether there still is who a token was made for, and the key with which it was
/// asked for.
pub(crate) fn is_in_force(view: &dyn KeyValue, claims: &Claims) -> Result<bool, StorageError> {
    stands(view, &claims.principal, claims.key_id.as_deref())
}

/// Whether there still is `principal`, and the key by which they have proved
/// themselves.
pub(crate) fn stands(
    view: &dyn KeyValue,
    principal: &Principal,
    key_id: Option<&str>,
) -> Result<bool, StorageError> {
    let account = &principal.account;
    if !is_active(view, account)? {
        return Ok(false);
    }
    if let Some(key_id) = key_id {
        let key = query::access_key(view, key_id)?;
        let holder = match &key {
            Some(key) => holder(view, key)?,
            None => None,
        };
        // Who assumed a role did so with a key of their own.
        let is_assumed = matches!(principal.identity, Identity::AssumedRole(_));
        let is_own = |holder: Principal| is_assumed || holder.user_id() == principal.user_id();
        if !holder.is_some_and(is_own) {
            return Ok(false);
        }
    }
    let is_there = |kind, name: &str, path: &str, id: &str| {
        let entity = query::entity(view, account, kind, name)?;
        Ok(entity.is_some_and(|entity| entity.id == id && entity.path == path))
    };
    match &principal.identity {
        Identity::Root => Ok(true),
        Identity::User(User { path, name, id }) => is_there(EntityKind::User, name, path, id),
        Identity::AssumedRole(AssumedRole {
            path,
            role,
            role_id,
            ..
        }) => is_there(EntityKind::Role, role, path, role_id),
        Identity::Service(_) | Identity::Federated { .. } | Identity::Anonymous => Ok(false),
    }
}

fn is_active(view: &dyn KeyValue, account: &AccountId) -> Result<bool, StorageError> {
    let account = query::account(view, account)?;
    Ok(account.is_some_and(|account| account.is_active()))
}
