//! Users, groups and roles come, change and go.

use super::{DONE, unknown};
use super::{Stop, Target, checks, conflict, counted, existing, exists, holder, limit};
use crate::apply::invalid;
use crate::command::{CreateEntity, DeleteEntity, RoleSpec, SetGroupMember, TagEntity, UpdateRole};
use crate::keys;
use crate::limits::{
    GROUPS_MAX, GROUPS_PER_USER_MAX, ROLES_MAX, TRUST_POLICY_CHARS_MAX, USERS_MAX,
};
use crate::overlay::Overlay;
use crate::read;
use crate::records::identity::{
    EntityKind, EntityRecord, IdentitiesRecord, PolicyRecord, RoleRecord,
};
use crate::response::Outcome;

pub(in crate::apply) fn create(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: CreateEntity,
) -> Result<Outcome, Stop> {
    let account = existing(overlay, &command.account)?;
    let kind = holder(command.kind)?;
    check(kind, &command)?;
    let key = keys::entity(&account, kind, &command.name);
    if let Some(before) = read::record::<EntityRecord>(overlay, &key)? {
        // Drawn at random: this is the command's own, from before.
        if before.id == command.id {
            return Ok(DONE);
        }
        return Err(exists(kind, &before.name));
    }
    let (quota, max) = quota(kind);
    let identities: IdentitiesRecord =
        read::record(overlay, &keys::identities(&account))?.unwrap_or_default();
    if identities.count(kind) as usize >= max {
        return Err(limit(quota, max));
    }
    checks::tag_count(command.tags.len())?;
    let record = EntityRecord {
        name: command.name,
        path: command.path,
        id: command.id,
        created_at_ms: command.at_ms,
        index,
        tags: command.tags,
        role: command.role.map(RoleRecord::from),
        ..EntityRecord::default()
    };
    counted(overlay, &account, index, |it| *it.count_mut(kind) += 1)?;
    let mut target = Target {
        account,
        kind,
        record,
    };
    if !command.boundary.is_empty() {
        super::attachments::bound(overlay, &mut target, &command.boundary)?;
    }
    super::attachments::attached(overlay, &mut target, command.attached)?;
    target.save(overlay, index)?;
    Ok(DONE)
}

fn check(kind: EntityKind, command: &CreateEntity) -> Result<(), Stop> {
    checks::name(kind, &command.name)?;
    checks::path(&command.path)?;
    checks::id(&command.id)?;
    checks::tags(&command.tags)?;
    if (kind == EntityKind::Role) != command.role.is_some() {
        return Err(invalid("role", "must be given for a role, and for nothing else").into());
    }
    if let Some(role) = &command.role {
        trust(&role.trust)?;
        checks::description(&role.description)?;
        checks::session(role.max_session_s)?;
        if role.service.len() > 128 || !role.service.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("service", "must be of at most 128 ASCII characters").into());
        }
    }
    if kind == EntityKind::Group && !(command.tags.is_empty() && command.boundary.is_empty()) {
        return Err(invalid("group", "has neither tags nor a permissions boundary").into());
    }
    Ok(())
}

fn quota(kind: EntityKind) -> (&'static str, usize) {
    match kind {
        EntityKind::Group => ("GroupsPerAccount", GROUPS_MAX),
        EntityKind::Role => ("RolesPerAccount", ROLES_MAX),
        _ => ("UsersPerAccount", USERS_MAX),
    }
}

fn trust(document: &str) -> Result<(), Stop> {
    if checks::document(document)? > TRUST_POLICY_CHARS_MAX {
        return Err(limit("ACLSizePerRole", TRUST_POLICY_CHARS_MAX));
    }
    Ok(())
}

pub(in crate::apply) fn delete(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &DeleteEntity,
) -> Result<Outcome, Stop> {
    let mut target = Target::find(overlay, &command.account, command.kind, &command.name)?;
    let record = &target.record;
    if !record.attached.is_empty() {
        return Err(conflict(
            "cannot delete entity, must detach all policies first",
        ));
    }
    if !record.inline.is_empty() {
        return Err(conflict("cannot delete entity, must delete policies first"));
    }
    if !record.groups.is_empty() {
        return Err(conflict(
            "cannot delete entity, must remove users from group first",
        ));
    }
    let account = target.account.clone();
    if target.kind == EntityKind::Group {
        let members = keys::group_members(&account, &record.name);
        if read::first(overlay, &members)?.is_some() {
            return Err(conflict(
                "cannot delete entity, must remove users from group first",
            ));
        }
    }
    if target.kind == EntityKind::User {
        let keys = keys::access_keys_of(&account, &record.name);
        if read::first(overlay, &keys)?.is_some() {
            return Err(conflict(
                "cannot delete entity, must delete access keys first",
            ));
        }
    }
    super::attachments::unbound(overlay, &mut target);
    let kind = target.kind;
    overlay.delete(keys::entity(&account, kind, &target.record.name));
    counted(overlay, &account, index, |it| {
        let count = it.count_mut(kind);
        *count = count.saturating_sub(1);
    })?;
    Ok(DONE)
}

pub(in crate::apply) fn update_role(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: UpdateRole,
) -> Result<Outcome, Stop> {
    let kind = EntityKind::Role.into();
    let mut target = Target::find(overlay, &command.account, kind, &command.name)?;
    target.modifiable()?;
    let mut role = target.record.role.unwrap_or_default();
    if let Some(document) = command.trust {
        trust(&document)?;
        role.trust = document;
    }
    if let Some(description) = command.description {
        checks::description(&description)?;
        role.description = description;
    }
    if let Some(seconds) = command.max_session_s {
        checks::session(seconds)?;
        role.max_session_s = seconds;
    }
    target.record.role = Some(role);
    target.save(overlay, index)?;
    Ok(DONE)
}

pub(in crate::apply) fn tag(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &TagEntity,
) -> Result<Outcome, Stop> {
    checks::tags(&command.set)?;
    command
        .remove
        .iter()
        .try_for_each(|key| checks::tag_key(key))?;
    let change = |tags: &mut std::collections::BTreeMap<String, String>| {
        for key in &command.remove {
            tags.remove(key);
        }
        tags.extend(command.set.clone());
        checks::tag_count(tags.len())
    };
    match EntityKind::try_from(command.kind) {
        Ok(EntityKind::Policy) => {
            let account = existing(overlay, &command.account)?;
            checks::name(EntityKind::Policy, &command.name)?;
            let key = keys::policy(&account, &command.name);
            let found: Option<PolicyRecord> = read::record(overlay, &key)?;
            let mut policy = found.ok_or_else(|| unknown(EntityKind::Policy, &command.name))?;
            change(&mut policy.tags)?;
            overlay.put(key, &policy);
            super::changed(overlay, &account, index)?;
        }
        Ok(EntityKind::Group) => return Err(invalid("group", "has no tags").into()),
        _ => {
            let mut target = Target::find(overlay, &command.account, command.kind, &command.name)?;
            change(&mut target.record.tags)?;
            target.save(overlay, index)?;
        }
    }
    Ok(DONE)
}

pub(in crate::apply) fn set_member(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &SetGroupMember,
) -> Result<Outcome, Stop> {
    let find = |overlay: &Overlay<'_>, kind: EntityKind, name: &str| {
        Target::find(overlay, &command.account, kind.into(), name)
    };
    let group = find(overlay, EntityKind::Group, &command.group)?;
    let mut user = find(overlay, EntityKind::User, &command.user)?;
    let name = group.record.name;
    let was_member = user.record.groups.contains(&name);
    if was_member == command.is_member {
        return Ok(DONE);
    }
    let key = keys::group_member(&user.account, &name, &user.record.name);
    if command.is_member {
        if user.record.groups.len() >= GROUPS_PER_USER_MAX {
            return Err(limit("GroupsPerUser", GROUPS_PER_USER_MAX));
        }
        user.record.groups.push(name);
        user.record.groups.sort();
        overlay.mark(key);
    } else {
        user.record.groups.retain(|group| *group != name);
        overlay.delete(key);
    }
    user.save(overlay, index)?;
    Ok(DONE)
}

impl From<RoleSpec> for RoleRecord {
    fn from(role: RoleSpec) -> Self {
        Self {
            trust: role.trust,
            description: role.description,
            max_session_s: role.max_session_s,
            service: role.service,
        }
    }
}
