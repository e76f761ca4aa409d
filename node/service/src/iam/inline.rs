//! Policies that belong to one user, group or role.

use entrepot_access::policy::{
    Context, DocumentKind, INLINE_GROUP_CHARS_MAX, INLINE_ROLE_CHARS_MAX, INLINE_USER_CHARS_MAX,
};
use entrepot_metadata::command::{DeleteInlinePolicy, PutInlinePolicy};
use entrepot_metadata::query::EntityKind;

use super::entities::{action, modifiable};
use super::{Iam, IamError, Page, document};

impl Iam<'_> {
    /// Makes or replaces one.
    ///
    /// # Errors
    /// `NoSuchEntity`, `MalformedPolicy`; `LimitExceeded` when all of one identity
    /// are too large together; `Unmodifiable`
    pub async fn put_inline(
        &self,
        kind: EntityKind,
        name: &str,
        policy: &str,
        text: &str,
    ) -> Result<(), IamError> {
        let action = action("Put", kind, "Policy");
        let found = self.find_to_permit(kind, name, &action, Context::new());
        let (_, entity) = found.await?;
        modifiable(&entity)?;
        document(text, DocumentKind::Inline).map_err(|error| too_large(kind, name, error))?;
        let command = PutInlinePolicy {
            account: self.account().to_string(),
            kind: kind.into(),
            name: entity.name.clone(),
            policy: policy.to_owned(),
            document: text.to_owned(),
        };
        let done = self.propose(command).await.map(drop);
        done.map_err(|error| too_large(kind, &entity.name, error))
    }

    /// The document of one.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn inline(
        &self,
        kind: EntityKind,
        name: &str,
        policy: &str,
    ) -> Result<String, IamError> {
        let action = action("Get", kind, "Policy");
        let (_, mut entity) = self.find(kind, name, &action).await?;
        let found = entity.inline.remove(policy);
        found.ok_or_else(|| unknown(kind, policy))
    }

    /// # Errors
    /// `NoSuchEntity`, `Unmodifiable`
    pub async fn delete_inline(
        &self,
        kind: EntityKind,
        name: &str,
        policy: &str,
    ) -> Result<(), IamError> {
        let action = action("Delete", kind, "Policy");
        let found = self.find_to_permit(kind, name, &action, Context::new());
        let (_, entity) = found.await?;
        modifiable(&entity)?;
        if !entity.inline.contains_key(policy) {
            return Err(unknown(kind, policy));
        }
        let command = DeleteInlinePolicy {
            account: self.account().to_string(),
            kind: kind.into(),
            name: entity.name,
            policy: policy.to_owned(),
        };
        self.propose(command).await.map(drop)
    }

    /// A page of their names.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn inline_names(
        &self,
        kind: EntityKind,
        name: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, IamError> {
        let action = action("List", kind, "Policies");
        let (_, entity) = self.find(kind, name, &action).await?;
        let is_later = |name: &String| after.is_none_or(|after| name.as_str() > after);
        Ok(Page::after(entity.inline.into_keys(), is_later, limit))
    }
}

/// All quotas here are of sizes, but for the number of policies.
fn too_large(kind: EntityKind, name: &str, error: IamError) -> IamError {
    let max = match kind {
        EntityKind::Group => INLINE_GROUP_CHARS_MAX,
        EntityKind::Role => INLINE_ROLE_CHARS_MAX,
        _ => INLINE_USER_CHARS_MAX,
    };
    match error {
        IamError::LimitExceeded(text) if text.contains("PolicySize") => {
            IamError::LimitExceeded(format!(
                "Maximum policy size of {max} bytes exceeded for {} {name}",
                kind.name()
            ))
        }
        other => other,
    }
}

fn unknown(kind: EntityKind, policy: &str) -> IamError {
    IamError::NoSuchEntity(format!(
        "The {} policy with name {policy} cannot be found.",
        kind.name()
    ))
}
