//! Who is a node of the cluster: tokens that let machines in, the certificates
//! of those that are, and taking them back.
//!
//! Any node does all of it: the authority's key is in the global group, sealed
//! under the cluster's key. The invariants: a certificate is on record before
//! anybody has it; a token's secret and the cluster's key are told to nobody but
//! whom they are for.

mod join;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_access::trust::{
    ADDRESSES_MAX, Authority, ClusterKey, JoinToken, Root, Serial, SigningRequest, TokenSecret,
    TrustError,
};
use entrepot_metadata::command::{
    Command, CreateJoinToken, Join, MemberSpec, PutAuthority, RecordCertificate, RevokeCertificates,
};
use entrepot_metadata::query::{self, Member};
use entrepot_metadata::response::Outcome;
use entrepot_metadata::seam::Metadata;
use entrepot_metadata::{GroupId, KeyValue};
use entrepot_oci::RegionName;
use entrepot_proto::environment::Clock;
use tokio::time::Instant;
use tracing::{info, warn};

pub use self::join::{JOIN_BYTES_MAX, JoinServer};
use crate::metadata::refused;
use crate::{Caller, Registry, ServiceError};

/// How long a token is good for when nobody says.
pub const TOKEN_TTL_DEFAULT: Duration = Duration::from_hours(1);
pub const TOKEN_TTL_MAX: Duration = Duration::from_hours(7 * 24);

/// For a cluster that has just been made to know itself.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
const SETTLED_LOOK: Duration = Duration::from_millis(100);

/// What a node needs to answer for its cluster.
#[derive(Debug)]
pub struct Trust {
    metadata: Arc<dyn Metadata>,
    clock: Arc<dyn Clock>,
    /// This node.
    own: u64,
    root: Root,
    key: ClusterKey,
    /// Of the certificates that this node issues.
    life: Duration,
}

/// What a [`Trust`] is built from.
#[derive(Debug)]
pub struct TrustParts {
    pub metadata: Arc<dyn Metadata>,
    pub clock: Arc<dyn Clock>,
    pub own: u64,
    pub root: Root,
    pub key: ClusterKey,
    pub life: Duration,
}

/// A token, printed once and kept nowhere.
#[derive(Clone)]
pub struct TokenInfo {
    pub token: String,
    pub expires_at_ms: i64,
}

/// A machine that asks to become a node.
#[derive(Debug)]
pub struct Newcomer {
    pub token: TokenSecret,
    pub request: SigningRequest,
    /// None: the one that the token is for.
    pub region: Option<RegionName>,
    /// `host:port`
    pub peer_address: String,
    pub client_address: Option<String>,
}

/// What it is told when it may.
#[derive(Debug)]
pub struct Admission {
    pub node: u64,
    pub region: RegionName,
    /// DER.
    pub certificate: Vec<u8>,
    pub members: Vec<Member>,
}

// === impl Trust ===

impl Trust {
    pub fn new(parts: TrustParts) -> Arc<Self> {
        let TrustParts {
            metadata,
            clock,
            own,
            root,
            key,
            life,
        } = parts;
        Arc::new(Self {
            metadata,
            clock,
            own,
            root,
            key,
            life,
        })
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Keeps the authority that `sealed_key` is the key of; one that is kept
    /// already is fine.
    ///
    /// # Errors
    /// `Conflict` when the cluster has another one.
    pub async fn keep_authority(&self, sealed_key: &[u8]) -> Result<(), ServiceError> {
        let command = PutAuthority {
            certificate: Bytes::copy_from_slice(self.root.der()),
            sealed_key: Bytes::copy_from_slice(sealed_key),
            at_ms: self.clock.now_ms(),
        };
        self.propose(command).await.map(drop)
    }

    /// Makes a token by which one node may join within `ttl`.
    pub async fn create_token(
        &self,
        region: Option<RegionName>,
        ttl: Duration,
    ) -> Result<TokenInfo, ServiceError> {
        if ttl.is_zero() || ttl > TOKEN_TTL_MAX {
            let days = TOKEN_TTL_MAX.as_secs() / 86_400;
            return Err(ServiceError::Invalid(format!(
                "a token is good for at least a second and at most {days} days"
            )));
        }
        let (view, _) = self.settled().await?;
        let secret = TokenSecret::generate().map_err(ServiceError::from)?;
        let now_ms = self.clock.now_ms();
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let expires_at_ms = now_ms.saturating_add(ttl_ms);
        let token = JoinToken {
            secret,
            root: self.root.fingerprint(),
            region,
            addresses: addresses(&query::members(view.as_ref())?, self.own),
        };
        let text = token.expose().map_err(ServiceError::from)?;
        let command = CreateJoinToken {
            hash: Bytes::copy_from_slice(token.secret.hash().as_bytes()),
            region: token
                .region
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            expires_at_ms,
            at_ms: now_ms,
        };
        self.propose(command).await?;
        Ok(TokenInfo {
            token: text,
            expires_at_ms,
        })
    }

    /// Lets a machine in. The same one may ask again.
    ///
    /// # Errors
    /// `Denied` when its token is not good, `Conflict` when its address is
    /// another node's.
    pub async fn admit(&self, newcomer: Newcomer) -> Result<Admission, ServiceError> {
        let (view, authority) = self.settled().await?;
        let hash = newcomer.token.hash();
        let token = query::join_token(view.as_ref(), hash.as_bytes())?
            .ok_or_else(|| denied("the join token is not known to this cluster"))?;
        let region = newcomer.region.or(token.region).ok_or_else(|| {
            ServiceError::Invalid("the token is for any region: say which by --region".to_owned())
        })?;
        let serial = Serial::generate().map_err(ServiceError::from)?;
        let now_ms = self.clock.now_ms();
        let member = MemberSpec {
            client_address: newcomer.client_address,
            ..MemberSpec::new(0, &region, &newcomer.peer_address)
        };
        let command = Join {
            token_hash: Bytes::copy_from_slice(hash.as_bytes()),
            key_hash: Bytes::copy_from_slice(&newcomer.request.key_hash()),
            member: Some(member),
            serial: Bytes::copy_from_slice(serial.as_bytes()),
            not_after_ms: self.not_after_ms(now_ms),
            at_ms: now_ms,
        };
        let Outcome::MemberAdded(added) = self.propose(command).await? else {
            return Err(ServiceError::unavailable(
                "a node of another version answered",
            ));
        };
        let certificate = authority
            .issue(&newcomer.request, added.node, &serial, now_ms, self.life)
            .map_err(ServiceError::from)?;
        info!(node = added.node, %region, address = newcomer.peer_address, "a node has joined");
        let view = self.metadata.view(&GroupId::global())?;
        Ok(Admission {
            node: added.node,
            region,
            certificate,
            members: query::members(view.as_ref())?,
        })
    }

    /// Another certificate for this node, DER.
    pub async fn renew(&self, request: &SigningRequest) -> Result<Vec<u8>, ServiceError> {
        let authority = self.authority(self.metadata.view(&GroupId::global())?.as_ref())?;
        let serial = Serial::generate().map_err(ServiceError::from)?;
        let now_ms = self.clock.now_ms();
        self.record(&serial, self.not_after_ms(now_ms)).await?;
        authority
            .issue(request, self.own, &serial, now_ms, self.life)
            .map_err(ServiceError::from)
    }

    /// Puts a certificate that this node has on record, unless it is. False:
    /// the records do not know the node yet.
    pub async fn ensure_recorded(
        &self,
        serial: &Serial,
        not_after_ms: i64,
    ) -> Result<bool, ServiceError> {
        let view = self.metadata.view(&GroupId::global())?;
        if query::member(view.as_ref(), self.own)?.is_none() {
            return Ok(false);
        }
        if !query::is_recorded(view.as_ref(), self.own, serial.as_bytes())? {
            self.record(serial, not_after_ms).await?;
        }
        Ok(true)
    }

    /// Shuts a node out, with every certificate that it has.
    ///
    /// # Errors
    /// `Conflict` for this node itself: it could not tell the others any more.
    pub async fn revoke(&self, node: u64) -> Result<u32, ServiceError> {
        if node == self.own {
            return Err(ServiceError::Conflict(format!(
                "node {node} is the one that you ask: ask another one"
            )));
        }
        let command = RevokeCertificates {
            node,
            at_ms: self.clock.now_ms(),
        };
        match self.propose(command).await? {
            Outcome::CertificatesRevoked(done) => {
                warn!(node, "the certificates of a node were revoked");
                Ok(done.revoked)
            }
            _ => Err(ServiceError::unavailable(
                "a node of another version answered",
            )),
        }
    }

    async fn record(&self, serial: &Serial, not_after_ms: i64) -> Result<(), ServiceError> {
        let command = RecordCertificate {
            node: self.own,
            serial: Bytes::copy_from_slice(serial.as_bytes()),
            not_after_ms,
            at_ms: self.clock.now_ms(),
        };
        self.propose(command).await.map(drop)
    }

    fn not_after_ms(&self, now_ms: i64) -> i64 {
        let life_ms = i64::try_from(self.life.as_millis()).unwrap_or(i64::MAX);
        now_ms.saturating_add(life_ms)
    }

    fn authority(&self, view: &dyn KeyValue) -> Result<Authority, ServiceError> {
        let kept = query::authority(view)?.ok_or_else(|| {
            ServiceError::unavailable("this node has not learnt the cluster's authority yet")
        })?;
        Authority::open(&kept.certificate, &kept.sealed_key, &self.key).map_err(ServiceError::from)
    }

    /// The records as they are now, once the cluster is formed and has its
    /// authority: in its first moments, that is waited for.
    async fn settled(&self) -> Result<(Arc<dyn KeyValue>, Authority), ServiceError> {
        let global = GroupId::global();
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            self.metadata.linearize(&global).await?;
            let view = self.metadata.view(&global)?;
            let is_formed = query::member(view.as_ref(), self.own)?.is_some();
            match self.authority(view.as_ref()) {
                Ok(authority) if is_formed => return Ok((view, authority)),
                Err(error) if Instant::now() >= deadline => return Err(error),
                _ if Instant::now() >= deadline => {
                    return Err(ServiceError::unavailable("the cluster is not formed yet"));
                }
                _ => tokio::time::sleep(SETTLED_LOOK).await,
            }
        }
    }

    async fn propose(&self, command: impl Into<Command>) -> Result<Outcome, ServiceError> {
        let global = GroupId::global();
        let proposed = self.metadata.propose(&global, command.into());
        proposed.await?.into_result().map_err(refused)
    }
}

// === impl Registry ===

impl Registry {
    /// As [`Trust::create_token`], for an operator.
    pub async fn create_join_token(
        &self,
        who: &Caller,
        region: Option<RegionName>,
        ttl: Option<Duration>,
    ) -> Result<TokenInfo, ServiceError> {
        self.operates(who)?;
        let ttl = ttl.unwrap_or(TOKEN_TTL_DEFAULT);
        self.trust()?.create_token(region, ttl).await
    }

    /// As [`Trust::revoke`], for an operator.
    pub async fn revoke_node(&self, who: &Caller, node: u64) -> Result<u32, ServiceError> {
        self.operates(who)?;
        self.trust()?.revoke(node).await
    }

    fn trust(&self) -> Result<&Trust, ServiceError> {
        self.trust.as_deref().ok_or_else(|| {
            ServiceError::Conflict(
                "this cluster's nodes are listed in their configuration, and have no certificates"
                    .to_owned(),
            )
        })
    }
}

impl std::fmt::Debug for TokenInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenInfo")
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

/// Whom a new node may ask: this node first, which is known to answer, then
/// others, one of each region before two of one.
fn addresses(members: &[Member], own: u64) -> Vec<String> {
    let mut turns: Vec<(bool, usize, u64, &Member)> = members
        .iter()
        .map(|member| {
            let earlier = |it: &&Member| it.region == member.region && it.node < member.node;
            let turn = members.iter().filter(earlier).count();
            (member.node != own, turn, member.node, member)
        })
        .collect();
    turns.sort_by_key(|(others, turn, node, _)| (*others, *turn, *node));
    let addresses = turns.into_iter().map(|(.., it)| it.peer_address.clone());
    addresses.take(ADDRESSES_MAX).collect()
}

fn denied(reason: impl Display) -> ServiceError {
    ServiceError::Denied(reason.to_string())
}

impl From<TrustError> for ServiceError {
    fn from(error: TrustError) -> Self {
        Self::internal(&error)
    }
}
