//! Users, groups, roles and managed policies, and what decides what they may.

mod policies;

use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_oci::AccountId;

pub(crate) use policies::policy_user_of;
pub use policies::{
    AWS_POLICIES, Policy, PolicyUser, PolicyVersion, policies, policy, policy_arn, policy_by_arn,
    policy_users, policy_version, policy_versions,
};

use super::generation;
use crate::keys::{self, Key, Parts};
use crate::limits::{GROUPS_PER_USER_MAX, SCAN_PAGE};
use crate::read;
use crate::records::identity::{EntityKind, EntityRecord, RoleRecord};
use crate::store::{KeyValue, StorageError};

/// A user, a group or a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    pub kind: EntityKind,
    pub name: String,
    /// `/`, or `/.../`.
    pub path: String,
    pub id: String,
    pub created_at_ms: i64,
    pub tags: BTreeMap<String, String>,
    /// Documents by the names of the policies.
    pub inline: BTreeMap<String, String>,
    /// ARNs of managed policies, sorted.
    pub attached: Vec<String>,
    /// Of a user: names, sorted.
    pub groups: Vec<String>,
    /// ARN of the permissions boundary.
    pub boundary: Option<String>,
    /// Of a role.
    pub role: Option<Role>,
}

/// What only roles have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Who may assume it: a policy.
    pub trust: String,
    pub description: String,
    pub max_session_s: u32,
    /// The service that it is for.
    pub service: Option<String>,
}

/// Everything that decides what a user or a role may by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The account's, before anything else was read: what is remembered of this
    /// is good for as long as the account's generation is the same.
    pub generation: u64,
    pub entity: Entity,
    /// Inline policies, those of the groups too.
    pub inline: Vec<String>,
    /// Managed policies, those of the groups too; each once.
    pub managed: Vec<Managed>,
    pub boundary: Option<Managed>,
}

/// A managed policy as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Managed {
    pub arn: String,
    /// None: it is AWS's own, and not kept here.
    pub document: Option<String>,
}

/// `None` for what has no policies, too.
pub fn entity(
    view: &dyn KeyValue,
    account: &AccountId,
    kind: EntityKind,
    name: &str,
) -> Result<Option<Entity>, StorageError> {
    // Only a valid name makes an unambiguous key.
    if name.contains('\0') {
        return Ok(None);
    }
    let key = keys::entity(account, kind, name);
    view.get(key.as_bytes())?
        .map(|value| entity_of(kind, key.as_bytes(), value))
        .transpose()
}

/// At most `limit` entities whose paths begin with `path_prefix` and whose names,
/// in lower case, sort after that of `after`, which need not be there.
pub fn entities(
    view: &dyn KeyValue,
    account: &AccountId,
    kind: EntityKind,
    path_prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Entity>, StorageError> {
    let prefix = keys::entities(account, kind);
    filtered(
        view,
        &prefix,
        after,
        limit,
        |key, value| entity_of(kind, key, value),
        |entity| entity.path.starts_with(path_prefix),
    )
}

/// At most `limit` users of a group, as `entities` orders them.
pub fn group_members(
    view: &dyn KeyValue,
    account: &AccountId,
    group: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Entity>, StorageError> {
    if group.contains('\0') {
        return Ok(Vec::new());
    }
    let prefix = keys::group_members(account, group);
    let start = after.map(|after| start_after(&prefix, after));
    let mut members = Vec::new();
    for (key, _) in read::page(view, &prefix, start.as_ref(), limit)? {
        let mut parts = Parts::of(&key);
        parts.account()?;
        parts.text("group")?;
        members.extend(entity(
            view,
            account,
            EntityKind::User,
            parts.text("user")?,
        )?);
    }
    Ok(members)
}

/// What a user or a role may by itself; `None` when there is none of that name.
pub fn permissions(
    view: &dyn KeyValue,
    account: &AccountId,
    kind: EntityKind,
    name: &str,
) -> Result<Option<Permissions>, StorageError> {
    let generation = generation(view, account)?;
    let Some(found) = entity(view, account, kind, name)? else {
        return Ok(None);
    };
    let mut inline: Vec<String> = found.inline.values().cloned().collect();
    let mut arns = found.attached.clone();
    for group in found.groups.iter().take(GROUPS_PER_USER_MAX) {
        if let Some(group) = entity(view, account, EntityKind::Group, group)? {
            inline.extend(group.inline.into_values());
            arns.extend(group.attached);
        }
    }
    arns.sort();
    arns.dedup();
    let mut managed = Vec::with_capacity(arns.len());
    for arn in arns {
        managed.extend(in_force(view, account, arn)?);
    }
    let boundary = match &found.boundary {
        Some(arn) => in_force(view, account, arn.clone())?,
        None => None,
    };
    Ok(Some(Permissions {
        generation,
        entity: found,
        inline,
        managed,
        boundary,
    }))
}

fn in_force(
    view: &dyn KeyValue,
    account: &AccountId,
    arn: String,
) -> Result<Option<Managed>, StorageError> {
    if arn.starts_with(AWS_POLICIES) {
        let document = None;
        return Ok(Some(Managed { arn, document }));
    }
    let Some(policy) = policy_by_arn(view, account, &arn)? else {
        return Ok(None);
    };
    let version = policy_version(view, account, &policy.name, policy.default_version)?;
    Ok(version.map(|version| Managed {
        arn,
        document: Some(version.document),
    }))
}

/// At most `limit` records under `prefix` that are wanted, after a name.
fn filtered<T>(
    view: &dyn KeyValue,
    prefix: &Key,
    after: Option<&str>,
    limit: usize,
    read_one: impl Fn(&[u8], Bytes) -> Result<T, StorageError>,
    wanted: impl Fn(&T) -> bool,
) -> Result<Vec<T>, StorageError> {
    let mut start = after.map(|after| start_after(prefix, after));
    let mut found = Vec::new();
    loop {
        let page = read::page(view, prefix, start.as_ref(), SCAN_PAGE)?;
        let is_last = page.len() < SCAN_PAGE;
        if let Some((last, _)) = page.last() {
            start = Some(Key::of(last.to_vec()).successor());
        }
        for (key, value) in page {
            if found.len() >= limit {
                return Ok(found);
            }
            let read = read_one(&key, value)?;
            if wanted(&read) {
                found.push(read);
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// Where a page goes on after a name that a client chose.
fn start_after(prefix: &Key, after: &str) -> Key {
    prefix.clone().name(&after.to_ascii_lowercase()).successor()
}

/// The pair of a key in namespace `Entity`.
fn entity_of(kind: EntityKind, key: &[u8], value: Bytes) -> Result<Entity, StorageError> {
    let record: EntityRecord = read::decode(key, value)?;
    Ok(Entity {
        kind,
        name: record.name,
        path: record.path,
        id: record.id,
        created_at_ms: record.created_at_ms,
        tags: record.tags,
        inline: record.inline,
        attached: record.attached,
        groups: record.groups,
        boundary: given(record.boundary),
        role: record.role.map(Role::from),
    })
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl From<RoleRecord> for Role {
    fn from(record: RoleRecord) -> Self {
        Self {
            trust: record.trust,
            description: record.description,
            max_session_s: record.max_session_s,
            service: given(record.service),
        }
    }
}
