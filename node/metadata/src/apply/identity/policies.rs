//! Managed policies and their versions.
//!
//! The invariant: a policy has one to five versions, and one of them is in force.

use entrepot_oci::AccountId;

use super::{DONE, Stop, checks, conflict, counted, existing, exists, limit, unknown};
use crate::command::{
    CreatePolicy, CreatePolicyVersion, DeletePolicy, DeletePolicyVersion, SetDefaultPolicyVersion,
};
use crate::keys;
use crate::limits::{MANAGED_POLICY_CHARS_MAX, POLICIES_MAX, POLICY_VERSIONS_MAX};
use crate::overlay::Overlay;
use crate::query;
use crate::read;
use crate::records::identity::{EntityKind, IdentitiesRecord, PolicyRecord, PolicyVersionRecord};
use crate::response::{Outcome, PolicyVersionMade};

pub(in crate::apply) fn create(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: CreatePolicy,
) -> Result<Outcome, Stop> {
    let account = existing(overlay, &command.account)?;
    checks::name(EntityKind::Policy, &command.name)?;
    checks::path(&command.path)?;
    checks::id(&command.id)?;
    checks::description(&command.description)?;
    checks::tags(&command.tags)?;
    checks::tag_count(command.tags.len())?;
    document(&command.document)?;
    let key = keys::policy(&account, &command.name);
    if let Some(before) = read::record::<PolicyRecord>(overlay, &key)? {
        // Drawn at random: this is the command's own, from before.
        if before.id == command.id {
            return Ok(DONE);
        }
        return Err(exists(EntityKind::Policy, &before.name));
    }
    let identities: IdentitiesRecord =
        read::record(overlay, &keys::identities(&account))?.unwrap_or_default();
    if identities.policies as usize >= POLICIES_MAX {
        return Err(limit("PoliciesPerAccount", POLICIES_MAX));
    }
    let version = PolicyVersionRecord {
        document: command.document,
        created_at_ms: command.at_ms,
    };
    overlay.put(keys::policy_version(&account, &command.name, 1), &version);
    let record = PolicyRecord {
        name: command.name,
        path: command.path,
        id: command.id,
        description: command.description,
        default_version: 1,
        last_version: 1,
        created_at_ms: command.at_ms,
        updated_at_ms: command.at_ms,
        index,
        tags: command.tags,
    };
    overlay.put(key, &record);
    counted(overlay, &account, index, |it| it.policies += 1)?;
    Ok(DONE)
}

pub(in crate::apply) fn create_version(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: CreatePolicyVersion,
) -> Result<Outcome, Stop> {
    let (account, mut policy) = find(overlay, &command.account, &command.name)?;
    document(&command.document)?;
    let made = |version| Ok(Outcome::PolicyVersionMade(PolicyVersionMade { version }));
    let versions = query::policy_versions(overlay, &account, &policy.name)?;
    if let Some(last) = versions.last()
        && last.created_at_ms == command.at_ms
        && last.document == command.document
    {
        return made(last.version);
    }
    if versions.len() >= POLICY_VERSIONS_MAX {
        return Err(limit("VersionsPerPolicy", POLICY_VERSIONS_MAX));
    }
    policy.last_version += 1;
    let version = policy.last_version;
    let record = PolicyVersionRecord {
        document: command.document,
        created_at_ms: command.at_ms,
    };
    overlay.put(
        keys::policy_version(&account, &policy.name, version),
        &record,
    );
    if command.set_as_default {
        policy.default_version = version;
    }
    policy.updated_at_ms = command.at_ms;
    overlay.put(keys::policy(&account, &policy.name), &policy);
    super::changed(overlay, &account, index)?;
    made(version)
}

pub(in crate::apply) fn set_default_version(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &SetDefaultPolicyVersion,
) -> Result<Outcome, Stop> {
    let (account, policy) = find(overlay, &command.account, &command.name)?;
    require_version(overlay, &account, &policy, command.version)?;
    if policy.default_version != command.version {
        let after = PolicyRecord {
            default_version: command.version,
            ..policy
        };
        overlay.put(keys::policy(&account, &after.name), &after);
        super::changed(overlay, &account, index)?;
    }
    Ok(DONE)
}

pub(in crate::apply) fn delete_version(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &DeletePolicyVersion,
) -> Result<Outcome, Stop> {
    let (account, policy) = find(overlay, &command.account, &command.name)?;
    require_version(overlay, &account, &policy, command.version)?;
    if policy.default_version == command.version {
        return Err(conflict("cannot delete the default version of a policy"));
    }
    overlay.delete(keys::policy_version(
        &account,
        &policy.name,
        command.version,
    ));
    super::changed(overlay, &account, index)?;
    Ok(DONE)
}

pub(in crate::apply) fn delete(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &DeletePolicy,
) -> Result<Outcome, Stop> {
    let (account, policy) = find(overlay, &command.account, &command.name)?;
    let arn = query::policy_arn(&account, &policy.path, &policy.name);
    if read::first(overlay, &keys::policy_uses(&account, &arn))?.is_some() {
        return Err(conflict("cannot delete a policy attached to entities"));
    }
    if query::policy_versions(overlay, &account, &policy.name)?.len() > 1 {
        return Err(conflict(
            "this policy has more than one version: before you delete a policy, you must delete \
             the policy's versions; the default version is deleted with the policy",
        ));
    }
    let last = keys::policy_version(&account, &policy.name, policy.default_version);
    overlay.delete(last);
    overlay.delete(keys::policy(&account, &policy.name));
    counted(overlay, &account, index, |it| {
        it.policies = it.policies.saturating_sub(1);
    })?;
    Ok(DONE)
}

fn document(text: &str) -> Result<(), Stop> {
    if checks::document(text)? > MANAGED_POLICY_CHARS_MAX {
        return Err(limit("PolicySize", MANAGED_POLICY_CHARS_MAX));
    }
    Ok(())
}

fn find(
    overlay: &Overlay<'_>,
    account: &str,
    name: &str,
) -> Result<(AccountId, PolicyRecord), Stop> {
    let account = existing(overlay, account)?;
    checks::name(EntityKind::Policy, name)?;
    let found = read::record(overlay, &keys::policy(&account, name))?;
    let policy = found.ok_or_else(|| unknown(EntityKind::Policy, name))?;
    Ok((account, policy))
}

fn require_version(
    overlay: &Overlay<'_>,
    account: &AccountId,
    policy: &PolicyRecord,
    version: u64,
) -> Result<(), Stop> {
    if read::exists(
        overlay,
        &keys::policy_version(account, &policy.name, version),
    )? {
        return Ok(());
    }
    Err(unknown(EntityKind::PolicyVersion, &format!("v{version}")))
}
