//! `entrepot.peer.v1.Join`: the one service of the peer port that answers to
//! strangers. It believes nothing but the token's secret, takes small messages,
//! and few of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use entrepot_access::trust::{SigningRequest, TokenSecret};
use entrepot_proto::peer::join_server::Join;
use entrepot_proto::peer::{JoinReply, JoinRequest, RaftMember};
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::warn;

use super::{Newcomer, Trust};
use crate::ServiceError;

/// Of one message, bytes: a token's secret, a request for a certificate, and two
/// addresses.
pub const JOIN_BYTES_MAX: usize = 8 * 1024;

/// Attempts at once, and the time after which there may be one more.
const ATTEMPTS_MAX: u32 = 20;
const ATTEMPT_EVERY: Duration = Duration::from_millis(500);

/// Lets machines in that have a token.
#[derive(Debug, Clone)]
pub struct JoinServer {
    trust: Arc<Trust>,
    attempts: Arc<Attempts>,
}

/// So many may come at once, and then one after the other.
#[derive(Debug)]
struct Attempts(Mutex<Left>);

#[derive(Debug)]
struct Left {
    attempts: u32,
    at: Instant,
}

// === impl JoinServer ===

impl JoinServer {
    pub fn new(trust: Arc<Trust>) -> Self {
        Self {
            trust,
            attempts: Arc::new(Attempts::new()),
        }
    }

    /// What comes before a message is read.
    #[allow(clippy::result_large_err, reason = "the signature of an interceptor")]
    pub fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        if self.attempts.take(Instant::now()) {
            Ok(request)
        } else {
            Err(Status::resource_exhausted(
                "too many nodes ask to join at once; try again in a second",
            ))
        }
    }

    async fn admit(&self, request: JoinRequest) -> Result<JoinReply, ServiceError> {
        let admitted = self.trust.admit(newcomer(request)?).await?;
        let members = admitted.members.into_iter().map(|member| RaftMember {
            node: member.node,
            region: member.region.to_string(),
            address: member.peer_address,
        });
        Ok(JoinReply {
            node: admitted.node,
            region: admitted.region.to_string(),
            certificate: admitted.certificate.into(),
            authority: self.trust.root.der().to_vec().into(),
            cluster_key: self.trust.key.expose().to_vec().into(),
            members: members.collect(),
        })
    }
}

#[tonic::async_trait]
impl Join for JoinServer {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        match self.admit(request.into_inner()).await {
            Ok(reply) => Ok(Response::new(reply)),
            Err(error) => {
                warn!(%error, "a node was not let in");
                Err(status(&error))
            }
        }
    }
}

fn newcomer(request: JoinRequest) -> Result<Newcomer, ServiceError> {
    let invalid = |error: &dyn std::error::Error| ServiceError::Invalid(error.to_string());
    let region = match request.region.as_str() {
        "" => None,
        region => Some(region.parse().map_err(|error| invalid(&error))?),
    };
    let newcomer = Newcomer {
        token: TokenSecret::from_bytes(&request.token).map_err(|error| invalid(&error))?,
        request: SigningRequest::parse(&request.signing_request)
            .map_err(|error| invalid(&error))?,
        region,
        peer_address: request.peer_address,
        client_address: (!request.client_address.is_empty()).then_some(request.client_address),
    };
    Ok(newcomer)
}

/// The new node shows the message to its operator.
fn status(error: &ServiceError) -> Status {
    let message = error.to_string();
    match error {
        ServiceError::Denied(_) => Status::permission_denied(message),
        ServiceError::Invalid(_) => Status::invalid_argument(message),
        ServiceError::Conflict(_) => Status::failed_precondition(message),
        ServiceError::Unavailable { .. } => Status::unavailable(message),
        _ => Status::internal(message),
    }
}

// === impl Attempts ===

impl Attempts {
    fn new() -> Self {
        Self(Mutex::new(Left {
            attempts: ATTEMPTS_MAX,
            at: Instant::now(),
        }))
    }

    fn take(&self, now: Instant) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(left.at);
        let more = passed.as_millis() / ATTEMPT_EVERY.as_millis();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            left.attempts = left.attempts.saturating_add(more).min(ATTEMPTS_MAX);
            left.at = now;
        }
        let may = left.attempts > 0;
        left.attempts = left.attempts.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn attempts_come_back_one_by_one() {
        let attempts = Attempts::new();
        let take = || attempts.take(Instant::now());
        assert!((0..ATTEMPTS_MAX).all(|_| take()));
        assert!(!take());
        tokio::time::advance(ATTEMPT_EVERY).await;
        assert!(take());
        assert!(!take());
        tokio::time::advance(ATTEMPT_EVERY * 1_000).await;
        assert!((0..ATTEMPTS_MAX).all(|_| take()));
        assert!(!take());
    }
}
