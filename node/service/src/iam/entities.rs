//! Users, groups and roles: they come, are listed, tagged, and go.

use std::sync::Arc;

use entrepot_access::UniqueId;
use entrepot_access::policy::Context;
use entrepot_metadata::KeyValue;
use entrepot_metadata::command::{CreateEntity, DeleteEntity, RoleSpec, TagEntity, UpdateEntity};
use entrepot_metadata::query::{self, Entity, EntityKind};

use super::{Iam, IamError, Page, Tags, of_tagged, unique_id, with_tags};

/// A user, a group or a role that is to be made.
#[derive(Clone, Debug)]
pub struct NewEntity {
    pub name: String,
    /// `/`, or `/.../`.
    pub path: String,
    /// Not of a group.
    pub tags: Tags,
    /// ARN of the permissions boundary. Not of a group.
    pub boundary: Option<String>,
}

impl Iam<'_> {
    pub async fn create_user(&self, new: NewEntity) -> Result<Entity, IamError> {
        self.create(EntityKind::User, new, None).await
    }

    pub async fn create_group(&self, new: NewEntity) -> Result<Entity, IamError> {
        self.create(EntityKind::Group, new, None).await
    }

    /// # Errors
    /// `EntityExists`, `LimitExceeded`; `NoSuchEntity` of the boundary.
    pub(super) async fn create(
        &self,
        kind: EntityKind,
        new: NewEntity,
        role: Option<RoleSpec>,
    ) -> Result<Entity, IamError> {
        let arn = self.arn(kind, &new.path, &new.name);
        let mut context = with_tags(Context::new(), &new.tags);
        if let Some(boundary) = &new.boundary {
            context.insert("iam:PermissionsBoundary", boundary.as_str());
        }
        self.authorize(&action("Create", kind, ""), &arn, &context)?;
        if !new.tags.is_empty() {
            self.authorize(&action("Tag", kind, ""), &arn, &context)?;
        }
        check_tags(&new.tags)?;
        if let Some(role) = &role {
            self.check_trust(&role.trust).await?;
        }
        if let Some(boundary) = &new.boundary {
            self.bounding(kind, boundary).await?;
        }
        let command = CreateEntity {
            account: self.account().to_string(),
            kind: kind.into(),
            id: unique_id(unique(kind))?,
            at_ms: self.now_ms(),
            tags: new.tags,
            boundary: new.boundary.unwrap_or_default(),
            path: new.path,
            role,
            name: new.name.clone(),
            attached: Vec::new(),
        };
        self.propose(command).await?;
        let made = query::entity(self.local()?.as_ref(), self.account(), kind, &new.name)?;
        made.ok_or_else(|| IamError::unknown(kind, &new.name))
    }

    /// # Errors
    /// `NoSuchEntity`
    pub async fn entity(&self, kind: EntityKind, name: &str) -> Result<Entity, IamError> {
        self.entity_for(kind, name, &action("Get", kind, "")).await
    }

    /// The same for whoever asks for something of it.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn entity_for(
        &self,
        kind: EntityKind,
        name: &str,
        action: &str,
    ) -> Result<Entity, IamError> {
        Ok(self.find(kind, name, action).await?.1)
    }

    /// A page of those whose paths begin with `path_prefix`, by name.
    pub async fn entities(
        &self,
        kind: EntityKind,
        path_prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Entity>, IamError> {
        let arn = self.arn(kind, path_prefix, "");
        self.authorize(&action("List", kind, "s"), &arn, &Context::new())?;
        let view = self.view().await?;
        let account = self.account();
        let found = query::entities(view.as_ref(), account, kind, path_prefix, after, limit + 1)?;
        Ok(Page::of(found, limit))
    }

    /// # Errors
    /// `NoSuchEntity`; `DeleteConflict` while it has anything.
    pub async fn delete(&self, kind: EntityKind, name: &str) -> Result<(), IamError> {
        let (_, entity) = self.find(kind, name, &action("Delete", kind, "")).await?;
        modifiable(&entity)?;
        let command = DeleteEntity {
            account: self.account().to_string(),
            kind: kind.into(),
            name: entity.name,
        };
        self.propose(command).await.map(drop)
    }

    /// Gives a user or a group another name, another path, or both.
    ///
    /// # Errors
    /// `NoSuchEntity`, `EntityExists`
    pub async fn update(
        &self,
        kind: EntityKind,
        name: &str,
        new_name: Option<String>,
        new_path: Option<String>,
    ) -> Result<(), IamError> {
        let action = action("Update", kind, "");
        let (_, entity) = self.find(kind, name, &action).await?;
        if new_name.is_none() && new_path.is_none() {
            return Ok(());
        }
        // As what it becomes, too: a policy may keep callers to a path.
        let path = new_path.as_ref().unwrap_or(&entity.path);
        let arn = self.arn(kind, path, new_name.as_ref().unwrap_or(&entity.name));
        self.authorize(&action, &arn, &of_tagged(&entity.tags))?;
        let command = UpdateEntity {
            account: self.account().to_string(),
            kind: kind.into(),
            name: entity.name,
            new_name,
            new_path,
        };
        self.propose(command).await.map(drop)
    }

    /// Gives tags to a user or a role. A key that is there in another case is the
    /// same key.
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`, `InvalidInput`
    pub async fn tag(&self, kind: EntityKind, name: &str, tags: Tags) -> Result<(), IamError> {
        let context = with_tags(Context::new(), &tags);
        let action = action("Tag", kind, "");
        let (_, entity) = self.find_with(kind, name, &action, context).await?;
        check_tags(&tags)?;
        let command = TagEntity {
            account: self.account().to_string(),
            kind: kind.into(),
            name: entity.name,
            remove: replaced(&entity.tags, &tags),
            set: tags,
        };
        self.propose(command).await.map(drop)
    }

    /// Takes tags from a user or a role; what is not there is fine.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn untag(
        &self,
        kind: EntityKind,
        name: &str,
        keys: &[String],
    ) -> Result<(), IamError> {
        let mut context = Context::new();
        for key in keys {
            context.insert("aws:TagKeys", key.as_str());
        }
        let action = action("Untag", kind, "");
        let (_, entity) = self.find_with(kind, name, &action, context).await?;
        let command = TagEntity {
            account: self.account().to_string(),
            kind: kind.into(),
            name: entity.name,
            set: Tags::new(),
            remove: same(&entity.tags, keys),
        };
        self.propose(command).await.map(drop)
    }

    /// A page of the tags of a user or a role.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn tags(
        &self,
        kind: EntityKind,
        name: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, String)>, IamError> {
        let (_, entity) = self.find(kind, name, &action("List", kind, "Tags")).await?;
        let is_later = |tag: &(String, String)| after.is_none_or(|after| tag.0.as_str() > after);
        Ok(Page::after(entity.tags, is_later, limit))
    }

    /// One that the caller may act on, and what it was read from.
    pub(super) async fn find(
        &self,
        kind: EntityKind,
        name: &str,
        action: &str,
    ) -> Result<(Arc<dyn KeyValue>, Entity), IamError> {
        self.find_with(kind, name, action, Context::new()).await
    }

    /// The same for a request that says more of itself.
    pub(super) async fn find_with(
        &self,
        kind: EntityKind,
        name: &str,
        action: &str,
        context: Context,
    ) -> Result<(Arc<dyn KeyValue>, Entity), IamError> {
        let context = |entity: Option<&Entity>| match entity {
            Some(entity) => context.and(of_tagged(&entity.tags)),
            None => context,
        };
        self.find_in(kind, name, action, context).await
    }

    /// The same where its policies change: whoever may do that is often kept to
    /// those who have a boundary.
    pub(super) async fn find_to_permit(
        &self,
        kind: EntityKind,
        name: &str,
        action: &str,
        context: Context,
    ) -> Result<(Arc<dyn KeyValue>, Entity), IamError> {
        let context = |entity: Option<&Entity>| {
            let Some(entity) = entity else { return context };
            let mut context = context.and(of_tagged(&entity.tags));
            if let Some(boundary) = &entity.boundary {
                context.insert("iam:PermissionsBoundary", boundary.as_str());
            }
            context
        };
        self.find_in(kind, name, action, context).await
    }

    /// `context`: what conditions can ask of what was found.
    async fn find_in(
        &self,
        kind: EntityKind,
        name: &str,
        action: &str,
        context: impl FnOnce(Option<&Entity>) -> Context,
    ) -> Result<(Arc<dyn KeyValue>, Entity), IamError> {
        let view = self.view().await?;
        let found = query::entity(view.as_ref(), self.account(), kind, name)?;
        let arn = match &found {
            Some(entity) => self.arn(kind, &entity.path, &entity.name),
            None => self.arn(kind, "/", name),
        };
        let permitted = self.authorize(action, &arn, &context(found.as_ref()));
        permitted.map_err(|error| error.without(&arn, &format!("{} {name}", kind.name())))?;
        let entity = found.ok_or_else(|| IamError::unknown(kind, name))?;
        Ok((view, entity))
    }
}

/// `iam:<verb><kind><rest>`
pub(super) fn action(verb: &str, kind: EntityKind, rest: &str) -> String {
    let kind = match kind {
        EntityKind::Group => "Group",
        EntityKind::Role => "Role",
        EntityKind::Policy => "Policy",
        _ => "User",
    };
    format!("iam:{verb}{kind}{rest}")
}

/// A service's role is the service's to change.
pub(super) fn modifiable(entity: &Entity) -> Result<(), IamError> {
    let service = entity.role.as_ref().and_then(|role| role.service.as_ref());
    match service {
        Some(_) => Err(IamError::Unmodifiable(entity.name.clone())),
        None => Ok(()),
    }
}

/// The prefix is AWS's own.
pub(super) fn check_tags(tags: &Tags) -> Result<(), IamError> {
    let is_reserved = |key: &String| key.to_ascii_lowercase().starts_with("aws:");
    if tags.keys().any(is_reserved) {
        return Err(IamError::InvalidInput(
            "aws: prefixed tag key names are not allowed for external use.".to_owned(),
        ));
    }
    let mut seen: Vec<String> = tags.keys().map(|key| key.to_lowercase()).collect();
    seen.sort();
    if seen.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(IamError::InvalidInput(
            "Duplicate tag keys found. Please note that Tag keys are case insensitive.".to_owned(),
        ));
    }
    Ok(())
}

/// Keys of `before` that are those of `tags` in another case.
pub(super) fn replaced(before: &Tags, tags: &Tags) -> Vec<String> {
    let keys: Vec<String> = tags.keys().cloned().collect();
    let mut same = same(before, &keys);
    same.retain(|key| !tags.contains_key(key));
    same
}

/// Keys of `before` that are one of `keys`, in any case.
pub(super) fn same(before: &Tags, keys: &[String]) -> Vec<String> {
    let keys: Vec<String> = keys.iter().map(|key| key.to_lowercase()).collect();
    let is_one = |key: &&String| keys.contains(&key.to_lowercase());
    before.keys().filter(is_one).cloned().collect()
}

fn unique(kind: EntityKind) -> UniqueId {
    match kind {
        EntityKind::Group => UniqueId::Group,
        EntityKind::Role => UniqueId::Role,
        _ => UniqueId::User,
    }
}
