//! Access keys of users and of root users. A secret is told once, to whoever had
//! the key made.

use std::sync::Arc;

use entrepot_access::policy::Context;
use entrepot_access::{AccessKey, Identity};
use entrepot_metadata::KeyValue;
use entrepot_metadata::command::{
    CreateAccessKey, DeleteAccessKey, NewAccessKey, SetAccessKeyState,
};
use entrepot_metadata::query::{self, AccessKeyState, Entity, EntityKind};

use super::{Iam, IamError, Page};
use crate::ServiceError;

/// Whose keys are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// The account's root user.
    Root {
        /// The account's.
        created_at_ms: i64,
    },
    User(Box<Entity>),
}

/// An access key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    pub id: String,
    pub state: AccessKeyState,
    pub created_at_ms: i64,
}

impl Iam<'_> {
    /// The caller, or the user of that name.
    ///
    /// # Errors
    /// `NoSuchEntity`; `Validation` for a session of a role that names nobody.
    pub async fn user(&self, name: Option<&str>) -> Result<KeyOwner, IamError> {
        Ok(self.owner(name, "iam:GetUser").await?.1)
    }

    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`
    pub async fn create_key(
        &self,
        user: Option<&str>,
    ) -> Result<(KeyOwner, KeyInfo, AccessKey), IamError> {
        let (_, owner) = self.owner(user, "iam:CreateAccessKey").await?;
        let key = AccessKey::generate(self.account());
        let key = key.map_err(|error| ServiceError::internal(&error))?;
        let sealed = key
            .seal(&self.registry.sealing)
            .map_err(|error| ServiceError::internal(&error))?;
        let new = NewAccessKey::new(&key.id, sealed);
        let at_ms = self.now_ms();
        self.propose(CreateAccessKey::new(
            self.account(),
            owner.name(),
            new,
            at_ms,
        ))
        .await?;
        let info = KeyInfo {
            id: key.id.clone(),
            state: AccessKeyState::Active,
            created_at_ms: at_ms,
        };
        Ok((owner, info, key))
    }

    /// A page of them, by id.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn keys(
        &self,
        user: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(KeyOwner, Page<KeyInfo>), IamError> {
        let (view, owner) = self.owner(user, "iam:ListAccessKeys").await?;
        let keys = query::access_keys(view.as_ref(), self.account(), owner.name())?;
        let is_later = |key: &query::AccessKey| after.is_none_or(|after| key.id.as_str() > after);
        let page = Page::after(keys, is_later, limit);
        Ok((owner, page.map(KeyInfo::from)))
    }

    /// Lets nobody in by a key any more, or again.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn set_key_state(
        &self,
        user: Option<&str>,
        id: &str,
        state: AccessKeyState,
    ) -> Result<(), IamError> {
        let (_, owner) = self.owner(user, "iam:UpdateAccessKey").await?;
        let command = SetAccessKeyState::new(self.account(), owner.name(), id, state);
        self.propose(command).await.map(drop)
    }

    /// # Errors
    /// `NoSuchEntity`
    pub async fn delete_key(&self, user: Option<&str>, id: &str) -> Result<(), IamError> {
        let (_, owner) = self.owner(user, "iam:DeleteAccessKey").await?;
        let command = DeleteAccessKey::new(self.account(), owner.name(), id);
        self.propose(command).await.map(drop)
    }

    /// Whose a key is.
    ///
    /// # Errors
    /// `Denied`, also for a key that nobody of this account has.
    pub async fn key_owner(&self, id: &str) -> Result<KeyOwner, IamError> {
        let view = self.view().await?;
        let found = query::access_key(view.as_ref(), id)?;
        let found = found.filter(|key| key.account == *self.account());
        let name = found.as_ref().map_or("*", |key| key.owner.as_str());
        let owner = query::entity(view.as_ref(), self.account(), EntityKind::User, name)?;
        let arn = match &owner {
            Some(user) => self.arn(EntityKind::User, &user.path, &user.name),
            None => self.arn(EntityKind::User, "/", "*"),
        };
        let permitted = self.authorize("iam:GetAccessKeyLastUsed", &arn, &Context::new());
        permitted.map_err(|error| error.without(&arn, &format!("access key {id}")))?;
        match (found, owner) {
            (Some(_), Some(user)) => Ok(KeyOwner::User(Box::new(user))),
            (Some(key), None) if key.owner.is_empty() => self.root(view.as_ref()),
            // As AWS says it, of a key of another account too.
            _ => {
                let text = format!(
                    "User: {} is not authorized to perform: iam:GetAccessKeyLastUsed on resource: \
                     access key {id}",
                    self.who.principal
                );
                Err(ServiceError::Denied(text).into())
            }
        }
    }

    fn root(&self, view: &dyn KeyValue) -> Result<KeyOwner, IamError> {
        let account = query::account(view, self.account())?;
        Ok(KeyOwner::Root {
            created_at_ms: account.map_or(0, |account| account.created_at_ms),
        })
    }

    /// The caller themselves, unless they name a user.
    async fn owner(
        &self,
        user: Option<&str>,
        action: &str,
    ) -> Result<(Arc<dyn KeyValue>, KeyOwner), IamError> {
        let own = match (&self.who.principal.identity, user) {
            (_, Some(user)) => user,
            (Identity::User(user), None) => user.name.as_str(),
            (Identity::Root, None) => {
                self.authorize(action, &self.who.principal.arn(), &Context::new())?;
                let view = self.view().await?;
                let root = self.root(view.as_ref())?;
                return Ok((view, root));
            }
            _ => {
                return Err(IamError::Validation(
                    "Must specify userName when calling with non-User credentials".to_owned(),
                ));
            }
        };
        let (view, user) = self.find(EntityKind::User, own, action).await?;
        Ok((view, KeyOwner::User(Box::new(user))))
    }
}

// === impl KeyOwner ===

impl KeyOwner {
    /// As keys are kept: empty of the root user.
    fn name(&self) -> &str {
        match self {
            Self::Root { .. } => "",
            Self::User(user) => &user.name,
        }
    }
}

impl From<query::AccessKey> for KeyInfo {
    fn from(key: query::AccessKey) -> Self {
        Self {
            id: key.id,
            state: key.state,
            created_at_ms: key.created_at_ms,
        }
    }
}
