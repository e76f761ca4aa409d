//! Who may be connected to this node: asked at a handshake, with every request,
//! and again and again of the connections that are open.
//!
//! The records are those of this node's own copy of the global group. Until it
//! has one, the authority's signature has to do: a new node must be told the
//! records by somebody.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use entrepot_access::trust::{NodeCertificate, Root};
use entrepot_metadata::query::{self, Standing};
use entrepot_metadata::{GroupId, Metadata};
use entrepot_proto::environment::Clock;
use entrepot_proto::peers::Caller;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};
use tracing::warn;

/// How often open connections are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A connection of somebody who is no node is for one question.
const STRANGER_LIFE: Duration = Duration::from_secs(30);
/// Such connections at the same time.
const STRANGERS_MAX: usize = 64;
/// Says so again that peers are refused.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_secs(10);

/// The certificate that the other end of a connection has shown and proved to
/// have the key of; none: it has shown none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerCertificate(pub(crate) Option<NodeCertificate>);

/// Why somebody is not let in: one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(String);

/// Decides over connections.
#[derive(Debug)]
pub(crate) struct Gate {
    root: Root,
    clock: Arc<dyn Clock>,
    /// Set once they can be read.
    records: OnceLock<Arc<dyn Metadata>>,
    open: Mutex<Vec<Weak<Open>>>,
    refused_at: Mutex<Option<Instant>>,
}

/// A connection, for as long as it is open.
#[derive(Debug)]
pub(crate) struct Open {
    certificate: Option<NodeCertificate>,
    /// It is for a join, or for a node to hear that it was removed.
    is_stranger: bool,
    since: Instant,
    cut: CancellationToken,
}

// === impl Gate ===

impl Gate {
    pub(crate) fn new(root: Root, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            root,
            clock,
            records: OnceLock::new(),
            open: Mutex::default(),
            refused_at: Mutex::default(),
        })
    }

    /// From now on, the records decide.
    pub(crate) fn ask(&self, records: Arc<dyn Metadata>) {
        // A second call is none: there is one node, and one start of it.
        let _ = self.records.set(records);
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Whether the records have nothing against a certificate of the cluster.
    pub(crate) fn check(&self, certificate: &NodeCertificate) -> Result<(), Refusal> {
        match self.standing(certificate)? {
            Standing::NoMember => Err(Refusal(format!(
                "node {} is no node of this cluster",
                certificate.name.node
            ))),
            _ => Ok(()),
        }
    }

    /// The same of a caller; but one that was removed is let in to hear so.
    pub(crate) fn check_caller(&self, certificate: &NodeCertificate) -> Result<(), Refusal> {
        self.standing(certificate).map(drop)
    }

    /// Nothing is said of a certificate that was revoked, but why.
    fn standing(&self, certificate: &NodeCertificate) -> Result<Standing, Refusal> {
        let node = certificate.name.node;
        if certificate.not_after_ms < self.clock.now_ms() {
            return Err(Refusal(format!(
                "the certificate of node {node} has expired"
            )));
        }
        let Some(records) = self.records.get() else {
            return Ok(Standing::Newer);
        };
        let serial = certificate.serial.as_bytes();
        let standing = records
            .view(&GroupId::global())
            .map_err(|error| error.to_string())
            .and_then(|view| {
                let found = query::standing(view.as_ref(), node, serial);
                found.map_err(|error| error.to_string())
            })
            .map_err(|error| Refusal(format!("the cluster's records cannot be read: {error}")))?;
        match standing {
            Standing::Revoked => Err(Refusal(format!(
                "the certificate of node {node} was revoked"
            ))),
            other => Ok(other),
        }
    }

    /// Notes an open connection.
    ///
    /// # Errors
    /// When there are too many already of those who are no nodes.
    pub(crate) fn opened(
        &self,
        certificate: Option<NodeCertificate>,
    ) -> Result<Arc<Open>, Refusal> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|known| known.strong_count() > 0);
        let is_stranger = certificate.is_none_or(|shown| self.check(&shown).is_err());
        let stranger = |known: &Weak<Open>| {
            let known = known.upgrade();
            known.is_some_and(|known| known.is_stranger)
        };
        if is_stranger && open.iter().filter(|it| stranger(it)).count() >= STRANGERS_MAX {
            return Err(Refusal(
                "too many connections of those who are no nodes".to_owned(),
            ));
        }
        let opened = Arc::new(Open {
            certificate,
            is_stranger,
            since: Instant::now(),
            cut: CancellationToken::new(),
        });
        open.push(Arc::downgrade(&opened));
        Ok(opened)
    }

    /// Ends the connections of those who may not have them any more, until it
    /// is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    fn look(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in open.iter().filter_map(Weak::upgrade) {
            let refusal = match &connection.certificate {
                Some(certificate) if !connection.is_stranger => self.check(certificate).err(),
                _ if connection.since.elapsed() > STRANGER_LIFE => {
                    Some(Refusal("a stranger had its time".to_owned()))
                }
                _ => None,
            };
            if let Some(refusal) = refusal
                && !connection.cut.is_cancelled()
            {
                if !connection.is_stranger {
                    self.log(&refusal);
                }
                connection.cut.cancel();
            }
        }
    }

    /// What every service but the join and the ping puts before itself.
    #[allow(clippy::result_large_err, reason = "the signature of an interceptor")]
    pub(crate) fn admit(&self, request: Request<()>) -> Result<Request<()>, Status> {
        self.admit_if(request, Self::check)
    }

    /// A ping tells a node that was removed just that.
    #[allow(clippy::result_large_err, reason = "the signature of an interceptor")]
    pub(crate) fn admit_ping(&self, request: Request<()>) -> Result<Request<()>, Status> {
        self.admit_if(request, Self::check_caller)
    }

    #[allow(clippy::result_large_err, reason = "the signature of an interceptor")]
    fn admit_if(
        &self,
        mut request: Request<()>,
        check: fn(&Self, &NodeCertificate) -> Result<(), Refusal>,
    ) -> Result<Request<()>, Status> {
        let shown = request.extensions().get::<PeerCertificate>();
        let Some(certificate) = shown.and_then(|shown| shown.0) else {
            return Err(Status::unauthenticated(
                "this port serves the nodes of its cluster, and there was no certificate of one",
            ));
        };
        if let Err(refusal) = check(self, &certificate) {
            self.log(&refusal);
            return Err(Status::unauthenticated(refusal.to_string()));
        }
        let node = certificate.name.node;
        request.extensions_mut().insert(Caller { node });
        Ok(request)
    }

    /// Says why somebody was refused, but not as often as somebody may try.
    pub(crate) fn log(&self, refusal: &dyn fmt::Display) {
        let mut at = self
            .refused_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if at.is_none_or(|at| at.elapsed() >= REFUSALS_LOGGED_EVERY) {
            *at = Some(Instant::now());
            warn!(reason = %refusal, "a peer is refused");
        }
    }
}

// === impl Open ===

impl Open {
    /// When the connection has to end.
    pub(crate) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    pub(crate) fn certificate(&self) -> PeerCertificate {
        PeerCertificate(self.certificate)
    }
}
