//! From documents to a decision, in the order of IAM's evaluation logic.
//!
//! 1. A deny that applies, in any document, ends it.
//! 2. Within an account, an identity's policy or the resource's is enough, within
//!    what the boundary and the session's policy leave. What the resource's policy
//!    gives to the account as such is given by an identity's policy alone.
//! 3. Across accounts, both must allow.
//! 4. What nothing allows is denied.

use std::fmt;

use super::context::Context;
use super::document::Document;
use super::pattern::Variables;
use super::principals::Grant;
use super::statement::Effect;
use crate::arn::Arn;
use crate::principal::{Identity, Principal};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub principal: &'a Principal,
    /// `ecr:PutImage`
    pub action: &'a str,
    pub resource: Resource<'a>,
    pub context: &'a Context,
}

/// What is to be acted on. The account in an ARN is the resource's owner; where
/// there is none (what AWS itself brings), it is the caller's own.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    One(&'a Arn),
    /// Nothing by name, as for `ecr:GetAuthorizationToken`: `*`, of the caller's
    /// own account.
    Any,
}

/// The documents that have a say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'a> {
    /// Of the user with its groups, or of the role. The root user has none and
    /// needs none.
    pub identity: &'a [&'a Document],
    /// The most that the identity may be given.
    pub boundary: Option<&'a Document>,
    /// The most that this session may do.
    pub session: Option<&'a Document>,
    /// Of the repository and of the registry; a role's trust policy.
    pub resource: &'a [&'a Document],
    /// Nothing goes without the resource's policy, also within the account: so
    /// it is with trust policies.
    pub resource_must_allow: bool,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny(Reason),
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A statement denies it.
    Explicit(Source),
    /// No statement of these documents allows it.
    Implicit(Source),
}

/// The kind of a policy, as the caller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Identity,
    Boundary,
    Session,
    Resource,
}

/// A request with what follows from it.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) principal: &'a Principal,
    context: &'a Context,
    /// In lower case.
    action: String,
    resource: &'a str,
    arn: String,
    policy_arn: Option<String>,
    user_id: String,
    user_name: Option<String>,
    account: String,
    kind: String,
    is_service: String,
    resource_account: Option<String>,
}

/// What the documents of one kind say.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    allows: bool,
    denies: bool,
}

/// Decides. The same question over the same documents has the same answer.
pub fn evaluate(request: &Request<'_>, policies: &Policies<'_>) -> Decision {
    let facts = Facts::of(request);
    let identity = said(policies.identity.iter().copied(), &facts);
    let boundary = policies.boundary.map(|document| said([document], &facts));
    let session = policies.session.map(|document| said([document], &facts));
    let (grant, resource_denies) = granted(policies.resource, &facts);

    let denies = |said: Option<Said>| said.is_some_and(|said| said.denies);
    for (denied, source) in [
        (identity.denies, Source::Identity),
        (denies(boundary), Source::Boundary),
        (denies(session), Source::Session),
        (resource_denies, Source::Resource),
    ] {
        if denied {
            return Decision::Deny(Reason::Explicit(source));
        }
    }

    let allows = |said: Option<Said>| said.is_none_or(|said| said.allows);
    let is_root = request.principal.identity == Identity::Root;
    let by_identity = is_root || identity.allows;
    let missing = |source| Decision::Deny(Reason::Implicit(source));
    let is_own = facts.is_own_resource();
    let resource_needed = !is_own || policies.resource_must_allow;
    // What the resource's policy gives by itself.
    let by_resource = is_own && grant > Grant::Account;

    if !request.principal.is_of_an_account() {
        // No account speaks for it: the resource's policy alone decides.
        return if grant > Grant::Account {
            Decision::Allow
        } else {
            missing(Source::Resource)
        };
    }
    if !by_identity && !by_resource {
        return missing(Source::Identity);
    }
    if resource_needed && grant == Grant::None {
        return missing(Source::Resource);
    }
    let beyond_boundary = by_resource && grant >= Grant::User;
    if !allows(boundary) && !beyond_boundary {
        return missing(Source::Boundary);
    }
    let beyond_session = by_resource && grant == Grant::Direct;
    if !allows(session) && !beyond_session {
        return missing(Source::Session);
    }
    Decision::Allow
}

/// The sentence AWS answers a denied request with.
pub fn denial(request: &Request<'_>, reason: Reason) -> String {
    let principal = request.principal.arn();
    let (action, resource) = (request.action, request.resource.as_str());
    let because = match reason {
        Reason::Explicit(source) => {
            let article = if source == Source::Identity {
                "an"
            } else {
                "a"
            };
            let policy = match source {
                Source::Boundary => "permissions boundary".to_owned(),
                source => format!("{source} policy"),
            };
            format!("with an explicit deny in {article} {policy}")
        }
        Reason::Implicit(Source::Boundary) => {
            format!("because no permissions boundary allows the {action} action")
        }
        Reason::Implicit(source) => {
            format!("because no {source} policy allows the {action} action")
        }
    };
    format!(
        "User: {principal} is not authorized to perform: {action} on resource: {resource} {because}"
    )
}

fn said<'a>(documents: impl IntoIterator<Item = &'a Document>, facts: &Facts<'_>) -> Said {
    let mut said = Said::default();
    for statement in documents.into_iter().flat_map(Document::statements) {
        match statement.effect {
            Effect::Allow => said.allows = said.allows || statement.applies(facts),
            Effect::Deny => said.denies = said.denies || statement.applies(facts),
        }
    }
    said
}

/// The most that the resource's policies give the caller, and whether they deny.
fn granted(documents: &[&Document], facts: &Facts<'_>) -> (Grant, bool) {
    let (mut most, mut denies) = (Grant::None, false);
    for statement in documents.iter().flat_map(|document| document.statements()) {
        let grant = statement.grant(facts);
        if grant == Grant::None || !statement.applies(facts) {
            continue;
        }
        match statement.effect {
            Effect::Allow => most = most.max(grant),
            Effect::Deny => denies = true,
        }
    }
    (most, denies)
}

// === impl Resource ===

impl<'a> Resource<'a> {
    pub fn as_str(self) -> &'a str {
        match self {
            Self::One(arn) => arn.as_str(),
            Self::Any => "*",
        }
    }
}

// === impl Source ===

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity-based",
            Self::Boundary => "boundary",
            Self::Session => "session",
            Self::Resource => "resource-based",
        })
    }
}

// === impl Facts ===

impl<'a> Facts<'a> {
    pub(super) fn of(request: &Request<'a>) -> Self {
        let principal = request.principal;
        let user_name = match &principal.identity {
            Identity::User(user) => Some(user.name.clone()),
            _ => None,
        };
        let kind = match principal.identity {
            Identity::Root => "Account",
            Identity::User(_) => "User",
            Identity::AssumedRole(_) => "AssumedRole",
            Identity::Service(_) => "Service",
            Identity::Federated { .. } => "FederatedUser",
            Identity::Anonymous => "Anonymous",
        };
        let resource_account = match request.resource {
            Resource::One(arn) => arn.account_id().map(|account| account.to_string()),
            Resource::Any => None,
        };
        Self {
            principal,
            context: request.context,
            action: request.action.to_ascii_lowercase(),
            resource: request.resource.as_str(),
            arn: principal.arn(),
            policy_arn: principal.is_of_an_account().then(|| principal.policy_arn()),
            user_id: principal.user_id(),
            user_name,
            account: principal.account.to_string(),
            kind: kind.to_owned(),
            is_service: matches!(principal.identity, Identity::Service(_)).to_string(),
            resource_account,
        }
    }

    pub(super) fn action(&self) -> &str {
        &self.action
    }

    pub(super) fn resource(&self) -> &'a str {
        self.resource
    }

    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    pub(super) fn policy_arn(&self) -> Option<&str> {
        self.policy_arn.as_deref()
    }

    /// Whether a token of an identity provider says who it is.
    pub(super) fn is_federated(&self) -> bool {
        matches!(self.principal.identity, Identity::Federated { .. })
    }

    fn is_own_resource(&self) -> bool {
        let owner = self.resource_account.as_ref();
        owner.is_none_or(|owner| *owner == self.account)
    }

    /// The values of a condition's key; `key` is in lower case. What follows from
    /// the caller and the resource is never taken from the request.
    pub(super) fn values(&self, key: &str) -> &[String] {
        let one = std::slice::from_ref;
        match key {
            "aws:principalarn" => self.policy_arn.as_slice(),
            "aws:principalaccount" if self.principal.is_of_an_account() => one(&self.account),
            "aws:principalaccount" => &[],
            "aws:principaltype" => one(&self.kind),
            "aws:principalisawsservice" => one(&self.is_service),
            "aws:userid" => one(&self.user_id),
            "aws:username" => self.user_name.as_slice(),
            "aws:resourceaccount" => self.resource_account.as_slice(),
            _ => self.context.values(key),
        }
    }
}

impl Variables for Facts<'_> {
    /// A key with several values is no variable.
    fn variable(&self, key: &str) -> Option<&str> {
        match self.values(key) {
            [value] => Some(value),
            _ => None,
        }
    }
}
