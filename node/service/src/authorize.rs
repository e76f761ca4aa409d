//! Whether a caller may do what they ask for.
//!
//! Every use case asks here before it looks at anything: who is denied learns
//! nothing of what there is. All of it is decided from this node's own copy of
//! the records. The invariants: what cannot be read or understood denies, and
//! what is remembered of a decision is all that it depends on.

mod asked;
mod policies;
pub(crate) mod public;
mod trust;

use entrepot_access::policy::{self, Context, Decision, DocumentKind, PolicyError, Reason, Source};
use entrepot_access::{Arn, Identity};
use entrepot_metadata::query;
use entrepot_oci::{AccountId, RepositoryName};
use tracing::warn;

pub(crate) use asked::Asked;
pub(crate) use policies::Policies;

use crate::{Caller, Registry, ServiceError, audit};
use policies::{Broken, InForce};

/// What the root user may do although a policy of the registry cannot be read:
/// nobody else could mend it.
const MENDING: [&str; 9] = [
    "ecr-public:SetRepositoryPolicy",
    "ecr-public:DeleteRepositoryPolicy",
    "ecr-public:GetRepositoryPolicy",
    "ecr:SetRepositoryPolicy",
    "ecr:DeleteRepositoryPolicy",
    "ecr:GetRepositoryPolicy",
    "ecr:PutRegistryPolicy",
    "ecr:DeleteRegistryPolicy",
    "ecr:GetRegistryPolicy",
];

/// What the sessions of users may not ask for: as with AWS, not without a second
/// factor, of which nothing is known here. Who steals one makes no key of it that
/// outlives it.
const NOT_IN_OWN_SESSIONS: &str = "iam:";

/// What is to be acted on.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A repository of the registry that the caller means.
    Repository(&'a RepositoryName),
    /// Something else that has a name, such as a role.
    Named(&'a Arn),
    /// Nothing by name: `*`.
    Any,
}

impl Registry {
    /// # Errors
    /// `Denied`, with AWS's sentence; `Unauthorized` where nobody said who calls.
    pub fn authorize(
        &self,
        who: &Caller,
        action: &str,
        target: Target<'_>,
    ) -> Result<(), ServiceError> {
        self.authorize_with(who, action, target, &Context::new())
    }

    /// The same for a request that says more of itself, such as the tags of what
    /// is to be made (`aws:RequestTag/<key>`).
    ///
    /// # Errors
    /// As [`Registry::authorize`].
    pub fn authorize_with(
        &self,
        who: &Caller,
        action: &str,
        target: Target<'_>,
        context: &Context,
    ) -> Result<(), ServiceError> {
        if let Some(repository) = pulled(who, action, target) {
            return self.may_pull(who, repository);
        }
        let asked = Asked::new(self.region(), who, action, target)?;
        let decision = self.decide(&asked, context)?;
        audit::decided(&asked, decision);
        match decision {
            Decision::Allow => Ok(()),
            Decision::Deny(_) if who.principal.identity == Identity::Anonymous => {
                Err(ServiceError::Unauthorized)
            }
            Decision::Deny(reason) => Err(ServiceError::Denied(asked.denial(reason))),
        }
    }

    /// The same for the role that a service of the cluster acts with in an account,
    /// whether the account has made it or not: it may what `policy` of AWS's says.
    ///
    /// # Errors
    /// As [`Registry::authorize`].
    pub(crate) fn authorize_service_role(
        &self,
        who: &Caller,
        policy: &str,
        action: &str,
        target: Target<'_>,
    ) -> Result<(), ServiceError> {
        let asked = Asked::new(self.region(), who, action, target)?;
        let is_known = who.is_at_home()
            || (self.serves_others(&who.account.account())?
                && self.serves_others(&who.principal.account)?);
        let decision = match self.in_force_of_role(&asked, policy)? {
            Ok(_) if !is_known => Decision::Deny(Reason::Implicit(Source::Resource)),
            Ok(in_force) => self.decide_by(&asked, &in_force, &Context::new())?,
            Err(Broken(source)) => Decision::Deny(Reason::Implicit(source)),
        };
        audit::decided(&asked, decision);
        match decision {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(ServiceError::Denied(asked.denial(reason))),
        }
    }

    /// The same before a body is read, for a use case that asks again: whoever may
    /// not is refused before they send it.
    ///
    /// # Errors
    /// As [`Registry::authorize`].
    pub fn before_body(
        &self,
        who: &Caller,
        action: &str,
        repository: &RepositoryName,
    ) -> Result<(), ServiceError> {
        let target = Target::Repository(repository);
        if self.may(who, action, target)? {
            return Ok(());
        }
        self.authorize(who, action, target)
    }

    /// Whether it would be allowed: for what is shown in part, and of which
    /// nobody is told that it was denied.
    pub(crate) fn may(
        &self,
        who: &Caller,
        action: &str,
        target: Target<'_>,
    ) -> Result<bool, ServiceError> {
        if pulled(who, action, target).is_some() {
            return self.serves_others(&who.account.account());
        }
        let asked = Asked::new(self.region(), who, action, target)?;
        Ok(self.decide(&asked, &Context::new())? == Decision::Allow)
    }

    /// Everybody may pull from a public registry. One of an account that is not
    /// there, or is disabled, looks like one that has nothing.
    fn may_pull(&self, who: &Caller, repository: &RepositoryName) -> Result<(), ServiceError> {
        if self.serves_others(&who.account.account())? {
            return Ok(());
        }
        Err(ServiceError::NameUnknown(repository.clone()))
    }

    /// Whether another's account is there and active shows in nothing that was
    /// denied anyway.
    fn decide(&self, asked: &Asked<'_>, context: &Context) -> Result<Decision, ServiceError> {
        let who = asked.who;
        let decision = self.decide_open(asked, context)?;
        let is_allowed = decision == Decision::Allow;
        if is_allowed && !who.is_at_home() && !self.serves_others(&who.account.account())? {
            return Ok(Decision::Deny(Reason::Implicit(Source::Resource)));
        }
        Ok(decision)
    }

    /// The same where the registry is there for callers of other accounts.
    fn decide_open(&self, asked: &Asked<'_>, context: &Context) -> Result<Decision, ServiceError> {
        let who = asked.who;
        if asked.is_denied_to_all() {
            return Ok(Decision::Deny(Reason::Implicit(Source::Resource)));
        }
        if who.is_own_session() && asked.action.starts_with(NOT_IN_OWN_SESSIONS) {
            return Ok(Decision::Deny(Reason::Implicit(Source::Session)));
        }
        let in_force = match self.in_force(asked)? {
            Ok(in_force) => in_force,
            Err(Broken(source)) => {
                let is_root = who.principal.identity == Identity::Root && who.is_at_home();
                if source == Source::Resource && is_root && MENDING.contains(&asked.action) {
                    return Ok(Decision::Allow);
                }
                return Ok(Decision::Deny(Reason::Implicit(source)));
            }
        };
        if in_force.is_nothing() && who.principal.identity == Identity::Root && asked.is_own() {
            return Ok(Decision::Allow);
        }
        self.decide_by(asked, &in_force, context)
    }

    /// What these policies say.
    fn decide_by(
        &self,
        asked: &Asked<'_>,
        in_force: &InForce,
        context: &Context,
    ) -> Result<Decision, ServiceError> {
        if in_force.has_conditions() {
            let context = self.context_of(asked, in_force, context)?;
            return Ok(evaluated(asked, in_force, &context));
        }
        let key = in_force.key(asked);
        if let Some(decision) = self.policies.decision(&key) {
            return Ok(decision);
        }
        let decision = evaluated(asked, in_force, context);
        self.policies.remember(key, decision);
        Ok(decision)
    }

    /// Whether an account's registry is there for anybody but its own callers.
    pub(crate) fn serves_others(&self, account: &AccountId) -> Result<bool, ServiceError> {
        let view = self.metadata.view(&self.global)?;
        let found = query::account(view.as_ref(), account)?;
        Ok(found.is_some_and(|account| account.is_active()))
    }

    /// Everything that conditions can ask for.
    fn context_of(
        &self,
        asked: &Asked<'_>,
        in_force: &InForce,
        context: &Context,
    ) -> Result<Context, ServiceError> {
        let mut context = context.clone().at(self.clock.now_ms());
        asked.add_origin(&mut context);
        for (key, value) in in_force.principal_tags() {
            context.insert(&format!("aws:PrincipalTag/{key}"), value);
        }
        if let Target::Repository(repository) = asked.target {
            let view = self.local()?;
            let tags = query::repository_tags(view.as_ref(), &asked.who.account, repository)?;
            for (key, value) in tags {
                context.insert(&format!("aws:ResourceTag/{key}"), value.as_str());
                let service = asked.service();
                context.insert(&format!("{service}:ResourceTag/{key}"), value);
            }
        }
        Ok(context)
    }
}

/// The repository, of a pull from a public registry.
fn pulled<'a>(who: &Caller, action: &str, target: Target<'a>) -> Option<&'a RepositoryName> {
    match target {
        Target::Repository(repository) if public::is_pull(who, action, target) => Some(repository),
        _ => None,
    }
}

fn evaluated(asked: &Asked<'_>, in_force: &InForce, context: &Context) -> Decision {
    in_force.with(|policies| policy::evaluate(&asked.request(context), policies))
}

/// Logs that a policy is not one any more: whoever it concerns is denied.
fn cannot_be_read(kind: DocumentKind, error: &PolicyError) {
    warn!(?kind, %error, "a policy that is in force cannot be read; it denies");
}
