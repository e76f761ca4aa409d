//! Users, groups, roles and managed policies.
//!
//! The invariants: of one kind, no two names of an account differ by case alone;
//! what somebody is attached to, or a member of, is there; every change of who
//! may what is a new generation of its account.

mod attachments;
mod checks;
mod entities;
mod inline;
mod policies;
mod rename;

pub(super) use attachments::{attach, detach, set_boundary};
pub(super) use entities::{create, delete, set_member, tag, update_role};
pub(super) use inline::{delete as delete_inline, put as put_inline};
pub(super) use policies::{
    create as create_policy, create_version, delete as delete_policy, delete_version,
    set_default_version,
};
pub(super) use rename::update;

use entrepot_oci::AccountId;

use super::{Stop, invalid, parse};
use crate::keys;
use crate::overlay::Overlay;
use crate::read;
use crate::records::identity::{EntityKind, EntityRecord, IdentitiesRecord};
use crate::response::{Done, Entity, EntityLimit, Outcome, Refused};
use crate::store::StorageError;

const DONE: Outcome = Outcome::Done(Done {});

/// A user, a group or a role that a command is about.
struct Target {
    account: AccountId,
    kind: EntityKind,
    record: EntityRecord,
}

// === impl Target ===

impl Target {
    /// # Errors
    /// `AccountUnknown`, `NoSuchEntity`
    fn find(overlay: &Overlay<'_>, account: &str, kind: i32, name: &str) -> Result<Self, Stop> {
        let account = existing(overlay, account)?;
        let kind = holder(kind)?;
        checks::name(kind, name)?;
        let key = keys::entity(&account, kind, name);
        let record = read::record(overlay, &key)?.ok_or_else(|| unknown(kind, name))?;
        Ok(Self {
            account,
            kind,
            record,
        })
    }

    /// That its owner alone may change it.
    fn modifiable(&self) -> Result<(), Stop> {
        let role = self.record.role.as_ref();
        if role.is_some_and(|role| !role.service.is_empty()) {
            let entity = Entity::new(self.kind, &self.record.name);
            return Err(Refused::Unmodifiable(entity).into());
        }
        Ok(())
    }

    fn save(self, overlay: &mut Overlay<'_>, index: u64) -> Result<(), StorageError> {
        let key = keys::entity(&self.account, self.kind, &self.record.name);
        overlay.put(key, &self.record);
        changed(overlay, &self.account, index)
    }
}

/// An account that there is.
fn existing(overlay: &Overlay<'_>, account: &str) -> Result<AccountId, Stop> {
    let account: AccountId = parse("account", account)?;
    if read::exists(overlay, &keys::account(&account))? {
        Ok(account)
    } else {
        Err(Refused::AccountUnknown(account.to_string()).into())
    }
}

/// Of what has policies.
fn holder(kind: i32) -> Result<EntityKind, Refused> {
    match EntityKind::try_from(kind) {
        Ok(kind @ (EntityKind::User | EntityKind::Group | EntityKind::Role)) => Ok(kind),
        _ => Err(invalid("kind", "must be of a user, a group or a role")),
    }
}

pub(super) fn unknown(kind: EntityKind, name: &str) -> Stop {
    Refused::NoSuchEntity(Entity::new(kind, name)).into()
}

fn exists(kind: EntityKind, name: &str) -> Stop {
    Refused::EntityExists(Entity::new(kind, name)).into()
}

fn limit(quota: &str, max: usize) -> Stop {
    Refused::EntityLimit(EntityLimit::new(quota, max)).into()
}

fn conflict(why: &str) -> Stop {
    Refused::DeleteConflict(why.to_owned()).into()
}

/// Notes that who may what in an account has changed.
pub(super) fn changed(
    overlay: &mut Overlay<'_>,
    account: &AccountId,
    index: u64,
) -> Result<(), StorageError> {
    counted(overlay, account, index, |_| {})
}

/// The same, when there is one more or less of something.
fn counted(
    overlay: &mut Overlay<'_>,
    account: &AccountId,
    index: u64,
    count: impl FnOnce(&mut IdentitiesRecord),
) -> Result<(), StorageError> {
    let key = keys::identities(account);
    let before: IdentitiesRecord = read::record(overlay, &key)?.unwrap_or_default();
    let mut after = IdentitiesRecord {
        generation: index,
        ..before
    };
    count(&mut after);
    if after != before {
        overlay.put(key, &after);
    }
    Ok(())
}
