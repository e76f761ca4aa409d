//! Whether a caller may do what they ask for.
//!
//! Every use case asks here before it looks at anything: who is denied learns
//! nothing of what there is.

use entrepot_access::policy::{self, Context, Reason, Request, Resource, Source};
use entrepot_access::{Arn, Identity};
use entrepot_oci::RepositoryName;

use crate::{Caller, Registry, ServiceError};

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
    /// `Denied`, with AWS's sentence.
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
    /// `Denied`, with AWS's sentence.
    pub fn authorize_with(
        &self,
        who: &Caller,
        action: &str,
        target: Target<'_>,
        context: &Context,
    ) -> Result<(), ServiceError> {
        let is_own = who.principal.account == who.account;
        if who.principal.identity == Identity::Root && is_own {
            return Ok(());
        }
        let arn = match target {
            Target::Repository(name) => Some(self.repository_arn(who, name)?),
            Target::Named(arn) => Some(arn.clone()),
            Target::Any => None,
        };
        let request = Request {
            principal: &who.principal,
            action,
            resource: arn.as_ref().map_or(Resource::Any, Resource::One),
            context,
        };
        let reason = Reason::Implicit(Source::Identity);
        Err(ServiceError::Denied(policy::denial(&request, reason)))
    }

    fn repository_arn(&self, who: &Caller, name: &RepositoryName) -> Result<Arn, ServiceError> {
        let arn = Arn::repository(self.region(), &who.account, name);
        arn.map_err(|error| ServiceError::internal(&error))
    }
}
