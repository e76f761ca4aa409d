//! Who is in which group.

use entrepot_metadata::command::SetGroupMember;
use entrepot_metadata::query::{self, Entity, EntityKind};

use super::{Iam, IamError, Page};

impl Iam<'_> {
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`
    pub async fn add_to_group(&self, group: &str, user: &str) -> Result<(), IamError> {
        self.set_member("iam:AddUserToGroup", group, user, true)
            .await
    }

    /// # Errors
    /// `NoSuchEntity`, also when the user is not in the group.
    pub async fn remove_from_group(&self, group: &str, user: &str) -> Result<(), IamError> {
        self.set_member("iam:RemoveUserFromGroup", group, user, false)
            .await
    }

    async fn set_member(
        &self,
        action: &str,
        group: &str,
        user: &str,
        is_member: bool,
    ) -> Result<(), IamError> {
        let (view, group) = self.find(EntityKind::Group, group, action).await?;
        let found = query::entity(view.as_ref(), self.account(), EntityKind::User, user)?;
        let user = found.ok_or_else(|| IamError::unknown(EntityKind::User, user))?;
        let command = SetGroupMember {
            account: self.account().to_string(),
            group: group.name,
            user: user.name,
            is_member,
        };
        self.propose(command).await.map(drop)
    }

    /// A group and a page of its users, by name.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn group(
        &self,
        name: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Entity, Page<Entity>), IamError> {
        let (view, group) = self.find(EntityKind::Group, name, "iam:GetGroup").await?;
        let account = self.account();
        let members = query::group_members(view.as_ref(), account, &group.name, after, limit + 1)?;
        Ok((group, Page::of(members, limit)))
    }

    /// A page of the groups that a user is in, by name.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn groups_of(
        &self,
        user: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Entity>, IamError> {
        let action = "iam:ListGroupsForUser";
        let (view, user) = self.find(EntityKind::User, user, action).await?;
        let is_later = |name: &String| after.is_none_or(|after| name.as_str() > after);
        let names = Page::after(user.groups, is_later, limit);
        let mut items = Vec::with_capacity(names.items.len());
        for name in &names.items {
            let group = query::entity(view.as_ref(), self.account(), EntityKind::Group, name)?;
            items.extend(group);
        }
        Ok(Page {
            items,
            more: names.more,
        })
    }
}
