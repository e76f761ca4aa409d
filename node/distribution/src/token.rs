//! `/token`: where clients of the Bearer flow change their credentials, or none,
//! for a token (the distribution project's token specification).

use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use entrepot_oci::RepositoryName;
use entrepot_service::{Caller, Registry};

use crate::decode::Query;
use crate::error::{Failure, RequestError};
use crate::render;

pub(crate) const PATH: &str = "/token";
/// As ECR Public has it.
pub(crate) const PATH_PUBLIC: &str = "/token/";
/// Of a request; more are not looked at.
const SCOPES_MAX: usize = 32;

/// A token for `who`.
pub(crate) fn answer(
    registry: &Registry,
    who: &Caller,
    parts: &Parts,
) -> Result<Response, Failure> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(RequestError::MethodNotAllowed { allow: "GET, HEAD" }.into());
    }
    let query = Query::parse(parts.uri.query());
    let scopes = query.all("scope").flat_map(|scope| scope.split(' '));
    let repositories: Vec<RepositoryName> =
        scopes.take(SCOPES_MAX).filter_map(repository).collect();
    let given = registry.bearer_token(who, &repositories)?;
    let token = given.token.expose();
    let seconds = (given.expires_ms - given.issued_ms) / 1000;
    Ok(render::token(token, seconds))
}

/// Of a scope like `repository:team/app:pull,push`.
fn repository(scope: &str) -> Option<RepositoryName> {
    let (name, _actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn a_scope_names_its_repository() {
        let named = |scope| repository(scope).map(|name| name.to_string());
        assert_eq!(
            named("repository:team/app:pull,push").as_deref(),
            Some("team/app")
        );
        for other in [
            "",
            "registry:catalog:*",
            "repository:app",
            "repository:A:pull",
        ] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
