//! Who sent a request, from where, and which registry its host names; and what a
//! client is told that has yet to say who it is.

use std::sync::Arc;

use axum::http::Method;
use axum::http::header::{AUTHORIZATION, HOST, USER_AGENT};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use entrepot_oci::RegistryId;
use entrepot_service::{Caller, Origin, RequestId, ServiceError};

use crate::path::Endpoint;
use crate::{Front, token};

/// What ECR calls itself in its challenges.
const SERVICE: &str = "ecr.amazonaws.com";
/// What ECR Public calls itself there.
const SERVICE_PUBLIC: &str = "public.ecr.aws";
const BEARER: &str = "bearer";
const BASIC: &str = "basic";
/// By which of them a client came to a proxy in front.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

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

/// Whether a request is for the public registries.
pub(crate) fn is_public(front: &Front, parts: &Parts) -> bool {
    let domain = front.domain.as_ref();
    domain.is_some_and(|domain| host(parts).is_some_and(|host| domain.is_public(host)))
}

/// Who sent a request for the public registries, of which it names one or none.
pub(crate) async fn of_public(
    front: &Front,
    parts: &Parts,
    id: &RequestId,
    named: Option<RegistryId>,
) -> Result<Caller, ServiceError> {
    let (credentials, origin) = (credentials(parts), origin(parts, id));
    let caller = front.registry.public_caller(credentials, origin, named);
    caller.await
}

pub(crate) fn has_credentials(parts: &Parts) -> bool {
    credentials(parts).is_some()
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

/// How a client is to say who it is (RFC 9110, 11.6.1).
///
/// One challenge, never both. Bearer sends clients to `/token`, with their
/// credentials or without any; docker and containerd, told of Basic as well, would
/// not go on without a password. Who came with Basic hears that it was wrong, as
/// does whoever asks `/token` itself: there, nothing else is taken.
pub(crate) fn challenge(front: &Front, parts: &Parts) -> String {
    let (service, tokens) = if is_public(front, parts) {
        (SERVICE_PUBLIC, token::PATH_PUBLIC)
    } else {
        (SERVICE, token::PATH)
    };
    challenge_of(front.domain.is_some(), service, tokens, parts)
}

fn challenge_of(has_domain: bool, service: &str, tokens: &str, parts: &Parts) -> String {
    let host = host(parts).unwrap_or("localhost");
    let scheme = credentials(parts).map(|line| {
        let scheme = line.trim_start().split(' ').next().unwrap_or_default();
        scheme.to_ascii_lowercase()
    });
    let is_token = [token::PATH, tokens].contains(&parts.uri.path());
    if is_token || scheme.as_deref() == Some(BASIC) {
        return format!("Basic realm=\"https://{host}/\",service=\"{service}\"");
    }
    let transport = if has_domain || is_secure(parts) {
        "https"
    } else {
        "http"
    };
    let mut told = format!("Bearer realm=\"{transport}://{host}{tokens}\",service=\"{service}\"");
    if let Some(scope) = scope(parts) {
        told = format!("{told},scope=\"{scope}\"");
    }
    if scheme.as_deref() == Some(BEARER) {
        told.push_str(",error=\"invalid_token\"");
    }
    told
}

/// What a token would have to be for: some clients ask for no other one. Names
/// that were read as names have nothing in them that could end the quotes.
fn scope(parts: &Parts) -> Option<String> {
    let endpoint: Endpoint = parts.uri.path().parse().ok()?;
    let repository = match &endpoint {
        Endpoint::Base => return None,
        Endpoint::Catalog => return Some("registry:catalog:*".to_owned()),
        Endpoint::Tags(name)
        | Endpoint::Referrers(name, _)
        | Endpoint::Manifest(name, _)
        | Endpoint::Blob(name, _)
        | Endpoint::Uploads(name)
        | Endpoint::Upload(name, _) => name,
    };
    let is_upload = matches!(endpoint, Endpoint::Uploads(_) | Endpoint::Upload(..));
    let actions = match parts.method {
        Method::DELETE if !is_upload => "delete",
        Method::GET | Method::HEAD if !is_upload => "pull",
        _ => "pull,push",
    };
    Some(format!("repository:{repository}:{actions}"))
}

/// Whether the client speaks TLS, with this node or, as it says, with a proxy in
/// front. Who says so wrongly misleads nobody but themselves.
fn is_secure(parts: &Parts) -> bool {
    let origin = parts.extensions.get::<Origin>();
    let forwarded = parts.headers.get(FORWARDED_PROTO);
    let forwarded = forwarded.and_then(|value| value.to_str().ok());
    // Of several proxies, the first is the client's.
    let first = forwarded.and_then(|value| value.split(',').next());
    origin.is_some_and(|origin| origin.is_secure)
        || first.is_some_and(|it| it.trim().eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::{SERVICE, SERVICE_PUBLIC, challenge_of};
    use crate::token;

    fn told(has_domain: bool, path: &str, headers: &[(&str, &str)]) -> String {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        challenge_of(has_domain, SERVICE, token::PATH, &parts)
    }

    #[test]
    fn a_challenge_names_the_host_and_nothing_else_of_the_request() {
        let basic = ("authorization", "Basic x");
        let ours = told(false, "/v2/", &[("host", "r.example:5000"), basic]);
        assert_eq!(
            ours,
            "Basic realm=\"https://r.example:5000/\",service=\"ecr.amazonaws.com\""
        );
        let quoted = told(false, "/v2/", &[("host", "a\" b"), basic]);
        assert!(quoted.contains("https://localhost/"));
    }

    #[test]
    fn whoever_brings_nothing_is_sent_to_where_nothing_is_enough() {
        let host = ("host", "r.example");
        let plain = "Bearer realm=\"http://r.example/token\",service=\"ecr.amazonaws.com\"";
        assert_eq!(told(false, "/v2/", &[host]), plain);
        let wrong = told(false, "/v2/", &[host, ("authorization", "bearer x")]);
        assert_eq!(wrong, format!("{plain},error=\"invalid_token\""));
        // Which is asked by Basic itself.
        assert!(told(false, "/token", &[host]).starts_with("Basic "));
    }

    #[test]
    fn the_public_registries_have_tokens_of_their_own() {
        let told = |path: &str| {
            let request = Request::builder()
                .uri(path)
                .header("host", "public.example");
            let (parts, ()) = request.body(()).unwrap().into_parts();
            challenge_of(true, SERVICE_PUBLIC, token::PATH_PUBLIC, &parts)
        };
        let realm = "Bearer realm=\"https://public.example/token/\",service=\"public.ecr.aws\"";
        assert_eq!(told("/v2/"), realm);
        for path in ["/token", "/token/"] {
            assert!(told(path).starts_with("Basic "), "{path}");
        }
    }

    #[test]
    fn a_challenge_says_what_for() {
        let host = ("host", "r.example");
        let upload = "/v2/a/b/blobs/uploads/session";
        for (path, scope) in [
            ("/v2/a/b/manifests/v1", Some("repository:a/b:pull")),
            ("/v2/a/b/tags/list", Some("repository:a/b:pull")),
            (upload, Some("repository:a/b:pull,push")),
            ("/v2/_catalog", Some("registry:catalog:*")),
            ("/v2/", None),
            ("/v2/A%22,x/tags/list", None),
        ] {
            let told = told(false, path, &[host]);
            let found = told.split_once(",scope=");
            let expected = scope.map(|scope| format!("\"{scope}\""));
            assert_eq!(found.map(|(_, it)| it.to_owned()), expected, "{path}");
        }
    }

    #[test]
    fn nobody_is_to_send_in_the_clear_what_proves_them() {
        let secure = "Bearer realm=\"https://r.example/token\"";
        let host = ("host", "r.example");
        assert!(told(true, "/v2/", &[host]).starts_with(secure));
        for said in ["https", "HTTPS, http"] {
            let forwarded = ("x-forwarded-proto", said);
            assert!(told(false, "/v2/", &[host, forwarded]).starts_with(secure));
        }
        for said in ["http", "http, https", "\"https", ""] {
            let forwarded = ("x-forwarded-proto", said);
            let told = told(false, "/v2/", &[host, forwarded]);
            assert!(told.starts_with("Bearer realm=\"http://r.example/token\""));
        }
    }
}
