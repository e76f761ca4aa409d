//! The identities of an account, as IAM's API has them: users, groups, roles,
//! access keys, and the policies that say what they may.
//!
//! Everything here is the caller's own account's, whatever registry a request
//! names. What is written is a command of the global group; what is read has all
//! that was acknowledged before, on every node. The invariant: nothing is told of
//! an identity to a caller who may not ask for it. Where it stands (its path) is
//! looked up first, because policies name it so.

mod attachments;
mod entities;
mod error;
mod groups;
mod inline;
mod keys;
mod linked;
mod managed;
mod providers;
mod roles;
mod sessions;
mod simulate;
mod web;

use std::collections::BTreeMap;
use std::sync::Arc;

use entrepot_access::policy::{Context, Document, DocumentKind, PolicyError};
use entrepot_access::{Arn, UniqueId};
use entrepot_metadata::KeyValue;
use entrepot_metadata::command::Command;
use entrepot_metadata::response::Outcome;
use entrepot_oci::AccountId;

pub use self::entities::NewEntity;
pub use self::error::IamError;
pub use self::keys::{KeyInfo, KeyOwner};
pub use self::managed::{ManagedPolicy, NewPolicy, PolicyFilter, PolicyScope, VersionInfo};
pub use self::providers::{IdentityProvider, NewProvider, ProviderChange};
pub use self::roles::{NewRole, RoleChange};
pub use self::sessions::{AssumeRole, NewSession};
pub(crate) use self::simulate::AT_ONCE_MAX as SIMULATIONS_MAX;
pub use self::simulate::{Outcome as SimulatedOutcome, Simulated, Simulation, Stated};
pub use self::web::WebSession;
pub use entrepot_metadata::query::{
    AccessKeyState, Entity, EntityKind, PolicyUser, Role as RoleSettings,
};

use crate::{Caller, Registry, ServiceError, Target};

/// Tags: keys and values.
pub type Tags = BTreeMap<String, String>;

/// The identities of the caller's account.
#[derive(Clone, Copy, Debug)]
pub struct Iam<'a> {
    registry: &'a Registry,
    who: &'a Caller,
}

/// A part of a longer list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// There are more after the last one of these.
    pub more: bool,
}

impl Registry {
    pub fn iam<'a>(&'a self, who: &'a Caller) -> Iam<'a> {
        Iam {
            registry: self,
            who,
        }
    }
}

// === impl Iam ===

impl Iam<'_> {
    /// Whose identities these are.
    pub fn account(&self) -> &AccountId {
        &self.who.principal.account
    }

    /// The name of a user, a group or a role as policies have it.
    pub fn arn(&self, kind: EntityKind, path: &str, name: &str) -> String {
        let account = self.account();
        format!("arn:aws:iam::{account}:{}{path}{name}", kind.name())
    }

    /// This node's copy of the global group, with all that was acknowledged.
    async fn view(&self) -> Result<Arc<dyn KeyValue>, ServiceError> {
        let registry = self.registry;
        registry.metadata.linearize(&registry.global).await?;
        self.local()
    }

    /// The same as it is: it has every command that this node proposed.
    fn local(&self) -> Result<Arc<dyn KeyValue>, ServiceError> {
        let registry = self.registry;
        Ok(registry.metadata.view(&registry.global)?)
    }

    async fn propose(&self, command: impl Into<Command>) -> Result<Outcome, IamError> {
        let registry = self.registry;
        let proposed = registry.propose_to(&registry.global, command.into());
        let response = proposed.await.map_err(ServiceError::from)?;
        response.into_result().map_err(error::refused)
    }

    fn authorize(&self, action: &str, arn: &str, context: &Context) -> Result<(), IamError> {
        let arn: Arn = arn.parse().map_err(|_| IamError::arn(arn))?;
        let target = Target::Named(&arn);
        Ok(self
            .registry
            .authorize_with(self.who, action, target, context)?)
    }

    fn now_ms(&self) -> i64 {
        self.registry.clock.now_ms()
    }
}

// === impl Page ===

impl<T> Page<T> {
    /// Of what was read with one more than fits.
    fn of(mut items: Vec<T>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more }
    }

    /// Of a short list in order, all of which is there.
    fn after(
        items: impl IntoIterator<Item = T>,
        is_later: impl Fn(&T) -> bool,
        limit: usize,
    ) -> Self {
        let later = items.into_iter().filter(is_later);
        Self::of(later.take(limit.saturating_add(1)).collect(), limit)
    }

    pub fn map<U>(self, to: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(to).collect(),
            more: self.more,
        }
    }
}

/// That `text` is a policy of that kind.
fn document(text: &str, kind: DocumentKind) -> Result<Document, IamError> {
    Document::parse(text, kind).map_err(|error| refused_policy(&error))
}

fn refused_policy(error: &PolicyError) -> IamError {
    match error.code() {
        "LimitExceeded" if error.kind == DocumentKind::Trust => IamError::LimitExceeded(format!(
            "Cannot exceed quota for ACLSizePerRole: {}",
            DocumentKind::Trust.size_max()
        )),
        "LimitExceeded" => IamError::LimitExceeded(error.message()),
        "PackedPolicyTooLarge" => IamError::PackedPolicyTooLarge(error.message()),
        _ => IamError::MalformedPolicy(error.message()),
    }
}

/// A new id: never that of anything before.
fn unique_id(of: UniqueId) -> Result<String, ServiceError> {
    of.generate()
        .map_err(|error| ServiceError::internal(&error))
}

/// What a request says of the tags that it brings, for conditions.
fn with_tags(mut context: Context, tags: &Tags) -> Context {
    for (key, value) in tags {
        context.insert(&format!("aws:RequestTag/{key}"), value.as_str());
        context.insert("aws:TagKeys", key.as_str());
    }
    context
}

/// What the tags of what is acted on say, for conditions.
fn of_tagged(tags: &Tags) -> Context {
    let mut context = Context::new();
    for (key, value) in tags {
        context.insert(&format!("aws:ResourceTag/{key}"), value.as_str());
        context.insert(&format!("iam:ResourceTag/{key}"), value.as_str());
    }
    context
}
