//! A question: who, which action, on what.

use entrepot_access::policy::{self, Context, Reason, Request, Resource};
use entrepot_access::{Arn, Identity};
use entrepot_oci::RegionName;

use super::{Target, public};
use crate::{Caller, ServiceError};

/// The services that registries belong to.
const PRIVATE: &str = "ecr";
const PUBLIC: &str = "ecr-public";

/// What is asked of all repositories by this name of theirs, and not of `*`.
const OF_ALL_REPOSITORIES: &str = "ecr:DescribeRepositories";

/// What is asked, with the names that policies have for it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) who: &'a Caller,
    pub(crate) action: &'a str,
    pub(super) target: Target<'a>,
    /// None: nothing by name, of the caller's own account.
    pub(super) arn: Option<Arn>,
    /// A public registry has no such action.
    is_foreign: bool,
}

// === impl Asked ===

impl<'a> Asked<'a> {
    pub(super) fn new(
        region: &RegionName,
        who: &'a Caller,
        action: &'a str,
        target: Target<'a>,
    ) -> Result<Self, ServiceError> {
        let internal = |error| ServiceError::internal(&error);
        let named = match target {
            // Of something else than a registry.
            Target::Named(arn) if arn.service() != PUBLIC => Some(action),
            _ => public::action_of(&who.account, action),
        };
        let arn = match target {
            Target::Repository(name) => {
                Some(Arn::repository(region, &who.account, name).map_err(internal)?)
            }
            Target::Named(arn) => Some(arn.clone()),
            Target::Any if who.is_at_home() && action != OF_ALL_REPOSITORIES => None,
            // As AWS asks for all repositories. Of another account's, too: without
            // its name, nobody would ask that one.
            Target::Any => {
                let all = Arn::in_registry(region, &who.account, "repository/*");
                Some(all.map_err(internal)?)
            }
        };
        Ok(Self {
            who,
            action: named.unwrap_or(action),
            target,
            arn,
            is_foreign: named.is_none(),
        })
    }

    /// Whether nobody may that, whatever policies say: what there is not, and
    /// anything but a pull from a public registry without credentials.
    pub(super) fn is_denied_to_all(&self) -> bool {
        let is_nobody = self.who.principal.identity == Identity::Anonymous;
        self.is_foreign || (self.who.account.is_public() && is_nobody)
    }

    /// As keys of conditions begin that are about the registry.
    pub(super) fn service(&self) -> &'static str {
        if self.who.account.is_public() {
            PUBLIC
        } else {
            PRIVATE
        }
    }

    pub(super) fn request<'b>(&'b self, context: &'b Context) -> Request<'b> {
        Request {
            principal: &self.who.principal,
            action: self.action,
            resource: self.arn.as_ref().map_or(Resource::Any, Resource::One),
            context,
        }
    }

    /// `*`, or an ARN.
    pub(crate) fn resource(&self) -> &str {
        self.arn.as_ref().map_or("*", Arn::as_str)
    }

    /// Whether what is acted on belongs to the caller's account, or to nobody.
    pub(super) fn is_own(&self) -> bool {
        let owner = self.arn.as_ref().and_then(Arn::account_id);
        owner.is_none_or(|owner| self.who.principal.belongs_to(&owner))
    }

    /// AWS's sentence.
    pub(super) fn denial(&self, reason: Reason) -> String {
        policy::denial(&self.request(&Context::new()), reason)
    }

    /// What the request says of itself.
    pub(super) fn add_origin(&self, context: &mut Context) {
        let origin = &self.who.origin;
        if let Some(address) = origin.address {
            let address = address.to_canonical();
            context.insert("aws:SourceIp", address.to_string());
        }
        context.insert("aws:SecureTransport", origin.is_secure.to_string());
        if let Some(agent) = &origin.user_agent {
            context.insert("aws:UserAgent", agent.as_ref());
        }
    }
}
