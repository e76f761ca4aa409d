//! Users and groups get other names and paths, and keep everything else.
//!
//! The invariant: whatever knows one by its name knows it by the new one, all in
//! one step.

use super::{DONE, Stop, Target, checks, exists};
use crate::apply::invalid;
use crate::command::UpdateEntity;
use crate::keys::{self, Parts, PolicyUse};
use crate::limits::{ACCESS_KEYS_MAX, USERS_MAX};
use crate::overlay::Overlay;
use crate::read;
use crate::records::identity::{AccessKeyRecord, EntityKind, EntityRecord};
use crate::response::Outcome;
use crate::store::StorageError;

pub(in crate::apply) fn update(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: UpdateEntity,
) -> Result<Outcome, Stop> {
    let mut target = Target::find(overlay, &command.account, command.kind, &command.name)?;
    if target.kind == EntityKind::Role {
        return Err(invalid("role", "keeps its name and its path").into());
    }
    if let Some(path) = command.new_path {
        checks::path(&path)?;
        target.record.path = path;
    }
    if let Some(name) = command.new_name {
        checks::name(target.kind, &name)?;
        let is_other = !name.eq_ignore_ascii_case(&target.record.name);
        let key = keys::entity(&target.account, target.kind, &name);
        if let Some(there) = read::record::<EntityRecord>(overlay, &key)?
            && is_other
        {
            return Err(exists(target.kind, &there.name));
        }
        if name != target.record.name {
            rename(overlay, &mut target, name)?;
        }
    }
    target.save(overlay, index)?;
    Ok(DONE)
}

fn rename(
    overlay: &mut Overlay<'_>,
    target: &mut Target,
    name: String,
) -> Result<(), StorageError> {
    for (how, arn) in policies(&target.record) {
        overlay.delete(target.used(how, &arn));
    }
    let before = std::mem::replace(&mut target.record.name, name);
    match target.kind {
        EntityKind::Group => rename_group(overlay, target, &before)?,
        _ => rename_user(overlay, target, &before)?,
    }
    overlay.delete(keys::entity(&target.account, target.kind, &before));
    for (how, arn) in policies(&target.record) {
        overlay.mark(target.used(how, &arn));
    }
    Ok(())
}

/// Every use of a policy that is written down elsewhere.
fn policies(record: &EntityRecord) -> Vec<(PolicyUse, String)> {
    let attached = record.attached.iter().map(|arn| (PolicyUse::Attached, arn));
    let boundary = Some(&record.boundary).filter(|arn| !arn.is_empty());
    let boundary = boundary.map(|arn| (PolicyUse::Boundary, arn));
    let all = attached.chain(boundary);
    all.map(|(how, arn)| (how, arn.clone())).collect()
}

/// Its keys, and the groups that it is in.
fn rename_user(overlay: &mut Overlay<'_>, user: &Target, before: &str) -> Result<(), StorageError> {
    let (account, after) = (&user.account, &user.record.name);
    let prefix = keys::access_keys_of(account, before);
    for (place, _) in read::page(overlay, &prefix, None, ACCESS_KEYS_MAX)? {
        let mut parts = Parts::of(&place);
        parts.account()?;
        parts.text("owner")?;
        let id = parts.text("access key")?;
        overlay.delete(keys::access_key_of(account, before, id));
        overlay.mark(keys::access_key_of(account, after, id));
        let key = keys::access_key(id);
        if let Some(mut record) = read::record::<AccessKeyRecord>(overlay, &key)? {
            record.owner.clone_from(after);
            overlay.put(key, &record);
        }
    }
    for group in &user.record.groups {
        overlay.delete(keys::group_member(account, group, before));
        overlay.mark(keys::group_member(account, group, after));
    }
    Ok(())
}

/// Everybody who is in it.
fn rename_group(
    overlay: &mut Overlay<'_>,
    group: &Target,
    before: &str,
) -> Result<(), StorageError> {
    let (account, after) = (&group.account, &group.record.name);
    let prefix = keys::group_members(account, before);
    for (place, _) in read::page(overlay, &prefix, None, USERS_MAX)? {
        let mut parts = Parts::of(&place);
        parts.account()?;
        parts.text("group")?;
        let user = parts.text("user")?;
        overlay.delete(keys::group_member(account, before, user));
        overlay.mark(keys::group_member(account, after, user));
        let key = keys::entity(account, EntityKind::User, user);
        if let Some(mut record) = read::record::<EntityRecord>(overlay, &key)? {
            record.groups.retain(|name| name != before);
            record.groups.push(after.clone());
            record.groups.sort();
            overlay.put(key, &record);
        }
    }
    Ok(())
}
