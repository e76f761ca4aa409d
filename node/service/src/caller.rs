//! On whose behalf something is done, and to whose registry; what limits the
//! caller, and where the request came from.

use std::net::IpAddr;
use std::sync::Arc;

use entrepot_access::token::Claims;
use entrepot_access::{Identity, Principal};
use entrepot_oci::RegistryId;

use crate::{RequestId, Source};

/// Of a `User-Agent`, as far as conditions of policies see it.
const USER_AGENT_CHARS_MAX: usize = 512;

/// Who calls, and whose registry they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub principal: Principal,
    /// Which registry: the private one of the caller's own account, unless the
    /// request names another.
    pub account: RegistryId,
    pub proof: Proof,
    pub origin: Arc<Origin>,
}

/// What a caller has proved themselves by: it limits and dates what they may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The long-term access key that it goes back to; none: a password.
    pub key_id: Option<String>,
    /// The policy of the session, JSON: the most that the caller may.
    pub session_policy: Option<Arc<str>>,
    /// When it was issued, and when it ends, if ever.
    pub issued_ms: Option<i64>,
    pub expires_ms: Option<i64>,
}

/// Where a request came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// None: nobody knows, as within a simulation.
    pub address: Option<IpAddr>,
    /// By TLS, as far as this node.
    pub is_secure: bool,
    pub request_id: Option<RequestId>,
    pub user_agent: Option<Box<str>>,
}

// === impl Caller ===

impl Caller {
    /// One who means the registry of their own account.
    pub fn of(principal: Principal) -> Self {
        Self {
            account: principal.account.clone().into(),
            principal,
            proof: Proof::default(),
            origin: Arc::default(),
        }
    }

    /// The one of whom a token speaks.
    pub fn of_claims(claims: Claims) -> Self {
        let proof = Proof {
            key_id: claims.key_id,
            session_policy: claims.session_policy.map(Arc::from),
            issued_ms: Some(claims.issued_ms),
            expires_ms: Some(claims.expires_ms),
        };
        Self {
            proof,
            ..Self::of(claims.principal)
        }
    }

    /// The same, who has proved themselves by that access key.
    #[must_use]
    pub fn with_key(mut self, key_id: &str) -> Self {
        self.proof.key_id = Some(key_id.to_owned());
        self
    }

    /// The same, from there.
    #[must_use]
    pub fn from_origin(mut self, origin: Arc<Origin>) -> Self {
        self.origin = origin;
        self
    }

    /// The same, who means this registry: of an account, its private one.
    #[must_use]
    pub fn meaning(mut self, registry: impl Into<RegistryId>) -> Self {
        self.account = registry.into();
        self
    }

    /// Whether this is a session that a user, or the root user, has of themselves.
    pub(crate) fn is_own_session(&self) -> bool {
        let own = matches!(self.principal.identity, Identity::Root | Identity::User(_));
        own && self.proof.expires_ms.is_some()
    }

    /// Whether the registry meant is that of the caller's own account.
    pub fn is_at_home(&self) -> bool {
        self.principal.is_of_an_account() && self.account.is_of(&self.principal.account)
    }
}

// === impl Origin ===

impl Origin {
    /// Of one request of a connection.
    #[must_use]
    pub fn of_request(mut self, id: &RequestId, user_agent: Option<&str>) -> Arc<Self> {
        self.request_id = Some(id.clone());
        self.user_agent = user_agent.map(|agent| {
            let agent = agent.chars().take(USER_AGENT_CHARS_MAX);
            agent.collect::<String>().into()
        });
        Arc::new(self)
    }

    /// As whom the request counts where somebody is slowed down.
    pub fn source(&self) -> Source {
        self.address.map(Source::address).unwrap_or_default()
    }
}
