//! Users, groups, roles and policies can be read, stand under their names, are
//! counted, and have nothing that is not there.

use super::{Check, Pair};
use crate::keys::{self, Key, Namespace, PolicyUse};
use crate::limits::{
    ATTACHED_MAX, GROUPS_MAX, GROUPS_PER_USER_MAX, IDENTITY_TAGS_MAX, INLINE_POLICIES_MAX,
    POLICIES_MAX, POLICY_VERSIONS_MAX, ROLES_MAX, USERS_MAX,
};
use crate::query::{self, AWS_POLICIES};
use crate::read;
use crate::records::identity::{
    EntityKind, EntityRecord, IdentitiesRecord, PolicyRecord, PolicyVersionRecord,
};
use crate::store::StorageError;

pub(super) fn identities(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.account()?;
    parts.end()?;
    let record: IdentitiesRecord = pair.decode()?;
    check.require_key(
        &keys::account(&account),
        "identities are those of an account",
        pair,
    )?;
    for (prefix, counted, max) in [
        (
            keys::entities(&account, EntityKind::User),
            record.users,
            USERS_MAX,
        ),
        (
            keys::entities(&account, EntityKind::Group),
            record.groups,
            GROUPS_MAX,
        ),
        (
            keys::entities(&account, EntityKind::Role),
            record.roles,
            ROLES_MAX,
        ),
        (keys::policies(&account), record.policies, POLICIES_MAX),
    ] {
        let found = read::page(check.view, &prefix, None, max + 1)?.len();
        check.require(
            found == counted as usize && found <= max,
            "an account's identities are counted, and no more than there may be",
            &pair.key,
        );
    }
    Ok(())
}

pub(super) fn entity(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.entities += 1;
    let mut parts = pair.parts();
    let account = parts.account()?;
    let kind = EntityKind::of_byte(parts.array::<1>()?[0]);
    let kind = kind.ok_or_else(|| StorageError::corrupt(&pair.key, "what it is"))?;
    let name = parts.text("name")?;
    parts.end()?;
    let record: EntityRecord = pair.decode()?;
    check.require(
        record.name.to_ascii_lowercase() == name,
        "an entity stands under its name",
        &pair.key,
    );
    check.require_key(
        &keys::identities(&account),
        "an account's entities are counted",
        pair,
    )?;
    check.require(
        (kind == EntityKind::Role) == record.role.is_some()
            && (kind == EntityKind::User || record.groups.is_empty())
            && record.tags.len() <= IDENTITY_TAGS_MAX
            && record.inline.len() <= INLINE_POLICIES_MAX
            && record.attached.len() <= ATTACHED_MAX
            && record.groups.len() <= GROUPS_PER_USER_MAX
            && record.attached.is_sorted_by(|a, b| a < b)
            && record.groups.is_sorted_by(|a, b| a < b),
        "an entity has what its kind may have, and no more of it",
        &pair.key,
    );
    let attached = record.attached.iter().map(|arn| (arn, PolicyUse::Attached));
    let boundary = Some(&record.boundary).filter(|arn| !arn.is_empty());
    for (arn, how) in attached.chain(boundary.map(|arn| (arn, PolicyUse::Boundary))) {
        if arn.contains('\0') {
            check.violated("an ARN is a name", pair);
            continue;
        }
        let key = keys::policy_use(&account, arn, how, kind, name);
        check.require_key(&key, "a policy knows who has it", pair)?;
    }
    for group in &record.groups {
        if group.contains('\0') {
            check.violated("a group is a name", pair);
            continue;
        }
        let key = keys::group_member(&account, group, name);
        check.require_key(&key, "a group knows its members", pair)?;
    }
    Ok(())
}

pub(super) fn group_member(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    let account = parts.account()?;
    let (group, user) = (parts.text("group")?, parts.text("user")?);
    parts.end()?;
    let user = query::entity(check.view, &account, EntityKind::User, user)?;
    let group = query::entity(check.view, &account, EntityKind::Group, group)?;
    let holds = match (group, user) {
        (Some(group), Some(user)) => user.groups.contains(&group.name),
        _ => false,
    };
    check.require(holds, "a group's member says so too", &pair.key);
    Ok(())
}

pub(super) fn policy_use(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    let account = parts.account()?;
    let arn = parts.text("policy")?;
    let by = query::policy_user_of(&pair.key)?;
    let user = query::entity(check.view, &account, by.kind, &by.name)?;
    let holds = user.is_some_and(|user| {
        if by.is_boundary {
            user.boundary.as_deref() == Some(arn)
        } else {
            user.attached.iter().any(|attached| attached == arn)
        }
    });
    check.require(holds, "who has a policy says so too", &pair.key);
    check.require(
        arn.starts_with(AWS_POLICIES) || query::policy_by_arn(check.view, &account, arn)?.is_some(),
        "a policy that somebody has is there",
        &pair.key,
    );
    Ok(())
}

pub(super) fn policy(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.policies += 1;
    let mut parts = pair.parts();
    let account = parts.account()?;
    let name = parts.text("policy")?;
    parts.end()?;
    let record: PolicyRecord = pair.decode()?;
    check.require(
        record.name.to_ascii_lowercase() == name && record.tags.len() <= IDENTITY_TAGS_MAX,
        "a policy stands under its name",
        &pair.key,
    );
    check.require_key(
        &keys::identities(&account),
        "an account's policies are counted",
        pair,
    )?;
    check.require_key(
        &keys::policy_version(&account, name, record.default_version),
        "a policy has its default version",
        pair,
    )?;
    let prefix = keys::policy_versions(&account, name);
    let versions = read::page(check.view, &prefix, None, POLICY_VERSIONS_MAX + 1)?;
    let last = versions.last().map(|(key, _)| key.as_ref());
    let newest = keys::policy_version(&account, name, record.last_version);
    check.require(
        versions.len() <= POLICY_VERSIONS_MAX && last.is_some_and(|last| last <= newest.as_bytes()),
        "a policy has few versions, and none that it does not know",
        &pair.key,
    );
    Ok(())
}

pub(super) fn policy_version(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.account()?;
    let name = parts.text("policy")?;
    parts.number()?;
    parts.end()?;
    pair.decode::<PolicyVersionRecord>()?;
    let key = Key::new(Namespace::Policy).account(&account).name(name);
    check.require_key(&key, "a version is one of a policy", pair)
}
