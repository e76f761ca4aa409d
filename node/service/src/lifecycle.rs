//! Lifecycle policies: their grammar, where they are kept, what they say, and that
//! it is done.
//!
//! Owns ECR's words for what is wrong with one: those of the schema that it holds
//! policies against. A policy is kept with its rules in the order of their
//! priorities.

mod evaluate;
mod grammar;
mod look;
mod preview;
mod rule;
mod run;

use entrepot_metadata::command::PutRepositoryText;
use entrepot_metadata::query::TextKind;
use entrepot_oci::RepositoryName;

pub(crate) use self::preview::Previews;
pub use self::preview::{LifecyclePreview, PreviewedImage};
pub use self::run::{EvaluatedLifecycle, LifecycleMetrics, LifecycleRun, Lifecycles};
use crate::metadata::refused;
use crate::repositories::invalid;
use crate::{Caller, Registry, ServiceError, Target};

/// A repository's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecyclePolicy {
    pub text: String,
    /// None: not evaluated yet.
    pub last_run: Option<LifecycleRun>,
}

impl Registry {
    /// Sets a repository's lifecycle policy; the text that is kept.
    ///
    /// # Errors
    /// `Invalid`, in ECR's words.
    pub async fn put_lifecycle_policy(
        &self,
        who: &Caller,
        name: &RepositoryName,
        text: &str,
    ) -> Result<String, ServiceError> {
        self.authorize(who, "ecr:PutLifecyclePolicy", Target::Repository(name))?;
        let text = normalized(text)?;
        let (kind, at_ms) = (TextKind::Lifecycle, self.clock.now_ms());
        let command = PutRepositoryText::new(&who.account, name, kind, &text, at_ms);
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        Ok(text)
    }

    /// # Errors
    /// `NotFound` when it has none.
    pub async fn lifecycle_policy(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<LifecyclePolicy, ServiceError> {
        self.authorize(who, "ecr:GetLifecyclePolicy", Target::Repository(name))?;
        let found = self.repository_text(who, name, TextKind::Lifecycle).await?;
        Ok(LifecyclePolicy {
            text: found.text,
            last_run: self.last_run(&who.account, name)?,
        })
    }

    /// Removes it; what it was.
    ///
    /// # Errors
    /// `NotFound` when it has none.
    pub async fn delete_lifecycle_policy(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<LifecyclePolicy, ServiceError> {
        self.authorize(who, "ecr:DeleteLifecyclePolicy", Target::Repository(name))?;
        let found = self.delete_text(who, name, TextKind::Lifecycle).await?;
        let last_run = self.last_run(&who.account, name)?;
        if last_run.is_some() {
            let gone = self.delete_text(who, name, TextKind::LifecycleRun).await;
            match gone {
                Ok(_) | Err(ServiceError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(LifecyclePolicy {
            text: found.text,
            last_run,
        })
    }
}

/// The policy with its rules in order, and without blanks.
///
/// # Errors
/// `Invalid`, in ECR's words.
pub(crate) fn normalized(text: &str) -> Result<String, ServiceError> {
    let policy = grammar::parse(text).map_err(|problem| {
        let constraint = format_args!("Lifecycle policy validation failure: {problem}").to_string();
        invalid("LifecyclePolicyText", constraint)
    })?;
    serde_json::to_string(&policy).map_err(|error| ServiceError::internal(&error))
}
