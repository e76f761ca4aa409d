//! Roles: who may assume them, and for how long.

use entrepot_access::Arn;
use entrepot_access::policy::DocumentKind;
use entrepot_metadata::KeyValue;
use entrepot_metadata::command::{RoleSpec, UpdateRole};
use entrepot_metadata::query::{self, Entity, EntityKind};

use super::entities::modifiable;
use super::{Iam, IamError, NewEntity, document};

/// What only roles have.
#[derive(Clone, Debug)]
pub struct NewRole {
    /// Who may assume it: a policy.
    pub trust: String,
    pub description: String,
    pub max_session_s: u32,
}

/// What of a role is to change; what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct RoleChange {
    pub trust: Option<String>,
    pub description: Option<String>,
    pub max_session_s: Option<u32>,
}

impl Iam<'_> {
    /// # Errors
    /// `EntityExists`, `LimitExceeded`, `MalformedPolicy`; `NoSuchEntity` of the
    /// boundary.
    pub async fn create_role(&self, new: NewEntity, role: NewRole) -> Result<Entity, IamError> {
        let spec = RoleSpec {
            trust: role.trust,
            description: role.description,
            max_session_s: role.max_session_s,
            service: String::new(),
        };
        self.create(EntityKind::Role, new, Some(spec)).await
    }

    /// `action`: under which name the caller asks for it.
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`, `MalformedPolicy`, `Unmodifiable`
    pub async fn update_role(
        &self,
        action: &str,
        name: &str,
        change: RoleChange,
    ) -> Result<Entity, IamError> {
        let (_, entity) = self.find(EntityKind::Role, name, action).await?;
        modifiable(&entity)?;
        if let Some(trust) = &change.trust {
            self.check_trust(trust).await?;
        }
        let command = UpdateRole {
            account: self.account().to_string(),
            name: entity.name.clone(),
            trust: change.trust,
            description: change.description,
            max_session_s: change.max_session_s,
        };
        self.propose(command).await?;
        let (view, kind) = (self.local()?, EntityKind::Role);
        let after = query::entity(view.as_ref(), self.account(), kind, &entity.name)?;
        after.ok_or_else(|| IamError::unknown(kind, &entity.name))
    }

    /// That it is a trust policy, and that whom it names is there.
    pub(super) async fn check_trust(&self, text: &str) -> Result<(), IamError> {
        let trust = document(text, DocumentKind::Trust)?;
        let view = self.view().await?;
        for arn in trust.identities() {
            if !is_identity(view.as_ref(), arn)? {
                return Err(IamError::MalformedPolicy(format!(
                    "Invalid principal in policy: \"AWS\":\"{arn}\""
                )));
            }
        }
        Ok(())
    }
}

/// Whether there is a user or a role of that very ARN, in any account.
fn is_identity(view: &dyn KeyValue, text: &str) -> Result<bool, IamError> {
    let Ok(arn) = text.parse::<Arn>() else {
        return Ok(false);
    };
    let (Some(account), Some((kind, name))) = (arn.account_id(), named(arn.resource())) else {
        return Ok(false);
    };
    let found = query::entity(view, &account, kind, name)?;
    let of = |it: Entity| format!("{}{}{}", kind.name(), it.path, it.name);
    Ok(found.is_some_and(|entity| of(entity) == arn.resource()))
}

/// Of `user/<path><name>` and `role/<path><name>`.
pub(super) fn named(resource: &str) -> Option<(EntityKind, &str)> {
    let (kind, rest) = resource.split_once('/')?;
    let kind = match kind {
        "user" => EntityKind::User,
        "group" => EntityKind::Group,
        "role" => EntityKind::Role,
        _ => return None,
    };
    let name = rest.rsplit('/').next()?;
    Some((kind, name))
}
