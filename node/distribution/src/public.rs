//! The public registries: one host for all of them, where the first component of a
//! path's repository is the alias of the registry.
//!
//! Everybody may pull there, with a token that everybody gets or without one. The
//! invariant: what a path names is looked for in public registries alone, whatever
//! it looks like.

use std::borrow::Cow;

use axum::http::request::Parts;
use axum::response::Response;
use entrepot_oci::{RegistryId, RepositoryName};
use entrepot_service::{Identity, Operation as Counted, RequestId, ServiceError};

use crate::body::RequestBody;
use crate::error::{Failure, RequestError};
use crate::operation::{NewBlob, Operation};
use crate::perform::Performer;
use crate::{Front, caller, token};

const TOKEN_PATHS: [&str; 2] = [token::PATH, token::PATH_PUBLIC];

pub(crate) async fn respond(
    front: &Front,
    parts: &Parts,
    body: RequestBody,
    id: &RequestId,
) -> Result<Response, Failure> {
    let registry = &front.registry;
    if TOKEN_PATHS.contains(&parts.uri.path()) {
        let who = caller::of_public(front, parts, id, None).await?;
        registry.admit(&who, Counted::GetAuthorizationToken)?;
        return token::answer(registry, &who, parts);
    }
    let (named, operation) = within(Operation::parse(parts, body.length())?)?;
    let who = &caller::of_public(front, parts, id, named).await?;
    let is_nobody = who.principal.identity == Identity::Anonymous;
    if operation == Operation::Ping && is_nobody && !caller::has_credentials(parts) {
        // Clients ask for this to hear where tokens are.
        return Err(ServiceError::Unauthorized.into());
    }
    registry.admit(who, operation.counted_as())?;
    let answered = Performer { registry, who }.perform(operation, body).await;
    answered.map_err(|failure| named_as_asked(&who.account, failure))
}

/// What is asked for, and of which registry, if of one.
fn within(operation: Operation) -> Result<(Option<RegistryId>, Operation), Failure> {
    use Operation as O;
    let (registry, operation) = match operation {
        O::Ping => return Ok((None, O::Ping)),
        // Nobody is told what there is.
        O::Catalog(_) => return Err(RequestError::PathUnknown.into()),
        O::Tags(name, page) => {
            let (registry, name) = split(&name)?;
            (registry, O::Tags(name, page))
        }
        O::Referrers(name, subject, page) => {
            let (registry, name) = split(&name)?;
            (registry, O::Referrers(name, subject, page))
        }
        O::Manifest(name, reference, operation) => {
            let (registry, name) = split(&name)?;
            (registry, O::Manifest(name, reference, operation))
        }
        O::Blob(name, digest, operation) => {
            let (registry, name) = split(&name)?;
            (registry, O::Blob(name, digest, operation))
        }
        O::NewBlob(name, operation) => {
            let (registry, name) = split(&name)?;
            let operation = new_blob(&registry, operation);
            (registry, O::NewBlob(name, operation))
        }
        O::Upload(name, session, operation) => {
            let (registry, name) = split(&name)?;
            (registry, O::Upload(name, session, operation))
        }
    };
    Ok((Some(registry), operation))
}

/// Blobs are mounted within one registry. From another one, an upload has to
/// follow.
fn new_blob(registry: &RegistryId, operation: NewBlob) -> NewBlob {
    match operation {
        NewBlob::Mount {
            from: Some(from),
            digest,
        } => match split(&from) {
            Ok((other, from)) if other == *registry => NewBlob::Mount {
                from: Some(from),
                digest,
            },
            _ => NewBlob::Open(Some(digest.algorithm())),
        },
        other => other,
    }
}

/// `alias/name` as the registry and the repository. An alias that nobody has names
/// a repository that is not there.
fn split(name: &RepositoryName) -> Result<(RegistryId, RepositoryName), ServiceError> {
    let parted = name.as_str().split_once('/').and_then(|(alias, name)| {
        let registry: RegistryId = alias.parse().ok()?;
        registry.is_public().then_some((registry, name))
    });
    let named = parted.and_then(|(registry, name)| Some((registry, name.parse().ok()?)));
    named.ok_or_else(|| ServiceError::NameUnknown(name.clone()))
}

/// A repository by the name that clients know it by.
pub(crate) fn shown<'a>(
    registry: &RegistryId,
    repository: &'a RepositoryName,
) -> Cow<'a, RepositoryName> {
    if !registry.is_public() {
        return Cow::Borrowed(repository);
    }
    // What was one name before it was split is one again.
    let whole = format!("{registry}/{repository}").parse();
    whole.map_or(Cow::Borrowed(repository), Cow::Owned)
}

fn named_as_asked(registry: &RegistryId, failure: Failure) -> Failure {
    let renamed = |error| match error {
        // What no push makes is not there, and no more is to be said of it.
        ServiceError::NameUnknown(name) | ServiceError::CreationOff(name) => {
            ServiceError::NameUnknown(shown(registry, &name).into_owned())
        }
        other => other,
    };
    match failure {
        Failure::Service(error) => renamed(error).into(),
        Failure::Upload { error, location } => Failure::Upload {
            error: renamed(error),
            location,
        },
        Failure::Request(_) => failure,
    }
}

#[cfg(test)]
mod tests {
    use entrepot_oci::{Algorithm, Digest};

    use super::{new_blob, shown, split};
    use crate::operation::NewBlob;

    #[test]
    fn the_first_component_is_an_alias() {
        let (registry, name) = split(&"bbbbccccdddd/team/app".parse().unwrap()).unwrap();
        assert_eq!(registry.account().as_str(), "111122223333");
        assert_eq!(name.as_str(), "team/app");
        let whole = shown(&registry, &name);
        assert_eq!(whole.as_str(), "bbbbccccdddd/team/app");
        for other in [
            "team/app",
            "bbbbccccdddd",
            "bbbbccccddd/team",
            "bbbbccccdddk/team",
            "111122223333/team",
            "1111ccccdddd/team",
            "team/bbbbccccdddd/app",
            "bbbbccccdddd/a",
        ] {
            assert!(split(&other.parse().unwrap()).is_err(), "{other}");
        }
    }

    #[test]
    fn blobs_are_mounted_within_one_registry() {
        let (registry, _) = split(&"bbbbccccdddd/app".parse().unwrap()).unwrap();
        let digest = Digest::of(Algorithm::Sha256, b"");
        let mount = |from: Option<&str>| NewBlob::Mount {
            from: from.map(|from| from.parse().unwrap()),
            digest,
        };
        let own = new_blob(&registry, mount(Some("bbbbccccdddd/other")));
        assert_eq!(own, mount(Some("other")));
        assert_eq!(new_blob(&registry, mount(None)), mount(None));
        for other in [
            "bbbbccccddde/other",
            "111122223333/other",
            "other",
            "team/other",
        ] {
            let opened = NewBlob::Open(Some(Algorithm::Sha256));
            assert_eq!(new_blob(&registry, mount(Some(other))), opened, "{other}");
        }
    }
}
