//! IAM: users, groups, roles, access keys and policies of the caller's account.
//!
//! Owns what all of its operations have in common: pages, names of shapes, and
//! which code and status an error has. Documents are percent-encoded in answers,
//! as IAM's are (RFC 3986, section 2.1).

mod attached;
mod groups;
mod inline;
mod keys;
mod policies;
mod providers;
mod roles;
mod shapes;
mod simulate;
mod tags;
#[cfg(test)]
pub(super) mod tests;
mod users;
mod versions;

use std::fmt::Write as _;

use axum::http::StatusCode;
use entrepot_service::ServiceError;
use entrepot_service::iam::{Entity, EntityKind, Iam, IamError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Handler, works};
use crate::call::Call;
use crate::error::ApiError;
use crate::page;

/// Those of IAM.
pub(super) const TABLE: &[(&str, Handler)] = &[
    (
        "AddClientIDToOpenIDConnectProvider",
        works!(providers::add_client),
    ),
    ("AddUserToGroup", works!(groups::add)),
    ("AttachGroupPolicy", works!(attached::attach::<OfGroup>)),
    ("AttachRolePolicy", works!(attached::attach::<OfRole>)),
    ("AttachUserPolicy", works!(attached::attach::<OfUser>)),
    ("CreateAccessKey", works!(keys::create)),
    ("CreateGroup", works!(groups::create)),
    ("CreateOpenIDConnectProvider", works!(providers::create)),
    ("CreatePolicy", works!(policies::create)),
    ("CreatePolicyVersion", works!(versions::create)),
    ("CreateRole", works!(roles::create)),
    ("CreateServiceLinkedRole", works!(roles::create_linked)),
    ("CreateUser", works!(users::create)),
    ("DeleteAccessKey", works!(keys::delete)),
    ("DeleteGroup", works!(shapes::delete::<OfGroup>)),
    ("DeleteGroupPolicy", works!(inline::delete::<OfGroup>)),
    ("DeleteOpenIDConnectProvider", works!(providers::delete)),
    ("DeletePolicy", works!(policies::delete)),
    ("DeletePolicyVersion", works!(versions::delete)),
    ("DeleteRole", works!(shapes::delete::<OfRole>)),
    ("DeleteRolePolicy", works!(inline::delete::<OfRole>)),
    ("DeleteUser", works!(shapes::delete::<OfUser>)),
    ("DeleteUserPolicy", works!(inline::delete::<OfUser>)),
    ("DetachGroupPolicy", works!(attached::detach::<OfGroup>)),
    ("DetachRolePolicy", works!(attached::detach::<OfRole>)),
    ("DetachUserPolicy", works!(attached::detach::<OfUser>)),
    ("GetAccessKeyLastUsed", works!(keys::last_used)),
    ("GetGroup", works!(groups::get)),
    ("GetGroupPolicy", works!(inline::get::<OfGroup>)),
    ("GetOpenIDConnectProvider", works!(providers::get)),
    ("GetPolicy", works!(policies::get)),
    ("GetPolicyVersion", works!(versions::get)),
    ("GetRole", works!(roles::get)),
    ("GetRolePolicy", works!(inline::get::<OfRole>)),
    ("GetUser", works!(users::get)),
    ("GetUserPolicy", works!(inline::get::<OfUser>)),
    ("ListAccessKeys", works!(keys::list)),
    (
        "ListAttachedGroupPolicies",
        works!(attached::list::<OfGroup>),
    ),
    ("ListAttachedRolePolicies", works!(attached::list::<OfRole>)),
    ("ListAttachedUserPolicies", works!(attached::list::<OfUser>)),
    ("ListEntitiesForPolicy", works!(attached::entities)),
    ("ListGroupPolicies", works!(inline::list::<OfGroup>)),
    ("ListGroups", works!(groups::list)),
    ("ListGroupsForUser", works!(groups::of_user)),
    (
        "ListInstanceProfilesForRole",
        works!(roles::instance_profiles),
    ),
    ("ListOpenIDConnectProviders", works!(providers::list)),
    ("ListPolicies", works!(policies::list)),
    ("ListPolicyTags", works!(tags::of_policy)),
    ("ListPolicyVersions", works!(versions::list)),
    ("ListRolePolicies", works!(inline::list::<OfRole>)),
    ("ListRoleTags", works!(tags::list::<OfRole>)),
    ("ListRoles", works!(roles::list)),
    ("ListUserPolicies", works!(inline::list::<OfUser>)),
    ("ListUserTags", works!(tags::list::<OfUser>)),
    ("ListUsers", works!(users::list)),
    ("PutGroupPolicy", works!(inline::put::<OfGroup>)),
    ("PutRolePolicy", works!(inline::put::<OfRole>)),
    ("PutUserPolicy", works!(inline::put::<OfUser>)),
    (
        "RemoveClientIDFromOpenIDConnectProvider",
        works!(providers::remove_client),
    ),
    ("RemoveUserFromGroup", works!(groups::remove)),
    ("SetDefaultPolicyVersion", works!(versions::set_default)),
    ("SimulatePrincipalPolicy", works!(simulate::simulate)),
    ("TagPolicy", works!(tags::tag_policy)),
    ("TagRole", works!(tags::tag::<OfRole>)),
    ("TagUser", works!(tags::tag::<OfUser>)),
    ("UntagPolicy", works!(tags::untag_policy)),
    ("UntagRole", works!(tags::untag::<OfRole>)),
    ("UntagUser", works!(tags::untag::<OfUser>)),
    ("UpdateAccessKey", works!(keys::update)),
    ("UpdateAssumeRolePolicy", works!(roles::update_trust)),
    ("UpdateGroup", works!(groups::update)),
    (
        "UpdateOpenIDConnectProviderThumbprint",
        works!(providers::thumbprints),
    ),
    ("UpdateRole", works!(roles::update)),
    ("UpdateRoleDescription", works!(roles::update_description)),
    ("UpdateUser", works!(users::update)),
];

/// What an operation is about that there is for users, groups and roles alike.
trait Kind {
    const KIND: EntityKind;
    /// The member that its name is in.
    const NAME: &'static str;
}

struct OfUser;
struct OfGroup;
struct OfRole;

/// An answer that says nothing.
#[derive(Serialize)]
struct Nothing {}

/// Names a user, a group or a role.
#[derive(Deserialize)]
struct Named {
    #[serde(alias = "UserName", alias = "GroupName", alias = "RoleName")]
    name: String,
}

/// Which part of a list is wanted.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    marker: Option<String>,
    max_items: Option<i64>,
}

impl Kind for OfUser {
    const KIND: EntityKind = EntityKind::User;
    const NAME: &'static str = "UserName";
}

impl Kind for OfGroup {
    const KIND: EntityKind = EntityKind::Group;
    const NAME: &'static str = "GroupName";
}

impl Kind for OfRole {
    const KIND: EntityKind = EntityKind::Role;
    const NAME: &'static str = "RoleName";
}

// === impl Part ===

impl Part {
    /// After what.
    fn start<T: DeserializeOwned>(&self) -> Result<Option<T>, ApiError> {
        page::start(self.marker.as_deref())
            .map_err(|_| ApiError::new("ValidationError", "Invalid Marker."))
    }

    fn size(&self) -> usize {
        page::size(self.max_items)
    }
}

/// A part of a list of entities.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ByPath {
    path_prefix: Option<String>,
    #[serde(flatten)]
    part: Part,
}

/// The members of a list's answer.
///
/// `last`: what the next part comes after; none: that was the last one.
fn listed<T: Serialize>(name: &str, items: &[Value], last: Option<&T>) -> Value {
    json!({
        (name): items,
        "IsTruncated": last.is_some(),
        "Marker": last.map(page::token),
    })
}

/// A part of the entities of one kind, under the `name` that they have in answers.
async fn entities(
    call: &Call,
    kind: EntityKind,
    name: &str,
    input: ByPath,
    shown: fn(Iam<'_>, &Entity) -> Value,
) -> Result<Value, ApiError> {
    let iam = iam(call);
    let after: Option<String> = input.part.start()?;
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let size = input.part.size();
    let page = iam.entities(kind, prefix, after.as_deref(), size).await;
    let page = page.map_err(|error| failed(call, &error))?;
    let items: Vec<_> = page.items.iter().map(|it| shown(iam, it)).collect();
    let last = page.items.last().filter(|_| page.more);
    Ok(listed(name, &items, last.map(|it| &it.name)))
}

fn iam(call: &Call) -> Iam<'_> {
    call.registry.iam(&call.caller)
}

/// IAM counts in seconds.
pub(super) fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000)
}

/// Percent-encoded, all but what is never reserved.
fn encoded(document: &str) -> String {
    let mut text = String::with_capacity(2 * document.len());
    for byte in document.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// What a failed use case means to the client.
pub(super) fn failed(call: &Call, error: &IamError) -> ApiError {
    use IamError as E;
    let text = error.to_string();
    let (status, code) = match error {
        E::NoSuchEntity(_) | E::Service(ServiceError::NotFound(_)) => {
            (StatusCode::NOT_FOUND, "NoSuchEntity")
        }
        E::EntityExists(_) => (StatusCode::CONFLICT, "EntityAlreadyExists"),
        E::LimitExceeded(_) => (StatusCode::CONFLICT, "LimitExceeded"),
        E::DeleteConflict(_) => (StatusCode::CONFLICT, "DeleteConflict"),
        E::MalformedPolicy(_) => (StatusCode::BAD_REQUEST, "MalformedPolicyDocument"),
        E::PackedPolicyTooLarge(_) => (StatusCode::BAD_REQUEST, "PackedPolicyTooLarge"),
        E::InvalidInput(_) => (StatusCode::BAD_REQUEST, "InvalidInput"),
        E::Unmodifiable(_) => (StatusCode::BAD_REQUEST, "UnmodifiableEntity"),
        E::InvalidIdentityToken(_) => (StatusCode::BAD_REQUEST, "InvalidIdentityToken"),
        E::ExpiredIdentityToken(_) => (StatusCode::BAD_REQUEST, "ExpiredTokenException"),
        E::IdentityProviderSilent(_) => (StatusCode::BAD_REQUEST, "IDPCommunicationError"),
        E::NotAttachable(_) => (StatusCode::BAD_REQUEST, "PolicyNotAttachable"),
        E::Validation(_) | E::Service(ServiceError::Invalid(_)) => {
            (StatusCode::BAD_REQUEST, "ValidationError")
        }
        E::Service(ServiceError::Denied(_)) => (StatusCode::FORBIDDEN, "AccessDenied"),
        // Clients try again by themselves.
        E::Service(ServiceError::Unavailable { .. }) => {
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
        }
        E::Service(_) => return ApiError::internal(call.api),
    };
    ApiError::with_status(status, code, text)
}
