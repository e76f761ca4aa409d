//! Lifecycle policies: their grammar, where they are kept, what they say, and that
//! it is done.
//!
//! Owns ECR's words for what is wrong with one: those of the schema that it holds
//! policies against. A policy is kept with its rules in the order of their
//! priorities. Whoever sets one lets its images go, so that one which lets them go
//! sooner than the registry would is only set by who may delete images at once.

mod evaluate;
mod grammar;
mod look;
mod preview;
mod rule;
mod run;

use entrepot_metadata::command::PutRepositoryText;
use entrepot_metadata::query::{self, TextKind};
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

/// A policy's text as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) text: String,
    /// The shortest time for which what a rule lets go can be restored, of the rules
    /// that say so.
    window_ms: Option<u64>,
}

impl Registry {
    /// Sets a repository's lifecycle policy; the text that is kept.
    ///
    /// # Errors
    /// `Invalid`, in ECR's words; `Denied`, also as of
    /// [`may_shorten`](Self::may_shorten).
    pub async fn put_lifecycle_policy(
        &self,
        who: &Caller,
        name: &RepositoryName,
        text: &str,
    ) -> Result<String, ServiceError> {
        self.authorize(who, "ecr:PutLifecyclePolicy", Target::Repository(name))?;
        let written = normalized(text)?;
        self.may_shorten(who, &written, Target::Repository(name))
            .await?;
        let text = written.text;
        let (kind, at_ms) = (TextKind::Lifecycle, self.clock.now_ms());
        let command = PutRepositoryText::new(&who.account, name, kind, &text, at_ms);
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        Ok(text)
    }

    /// That the caller may delete images of `target`, if the policy lets some go that can
    /// be restored for less long than the registry says now: these are as good as deleted
    /// by whoever sets it, and for good.
    ///
    /// # Errors
    /// `Denied`, with what asks for it.
    pub(crate) async fn may_shorten(
        &self,
        who: &Caller,
        policy: &Written,
        target: Target<'_>,
    ) -> Result<(), ServiceError> {
        let Some(window_ms) = policy.window_ms else {
            return Ok(());
        };
        let view = self.current().await?;
        let own_ms = query::registry_settings(view.as_ref(), &who.account)?.undelete_window_ms;
        drop(view);
        if window_ms >= own_ms {
            return Ok(());
        }
        let said = self.authorize(who, "ecr:BatchDeleteImage", target);
        said.map_err(|error| match error {
            ServiceError::Denied(text) => ServiceError::Denied(format!(
                "{text}. A lifecycle policy with an undeleteWindow that is shorter than the \
                 registry's needs it"
            )),
            error => error,
        })
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
pub(crate) fn normalized(text: &str) -> Result<Written, ServiceError> {
    let policy = grammar::parse(text).map_err(|problem| {
        let constraint = format_args!("Lifecycle policy validation failure: {problem}").to_string();
        invalid("LifecyclePolicyText", constraint)
    })?;
    let text = serde_json::to_string(&policy).map_err(|error| ServiceError::internal(&error))?;
    let window_ms = policy.windows_ms().into_values().min();
    Ok(Written { text, window_ms })
}
