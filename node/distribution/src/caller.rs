//! Who sent a request, from where, and which registry its host names; and what a
//! client is told that has yet to say who it is.

use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, HOST, USER_AGENT};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use entrepot_service::{Caller, Origin, RequestId, ServiceError};

use crate::Front;

/// What ECR calls itself in its challenges.
const SERVICE: &str = "ecr.amazonaws.com";
const BEARER: &str = "bearer";

/// Who sent the request: nobody, if there are no credentials.
pub(crate) async fn of(
    front: &Front,
    parts: &Parts,
    id: &RequestId,
) -> Result<Caller, ServiceError> {
    let registry = &front.registry;
    let domain = front.domain.as_ref();
    let named = match domain.and_then(|domain| domain.registry(host(parts)?)) {
        None => None,
        Some(named) if named.region == *registry.region() => Some(named.account),
        Some(_) => {
            return Err(ServiceError::Invalid(format!(
                "the host names another region; this node serves {}",
                registry.region()
            )));
        }
    };
    let origin = origin(parts, id);
    registry.caller(credentials(parts), origin, named).await
}

/// Where the request came from.
pub(crate) fn origin(parts: &Parts, id: &RequestId) -> Arc<Origin> {
    let connection: Origin = parts.extensions.get().cloned().unwrap_or_default();
    let agent = parts.headers.get(USER_AGENT);
    connection.of_request(id, agent.and_then(|agent| agent.to_str().ok()))
}

/// Those of two lines are none: a proxy in front may have looked at the other.
fn credentials(parts: &Parts) -> Option<&str> {
    let mut lines = parts.headers.get_all(AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok(),
        _ => None,
    }
}

/// The host that the client has asked, with its port, if it can stand within
/// quotes.
fn host(parts: &Parts) -> Option<&str> {
    let line = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = || parts.uri.authority().map(Authority::as_str);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b);
    line.or_else(authority)
        .filter(|host| !host.is_empty() && host.bytes().all(is_plain))
}

/// How a client is to say who it is (RFC 9110, 11.6.1): as ECR has it, by Basic.
/// Who came with a Bearer token is told where there are others; by TLS where
/// registries have hosts of their own, whatever ends that in front of nodes.
pub(crate) fn challenge(front: &Front, parts: &Parts) -> String {
    challenge_of(front.domain.is_some(), parts)
}

fn challenge_of(has_domain: bool, parts: &Parts) -> String {
    let host = host(parts).unwrap_or("localhost");
    let is_bearer = credentials(parts).is_some_and(|line| {
        let scheme = line.trim_start().split(' ').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(BEARER)
    });
    if !is_bearer {
        return format!("Basic realm=\"https://{host}/\",service=\"{SERVICE}\"");
    }
    let origin = parts.extensions.get::<Origin>();
    let scheme = if has_domain || origin.is_some_and(|origin| origin.is_secure) {
        "https"
    } else {
        "http"
    };
    format!(
        "Bearer realm=\"{scheme}://{host}/token\",service=\"{SERVICE}\",error=\"invalid_token\""
    )
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::challenge_of;

    #[test]
    fn a_challenge_names_the_host_and_nothing_else_of_the_request() {
        let told_of = |has_domain, host: &str, credentials: &str| {
            let request = Request::builder().header("host", host);
            let request = request.header("authorization", credentials).body(());
            challenge_of(has_domain, &request.unwrap().into_parts().0)
        };
        let told = |host: &str, credentials: &str| told_of(false, host, credentials);
        assert_eq!(
            told("r.example:5000", "Basic x"),
            "Basic realm=\"https://r.example:5000/\",service=\"ecr.amazonaws.com\""
        );
        assert!(told("a\" b", "Basic x").contains("https://localhost/"));
        assert!(
            told("r.example", "Bearer x").starts_with("Bearer realm=\"http://r.example/token\"")
        );
        // Nobody is to send what proves them in the clear.
        let secure = told_of(true, "r.example", "Bearer x");
        assert!(secure.starts_with("Bearer realm=\"https://r.example/token\""));
    }
}
