//! Whether a caller may assume a role: its trust policy has to allow it, within
//! the account too, and so have the caller's own policies across accounts.

use entrepot_access::Arn;
use entrepot_access::policy::{self, Context, Decision, Policies, Reason, Source};

use super::policies::Broken;
use super::{Asked, Target};
use crate::{Caller, Registry, ServiceError, audit};

const ACTION: &str = "sts:AssumeRole";
const BY_TOKEN: &str = "sts:AssumeRoleWithWebIdentity";

impl Registry {
    /// `trust`: the role's policy; none: there is no such role, which is denied in
    /// the same way.
    pub(crate) fn may_assume(
        &self,
        who: &Caller,
        role: &Arn,
        trust: Option<&str>,
        context: &Context,
    ) -> Result<bool, ServiceError> {
        self.may_assume_for(ACTION, who, role, trust, context)
    }

    /// The same for whom an identity provider vouches.
    pub(crate) fn may_assume_by_token(
        &self,
        who: &Caller,
        role: &Arn,
        trust: Option<&str>,
        context: &Context,
    ) -> Result<bool, ServiceError> {
        self.may_assume_for(BY_TOKEN, who, role, trust, context)
    }

    fn may_assume_for(
        &self,
        action: &str,
        who: &Caller,
        role: &Arn,
        trust: Option<&str>,
        context: &Context,
    ) -> Result<bool, ServiceError> {
        let asked = Asked::new(self.region(), who, action, Target::Named(role))?;
        let decision = self.assuming(&asked, trust, context)?;
        audit::decided(&asked, decision);
        Ok(decision == Decision::Allow)
    }

    fn assuming(
        &self,
        asked: &Asked<'_>,
        trust: Option<&str>,
        context: &Context,
    ) -> Result<Decision, ServiceError> {
        let missing = |source| Ok(Decision::Deny(Reason::Implicit(source)));
        let mut in_force = match self.in_force(asked)? {
            Ok(in_force) => in_force,
            Err(Broken(source)) => return missing(source),
        };
        let is_read = trust.is_some_and(|trust| in_force.add_trust(&self.policies, trust));
        if !is_read {
            return missing(Source::Resource);
        }
        let context = self.context_of(asked, &in_force, context)?;
        let request = asked.request(&context);
        Ok(in_force.with(|policies| {
            let policies = Policies {
                resource_must_allow: true,
                ..*policies
            };
            policy::evaluate(&request, &policies)
        }))
    }
}
