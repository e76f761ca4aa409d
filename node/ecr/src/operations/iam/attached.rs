//! Which managed policies users, groups and roles have.

use entrepot_service::iam::{EntityKind, PolicyUser};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Kind, Named, Nothing, Part, failed, iam};
use crate::call::Call;
use crate::error::ApiError;
use crate::page;

#[derive(Deserialize)]
pub(super) struct AttachInput {
    #[serde(flatten)]
    of: Named,
    #[serde(rename = "PolicyArn")]
    arn: String,
}

#[derive(Deserialize)]
pub(super) struct ListInput {
    #[serde(flatten)]
    of: Named,
    #[serde(rename = "PathPrefix")]
    path_prefix: Option<String>,
    #[serde(flatten)]
    part: Part,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EntitiesInput {
    policy_arn: String,
    entity_filter: Option<String>,
    path_prefix: Option<String>,
    policy_usage_filter: Option<String>,
    #[serde(flatten)]
    part: Part,
}

/// Who the last one of a page was.
#[derive(Serialize, Deserialize)]
struct Last(bool, u8, String);

pub(super) async fn attach<K: Kind>(call: &Call, input: AttachInput) -> Result<Nothing, ApiError> {
    let done = iam(call).attach(K::KIND, &input.of.name, &input.arn).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn detach<K: Kind>(call: &Call, input: AttachInput) -> Result<Nothing, ApiError> {
    let done = iam(call).detach(K::KIND, &input.of.name, &input.arn).await;
    done.map(|()| Nothing {})
        .map_err(|error| failed(call, &error))
}

pub(super) async fn list<K: Kind>(call: &Call, input: ListInput) -> Result<Value, ApiError> {
    let after: Option<String> = input.part.start()?;
    let (name, size) = (&input.of.name, input.part.size());
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let iam = iam(call);
    let page = iam.attached(K::KIND, name, prefix, after.as_deref(), size);
    let page = page.await.map_err(|error| failed(call, &error))?;
    let last = page.items.last().filter(|_| page.more).map(page::token);
    let shown = page.items.iter().map(|arn| {
        let name = arn.rsplit('/').next().unwrap_or_default();
        json!({ "PolicyName": name, "PolicyArn": arn })
    });
    Ok(json!({
        "AttachedPolicies": shown.collect::<Vec<_>>(),
        "IsTruncated": last.is_some(),
        "Marker": last,
    }))
}

/// Those who have a policy, each once.
pub(super) async fn entities(call: &Call, input: EntitiesInput) -> Result<Value, ApiError> {
    let after: Option<Last> = input.part.start()?;
    let after = after.and_then(Last::user);
    let usage = input.policy_usage_filter.as_deref();
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let kind = input.entity_filter.as_deref();
    let wanted = |user: &PolicyUser, path: &str| {
        let is_kind = match (kind, user.kind) {
            (Some("User"), kind) => kind == EntityKind::User,
            (Some("Group"), kind) => kind == EntityKind::Group,
            (Some("Role"), kind) => kind == EntityKind::Role,
            // No policies have policies.
            (Some(_), _) => false,
            (None, _) => true,
        };
        let is_used_so = match usage {
            Some("PermissionsPolicy") => !user.is_boundary,
            Some("PermissionsBoundary") => user.is_boundary,
            _ => true,
        };
        is_kind && is_used_so && path.starts_with(prefix)
    };
    let (arn, size) = (&input.policy_arn, input.part.size());
    let iam = iam(call);
    let page = iam.policy_users(arn, wanted, after.as_ref(), size);
    let page = page.await.map_err(|error| failed(call, &error))?;
    let last = page.items.last().filter(|_| page.more);
    let last = last.map(|(user, _)| page::token(&Last::of(user)));
    let (mut groups, mut users, mut roles) = (Vec::new(), Vec::new(), Vec::new());
    for (user, entity) in page.items {
        let (known, name, id) = match user.kind {
            EntityKind::Group => (&mut groups, "GroupName", "GroupId"),
            EntityKind::Role => (&mut roles, "RoleName", "RoleId"),
            _ => (&mut users, "UserName", "UserId"),
        };
        let shown = json!({ (name): entity.name, (id): entity.id });
        if !known.contains(&shown) {
            known.push(shown);
        }
    }
    Ok(json!({
        "PolicyGroups": groups,
        "PolicyUsers": users,
        "PolicyRoles": roles,
        "IsTruncated": last.is_some(),
        "Marker": last,
    }))
}

// === impl Last ===

impl Last {
    fn of(user: &PolicyUser) -> Self {
        let kind = match user.kind {
            EntityKind::Group => 1,
            EntityKind::Role => 2,
            _ => 0,
        };
        Self(user.is_boundary, kind, user.name.clone())
    }

    /// None: no page of ours ended so.
    fn user(self) -> Option<PolicyUser> {
        let kind = match self.1 {
            0 => EntityKind::User,
            1 => EntityKind::Group,
            2 => EntityKind::Role,
            _ => return None,
        };
        Some(PolicyUser {
            kind,
            name: self.2,
            is_boundary: self.0,
        })
    }
}
