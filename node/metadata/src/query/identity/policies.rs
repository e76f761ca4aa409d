//! Managed policies of an account.

use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_oci::AccountId;

use super::{filtered, start_after};
use crate::keys::{self, Parts, PolicyUse};
use crate::limits::POLICY_VERSIONS_MAX;
use crate::read;
use crate::records::identity::{EntityKind, PolicyRecord, PolicyVersionRecord};
use crate::store::{KeyValue, StorageError};

/// What the ARNs of AWS's own policies begin with; they are not kept here.
pub const AWS_POLICIES: &str = "arn:aws:iam::aws:policy/";

/// A managed policy of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    /// `/`, or `/.../`.
    pub path: String,
    pub id: String,
    pub description: String,
    /// The one that is in force.
    pub default_version: u64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersion {
    pub version: u64,
    pub document: String,
    pub created_at_ms: i64,
}

/// Who has a managed policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyUser {
    pub kind: EntityKind,
    /// In lower case.
    pub name: String,
    /// As a boundary; else it is attached.
    pub is_boundary: bool,
}

pub fn policy_arn(account: &AccountId, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:policy{path}{name}")
}

pub fn policy(
    view: &dyn KeyValue,
    account: &AccountId,
    name: &str,
) -> Result<Option<Policy>, StorageError> {
    // Only a valid name makes an unambiguous key.
    if name.contains('\0') {
        return Ok(None);
    }
    let key = keys::policy(account, name);
    view.get(key.as_bytes())?
        .map(|value| policy_of(key.as_bytes(), value))
        .transpose()
}

/// The account's policy of that very ARN.
pub fn policy_by_arn(
    view: &dyn KeyValue,
    account: &AccountId,
    arn: &str,
) -> Result<Option<Policy>, StorageError> {
    let Some((_, name)) = arn.rsplit_once('/') else {
        return Ok(None);
    };
    let found = policy(view, account, name)?;
    Ok(found.filter(|policy| policy_arn(account, &policy.path, &policy.name) == arn))
}

/// At most `limit` policies whose paths begin with `path_prefix` and whose names,
/// in lower case, sort after that of `after`.
pub fn policies(
    view: &dyn KeyValue,
    account: &AccountId,
    path_prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Policy>, StorageError> {
    let prefix = keys::policies(account);
    filtered(view, &prefix, after, limit, policy_of, |policy| {
        policy.path.starts_with(path_prefix)
    })
}

pub fn policy_version(
    view: &dyn KeyValue,
    account: &AccountId,
    name: &str,
    version: u64,
) -> Result<Option<PolicyVersion>, StorageError> {
    if name.contains('\0') {
        return Ok(None);
    }
    let key = keys::policy_version(account, name, version);
    let found: Option<PolicyVersionRecord> = read::record(view, &key)?;
    Ok(found.map(|record| PolicyVersion::new(version, record)))
}

/// All versions of a policy, oldest first; at most [`POLICY_VERSIONS_MAX`].
pub fn policy_versions(
    view: &dyn KeyValue,
    account: &AccountId,
    name: &str,
) -> Result<Vec<PolicyVersion>, StorageError> {
    if name.contains('\0') {
        return Ok(Vec::new());
    }
    let prefix = keys::policy_versions(account, name);
    read::page(view, &prefix, None, POLICY_VERSIONS_MAX)?
        .into_iter()
        .map(|(key, value)| {
            let mut parts = Parts::of(&key);
            parts.account()?;
            parts.text("policy")?;
            let version = parts.number()?;
            Ok(PolicyVersion::new(version, read::decode(&key, value)?))
        })
        .collect()
}

/// At most `limit` of those who have the policy of that ARN: first by how they
/// have it, then by what they are, then by their names.
pub fn policy_users(
    view: &dyn KeyValue,
    account: &AccountId,
    arn: &str,
    after: Option<&PolicyUser>,
    limit: usize,
) -> Result<Vec<PolicyUser>, StorageError> {
    if arn.contains('\0') {
        return Ok(Vec::new());
    }
    let prefix = keys::policy_uses(account, arn);
    let start = after.map(|after| {
        let how = if after.is_boundary {
            PolicyUse::Boundary
        } else {
            PolicyUse::Attached
        };
        let key = prefix.clone().raw(&[how as u8, after.kind.byte()]);
        start_after(&key, &after.name)
    });
    read::page(view, &prefix, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, _)| policy_user_of(&key))
        .collect()
}

/// A key in namespace `PolicyUse`.
pub(crate) fn policy_user_of(key: &[u8]) -> Result<PolicyUser, StorageError> {
    let corrupt = || StorageError::corrupt(key, "who has a policy");
    let mut parts = Parts::of(key);
    parts.account()?;
    parts.text("policy")?;
    let [how, kind] = parts.array::<2>()?;
    let is_boundary = match how {
        1 => false,
        2 => true,
        _ => return Err(corrupt()),
    };
    let kind = EntityKind::of_byte(kind).ok_or_else(corrupt)?;
    let name = parts.text("name")?.to_owned();
    parts.end()?;
    Ok(PolicyUser {
        kind,
        name,
        is_boundary,
    })
}

/// The pair of a key in namespace `Policy`.
fn policy_of(key: &[u8], value: Bytes) -> Result<Policy, StorageError> {
    let record: PolicyRecord = read::decode(key, value)?;
    Ok(Policy {
        name: record.name,
        path: record.path,
        id: record.id,
        description: record.description,
        default_version: record.default_version,
        created_at_ms: record.created_at_ms,
        updated_at_ms: record.updated_at_ms,
        tags: record.tags,
    })
}

// === impl PolicyVersion ===

impl PolicyVersion {
    fn new(version: u64, record: PolicyVersionRecord) -> Self {
        Self {
            version,
            document: record.document,
            created_at_ms: record.created_at_ms,
        }
    }
}
