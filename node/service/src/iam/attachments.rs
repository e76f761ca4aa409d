//! Which managed policies users, groups and roles have, and what bounds them.

use entrepot_access::policy::{Context, managed_policy};
use entrepot_metadata::command::{AttachPolicy, DetachPolicy};
use entrepot_metadata::query::{self, AWS_POLICIES, EntityKind, PolicyUser};

use super::entities::{action, modifiable};
use super::managed::SERVICE_ROLE_PATH;
use super::{Iam, IamError, Page};

impl Iam<'_> {
    /// One that is attached already is fine.
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`, `Unmodifiable`; `NotAttachable` for the
    /// policies of services' roles.
    pub async fn attach(&self, kind: EntityKind, name: &str, arn: &str) -> Result<(), IamError> {
        let context = Context::new().with("iam:PolicyARN", arn);
        let action = action("Attach", kind, "Policy");
        let (_, entity) = self.find_to_permit(kind, name, &action, context).await?;
        modifiable(&entity)?;
        self.attachable(arn).await?;
        let command = AttachPolicy {
            account: self.account().to_string(),
            kind: kind.into(),
            name: entity.name,
            policy_arn: arn.to_owned(),
        };
        self.propose(command).await.map(drop)
    }

    /// # Errors
    /// `NoSuchEntity`, also when it is not attached; `Unmodifiable`
    pub async fn detach(&self, kind: EntityKind, name: &str, arn: &str) -> Result<(), IamError> {
        let context = Context::new().with("iam:PolicyARN", arn);
        let action = action("Detach", kind, "Policy");
        let (_, entity) = self.find_to_permit(kind, name, &action, context).await?;
        modifiable(&entity)?;
        let command = DetachPolicy {
            account: self.account().to_string(),
            kind: kind.into(),
            name: entity.name,
            policy_arn: arn.to_owned(),
        };
        self.propose(command).await.map(drop)
    }

    /// A page of the ARNs of what is attached, of policies whose paths begin with
    /// `path_prefix`.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn attached(
        &self,
        kind: EntityKind,
        name: &str,
        path_prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, IamError> {
        let (verb, rest) = ("ListAttached", "Policies");
        let (_, entity) = self.find(kind, name, &action(verb, kind, rest)).await?;
        let wanted = |arn: &String| {
            let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
            let path = resource.strip_prefix("policy").unwrap_or_default();
            path.starts_with(path_prefix) && after.is_none_or(|after| arn.as_str() > after)
        };
        Ok(Page::after(entity.attached, wanted, limit))
    }

    /// A page of those who have the policy of that ARN, as they are called, with
    /// their ids.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn policy_users(
        &self,
        arn: &str,
        wanted: impl Fn(&PolicyUser, &str) -> bool,
        after: Option<&PolicyUser>,
        limit: usize,
    ) -> Result<Page<(PolicyUser, query::Entity)>, IamError> {
        self.authorize("iam:ListEntitiesForPolicy", arn, &Context::new())?;
        let view = self.view().await?;
        self.known(view.as_ref(), arn)?;
        let account = self.account();
        let mut after = after.cloned();
        let mut found = Vec::new();
        loop {
            let page = query::policy_users(view.as_ref(), account, arn, after.as_ref(), limit + 1)?;
            let is_last = page.len() <= limit;
            after = page.last().cloned();
            for user in page {
                let entity = query::entity(view.as_ref(), account, user.kind, &user.name)?;
                let Some(entity) = entity else { continue };
                if wanted(&user, &entity.path) {
                    found.push((user, entity));
                }
                if found.len() > limit {
                    return Ok(Page::of(found, limit));
                }
            }
            if is_last {
                return Ok(Page::of(found, limit));
            }
        }
    }

    /// That there is such a policy, and that anybody may have it.
    async fn attachable(&self, arn: &str) -> Result<(), IamError> {
        if let Some((policy, _)) = managed_policy(arn) {
            if policy.path == SERVICE_ROLE_PATH {
                return Err(IamError::NotAttachable(
                    "Cannot attach a Service Role Policy to a Customer Role.".to_owned(),
                ));
            }
            return Ok(());
        }
        if self.is_known(arn).await? {
            return Ok(());
        }
        Err(IamError::unknown(EntityKind::Policy, arn))
    }

    /// That there is such a policy, to bound what is to be made.
    pub(super) async fn bounding(&self, kind: EntityKind, arn: &str) -> Result<(), IamError> {
        if self.is_known(arn).await? {
            return Ok(());
        }
        let text = format!("Scope ARN: {arn} does not exist or is not attachable.");
        Err(match kind {
            // Of a role, that is none of the errors that there may be.
            EntityKind::Role => IamError::InvalidInput(text),
            _ => IamError::NoSuchEntity(text),
        })
    }

    async fn is_known(&self, arn: &str) -> Result<bool, IamError> {
        if arn.starts_with(AWS_POLICIES) {
            let found = managed_policy(arn);
            return Ok(found.is_some_and(|(policy, _)| policy.path != SERVICE_ROLE_PATH));
        }
        let view = self.view().await?;
        Ok(query::policy_by_arn(view.as_ref(), self.account(), arn)?.is_some())
    }
}
