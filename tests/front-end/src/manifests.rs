//! Manifests: looked for, read, stored under a tag or a digest, deleted.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use entrepot_proto::registry::tag_condition::Is;
use entrepot_proto::registry::{
    DeleteManifestRequest, DeleteTagRequest, GetManifestRequest, PutManifestRequest, TagCondition,
};

use crate::failure::Failure;
use crate::node::Node;
use crate::{Head, drain, empty, respond_with};

pub(crate) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// A line for each tag that was set by `?tag=`.
const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// What a node takes.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(crate) async fn answer(
    node: &Node,
    repository: &str,
    reference: &str,
    head: &Head,
    body: Body,
) -> Result<Response, Failure> {
    match head.method {
        Method::GET | Method::HEAD => get(node, repository, reference, head).await,
        Method::PUT => put(node, repository, reference, head, body).await,
        Method::DELETE => delete(node, repository, reference, head).await,
        _ => Err(Failure::NO_SUCH_METHOD),
    }
}

async fn get(
    node: &Node,
    repository: &str,
    reference: &str,
    head: &Head,
) -> Result<Response, Failure> {
    let get = GetManifestRequest {
        repository: repository.to_owned(),
        reference: reference.to_owned(),
        without_content: head.method == Method::HEAD,
    };
    let found = node.client().get_manifest(node.call(get)).await?;
    let manifest = found.into_inner();
    let headers = [
        (header::CONTENT_TYPE, manifest.media_type),
        (header::CONTENT_LENGTH, manifest.size.to_string()),
        (DIGEST, manifest.digest),
    ];
    respond_with(StatusCode::OK, headers, Body::from(manifest.content))
}

async fn put(
    node: &Node,
    repository: &str,
    reference: &str,
    head: &Head,
    body: Body,
) -> Result<Response, Failure> {
    if head.length() > Some(MANIFEST_BYTES_MAX as u64) {
        drain(body).await;
        return Err(Failure::MANIFEST_TOO_LARGE);
    }
    let content = axum::body::to_bytes(body, MANIFEST_BYTES_MAX).await;
    // Or it was torn: then nobody is there to read why.
    let content = content.map_err(|_| Failure::MANIFEST_TOO_LARGE)?;
    let condition = condition(head)?;
    let tags = head.parameters("tag");
    let put = PutManifestRequest {
        repository: repository.to_owned(),
        reference: reference.to_owned(),
        tags: tags.clone(),
        condition,
        media_type: head
            .header(header::CONTENT_TYPE)
            .unwrap_or_default()
            .to_owned(),
        content,
    };
    let put = node.client().put_manifest(node.call(put)).await?;
    let put = put.into_inner();
    let location = format!("/v2/{repository}/manifests/{}", put.digest);
    let headers = [(header::LOCATION, location), (DIGEST, put.digest)];
    let mut response = empty(StatusCode::CREATED, headers)?;
    if let (false, Ok(subject)) = (
        put.subject.is_empty(),
        HeaderValue::try_from(put.subject.as_str()),
    ) {
        response.headers_mut().insert(SUBJECT, subject);
    }
    // Each has passed a grammar by now.
    for tag in tags.iter().flat_map(HeaderValue::try_from) {
        response.headers_mut().append(TAG, tag);
    }
    Ok(response)
}

async fn delete(
    node: &Node,
    repository: &str,
    reference: &str,
    head: &Head,
) -> Result<Response, Failure> {
    let repository = repository.to_owned();
    let condition = condition(head)?;
    if reference.contains(':') {
        // What a digest names never changes: nothing can be expected of it.
        if condition.is_some() {
            return Err(Failure::BAD_REQUEST);
        }
        let delete = DeleteManifestRequest {
            repository,
            digest: reference.to_owned(),
        };
        node.client().delete_manifest(node.call(delete)).await?;
    } else {
        let delete = DeleteTagRequest {
            repository,
            tag: reference.to_owned(),
            condition,
        };
        node.client().delete_tag(node.call(delete)).await?;
    }
    empty(StatusCode::ACCEPTED, [])
}

/// What the client expects of the tag: `If-Match: "sha256:..."`, `If-Match: *`
/// or `If-None-Match: *`. Anything else is refused: whoever expects something
/// wants nothing to happen unless it is so.
fn condition(head: &Head) -> Result<Option<TagCondition>, Failure> {
    let is = match (
        expected(head, &header::IF_MATCH)?,
        expected(head, &header::IF_NONE_MATCH)?,
    ) {
        (None, None) => return Ok(None),
        (Some("*"), None) => Is::MustBePresent(true),
        // The node refuses what is no digest.
        (Some(digest), None) => Is::ExpectedDigest(unquoted(digest).to_owned()),
        (None, Some("*")) => Is::MustBeAbsent(true),
        _ => return Err(Failure::BAD_REQUEST),
    };
    Ok(Some(TagCondition { is: Some(is) }))
}

/// A header that is there once at most, and is text.
fn expected<'a>(head: &'a Head, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let mut values = head.headers.get_all(name).into_iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text.trim())),
        _ => Err(Failure::BAD_REQUEST),
    }
}

fn unquoted(tag: &str) -> &str {
    let quoted = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    quoted.unwrap_or(tag)
}
