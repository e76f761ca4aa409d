//! Whom a statement of a resource's policy is about.

use entrepot_oci::AccountId;

use super::error::{Problem, excerpt};
use super::evaluate::Facts;
use super::json::Json;
use crate::arn::Arn;
use crate::principal::Identity;

/// Identities that IAM numbers: a user, a role.
const ID_PREFIXES: [&str; 2] = ["AIDA", "AROA"];

/// `Principal` or `NotPrincipal`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Principals {
    pub(super) negated: bool,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Everyone,
    /// The account as such: what of it may is left to its own policies.
    Account(AccountId),
    /// A user or a role, by its ARN.
    Identity(String),
    /// The same, by its id.
    Id(String),
    /// One session of a role.
    Session(String),
    Service(String),
    /// Whom an identity provider vouches for: its ARN.
    Federated(String),
    /// Of a kind that nobody here is.
    Nobody,
}

/// How much an entry that names the caller gives it, from the least on (IAM,
/// "Policy evaluation logic"): what later policies may still take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grant {
    None,
    /// Its account may give it the permission by an identity policy.
    Account,
    /// A role, or everyone: a boundary or a session's policy still limits it.
    Limited,
    /// A user: a boundary does not.
    User,
    /// One session, or a service: nothing does.
    Direct,
}

// === impl Principals ===

impl Principals {
    pub(super) fn parse(value: &Json, negated: bool) -> Result<Self, Problem> {
        let entries = match value {
            Json::Text(text) if text == "*" => vec![Entry::Everyone],
            Json::Object(kinds) if !kinds.is_empty() => {
                let mut entries = Vec::new();
                for (kind, value) in kinds {
                    for text in super::statement::texts(value)? {
                        entries.push(entry(kind, &text)?);
                    }
                }
                entries
            }
            _ => return Err(Problem::Syntax),
        };
        if entries.is_empty() {
            return Err(Problem::NoPrincipal);
        }
        Ok(Self { negated, entries })
    }

    /// The users and roles that are named by their ARNs.
    pub(super) fn identities(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Identity(arn) => Some(arn.as_str()),
            _ => None,
        })
    }

    /// The most that an entry gives the caller. `NotPrincipal` gives everyone
    /// who is not named by itself the same: that the account is named spares its
    /// root user alone (IAM, `NotPrincipal`).
    pub(super) fn grant(&self, facts: &Facts<'_>) -> Grant {
        let grants = self.entries.iter().map(|entry| entry.grant(facts));
        let grant = grants.max().unwrap_or(Grant::None);
        if !self.negated {
            return grant;
        }
        // A provider has to be named: whoever has a token of any is not everyone.
        if facts.is_federated() {
            return Grant::None;
        }
        let is_root = facts.principal.identity == Identity::Root;
        if grant > Grant::Account || (grant == Grant::Account && is_root) {
            Grant::None
        } else {
            Grant::Limited
        }
    }
}

// === impl Entry ===

impl Entry {
    fn grant(&self, facts: &Facts<'_>) -> Grant {
        let principal = facts.principal;
        let given = |is_named, grant| if is_named { grant } else { Grant::None };
        let to_identity = match principal.identity {
            Identity::AssumedRole(_) => Grant::Limited,
            _ => Grant::User,
        };
        match self {
            Self::Everyone if facts.is_federated() => Grant::None,
            Self::Everyone => Grant::Limited,
            Self::Account(account) => given(principal.belongs_to(account), Grant::Account),
            Self::Identity(arn) => given(facts.policy_arn() == Some(arn.as_str()), to_identity),
            Self::Id(id) => {
                let own = match &principal.identity {
                    Identity::User(user) => Some(&user.id),
                    Identity::AssumedRole(role) => Some(&role.role_id),
                    _ => None,
                };
                given(own == Some(id), to_identity)
            }
            Self::Session(arn) => {
                let is_session = matches!(principal.identity, Identity::AssumedRole(_));
                given(is_session && facts.arn() == arn, Grant::Direct)
            }
            Self::Service(service) => {
                let is_named =
                    matches!(&principal.identity, Identity::Service(name) if name == service);
                given(is_named, Grant::Direct)
            }
            Self::Federated(named) => {
                let is_named = matches!(
                    &principal.identity,
                    Identity::Federated { provider, .. } if provider == named
                );
                given(is_named, Grant::Direct)
            }
            Self::Nobody => Grant::None,
        }
    }
}

fn entry(kind: &str, text: &str) -> Result<Entry, Problem> {
    let invalid = || Problem::Principal {
        kind: excerpt(kind),
        value: excerpt(text),
    };
    match kind {
        "AWS" => aws(text).ok_or_else(invalid),
        "Service" if text.contains('.') && !text.contains('*') => {
            Ok(Entry::Service(text.to_owned()))
        }
        "Federated" if !text.is_empty() => Ok(Entry::Federated(text.to_owned())),
        "CanonicalUser" if !text.is_empty() => Ok(Entry::Nobody),
        "Service" | "Federated" | "CanonicalUser" => Err(invalid()),
        _ => Err(Problem::Syntax),
    }
}

/// `*`, an account's number, the ARN of an account's root, a user, a role or a
/// session, or the id of a user or a role. No wildcards within an ARN.
fn aws(text: &str) -> Option<Entry> {
    if text == "*" {
        return Some(Entry::Everyone);
    }
    if let Ok(account) = text.parse() {
        return Some(Entry::Account(account));
    }
    let is_id = ID_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
    if is_id && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Some(Entry::Id(text.to_owned()));
    }
    let arn: Arn = text.parse().ok()?;
    let account = arn.account_id()?;
    if !arn.region().is_empty() || text.contains(['*', '?']) {
        return None;
    }
    let (kind, name) = arn.resource().split_once('/').unwrap_or(("", ""));
    match (arn.service(), kind) {
        ("iam", "") if arn.resource() == "root" => Some(Entry::Account(account)),
        ("iam", "user" | "role") if !name.is_empty() => Some(Entry::Identity(text.to_owned())),
        ("sts", "assumed-role") if name.contains('/') => Some(Entry::Session(text.to_owned())),
        ("sts", "federated-user") if !name.is_empty() => Some(Entry::Nobody),
        _ => None,
    }
}
