//! Answers: a status, headers and a body, from what an operation brought.
//!
//! Every header of a success is set here, so that two endpoints cannot name the
//! same thing differently. Content is passed on as a stream, never gathered.

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    InvalidHeaderValue, LOCATION, RANGE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use entrepot_oci::{Digest, Reference, RepositoryName};
use entrepot_service::{BlobInfo, BlobStream, ManifestContent, PutManifest, UploadState};
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::warn;

use crate::entity_tag::entity_tag;
use crate::error::Refusal;
use crate::path::{Endpoint, upload};
use crate::traced::Traced;

mod lists;

pub(crate) use lists::{catalog, referrers, tags};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// Headers of most answers, those that come later included.
const HEADERS_USUAL: usize = 12;

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// An answer that is being put together.
#[derive(Debug)]
struct Answer(Response);

/// The body of every refusal (OCI distribution, "Error Codes").
#[derive(Debug, Serialize)]
struct Errors<'a> {
    errors: Vec<ErrorEntry<'a>>,
}

#[derive(Debug, Serialize)]
struct ErrorEntry<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a Value>,
}

// === impl Answer ===

impl Answer {
    fn new(status: StatusCode) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        // At once, instead of in steps.
        response.headers_mut().reserve(HEADERS_USUAL);
        Self(response)
    }

    fn status(mut self, status: StatusCode) -> Self {
        *self.0.status_mut() = status;
        self
    }

    /// The one line that a header has.
    fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        match HeaderValue::from_str(value.as_ref()) {
            Ok(value) => self.set(name, value),
            Err(error) => {
                self.0.headers_mut().remove(&name);
                self.left_out(&name, &error)
            }
        }
    }

    fn set(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name, value);
        self
    }

    /// Nothing that passed a grammar fails; a value that does is worth less than
    /// the answer it belongs to.
    fn left_out(self, name: &HeaderName, error: &InvalidHeaderValue) -> Self {
        warn!(%name, %error, "a header was left out");
        self
    }

    /// One more line of a header.
    fn line(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        match HeaderValue::from_str(value.as_ref()) {
            Ok(value) => {
                self.0.headers_mut().append(name, value);
                self
            }
            Err(error) => self.left_out(&name, &error),
        }
    }

    fn length(self, bytes: u64) -> Self {
        self.set(CONTENT_LENGTH, bytes.into())
    }

    fn digest(self, digest: &Digest) -> Self {
        self.header(CONTENT_DIGEST, digest.to_string())
    }

    fn content(self, digest: &Digest) -> Self {
        // One text for both: the tag is the digest in quotes.
        let tag = Bytes::from(entity_tag(digest));
        let bare = tag.slice(1..tag.len() - 1);
        self.shared(CONTENT_DIGEST, bare).shared(ETAG, tag)
    }

    fn shared(self, name: HeaderName, value: Bytes) -> Self {
        match HeaderValue::from_maybe_shared(value) {
            Ok(value) => self.set(name, value),
            Err(error) => self.left_out(&name, &error),
        }
    }

    /// What GET, HEAD and a part have in common, of content of `size` bytes.
    fn whole(self, digest: &Digest, media_type: &str, size: u64) -> Self {
        self.content(digest)
            .set(ACCEPT_RANGES, HeaderValue::from_static("bytes"))
            .header(CONTENT_TYPE, media_type)
            .length(size)
    }

    /// Those bytes alone, which are some, of content of `size` bytes (RFC 9110,
    /// 14.4).
    fn part(self, part: &Range<u64>, size: u64) -> Self {
        let last = part.end.saturating_sub(1);
        self.status(StatusCode::PARTIAL_CONTENT)
            .length(part.end.saturating_sub(part.start))
            .header(CONTENT_RANGE, format!("bytes {}-{last}/{size}", part.start))
    }

    fn json(self, media_type: &str, value: &impl Serialize) -> Response {
        // Strings, numbers and trees of them always serialize.
        let text = serde_json::to_vec(value).unwrap_or_default();
        self.header(CONTENT_TYPE, media_type).body(text)
    }

    fn body(mut self, body: impl Into<Body>) -> Response {
        *self.0.body_mut() = body.into();
        self.0
    }

    fn empty(self) -> Response {
        self.0
    }
}

/// The answer to `GET /v2/`: this registry speaks the protocol, and the caller
/// may.
pub(crate) fn base() -> Response {
    Answer::new(StatusCode::OK)
        .header(CONTENT_TYPE, JSON)
        .body("{}")
}

/// The answer of `/token`: good for so many seconds.
pub(crate) fn token(token: &str, seconds: i64) -> Response {
    let answer = Answer::new(StatusCode::OK).header(CACHE_CONTROL, "no-store");
    let names = json!({"token": token, "access_token": token, "expires_in": seconds});
    answer.json(JSON, &names)
}

pub(crate) fn refusal(refusal: &Refusal) -> Response {
    let entry = |detail| ErrorEntry {
        code: refusal.code,
        message: &refusal.message,
        detail,
    };
    let errors = if refusal.details.is_empty() {
        vec![entry(None)]
    } else {
        refusal.details.iter().map(|d| entry(Some(d))).collect()
    };
    let answer = Answer::new(refusal.status);
    let answer = refusal
        .headers
        .iter()
        .fold(answer, |answer, (name, value)| {
            answer.header(name.clone(), value)
        });
    answer.json(JSON, &Errors { errors })
}

/// What was removed, or will be (202); by its digest, if it was named so.
pub(crate) fn removed(digest: Option<&Digest>) -> Response {
    let answer = Answer::new(StatusCode::ACCEPTED);
    match digest {
        Some(digest) => answer.digest(digest).empty(),
        None => answer.empty(),
    }
}

/// The client has the content already (304).
pub(crate) fn not_modified(digest: &Digest) -> Response {
    Answer::new(StatusCode::NOT_MODIFIED)
        .content(digest)
        .empty()
}

// === Blobs ===

/// HEAD of a blob.
pub(crate) fn blob_facts(blob: &BlobInfo) -> Response {
    whole_blob(blob).empty()
}

/// A blob, or with `part` those bytes of it.
pub(crate) fn blob(blob: &BlobInfo, part: Option<Range<u64>>, content: BlobStream) -> Response {
    let answer = match part {
        None => whole_blob(blob),
        Some(part) => whole_blob(blob).part(&part, blob.size),
    };
    let digest = blob.digest;
    // The status is out already: all that is left is to cut the connection,
    // which hyper does, and to say why.
    let content =
        content.inspect_err(move |error| warn!(%digest, %error, "a download was cut off"));
    answer.body(Body::from_stream(Traced::new(content)))
}

pub(crate) fn blob_created(repository: &RepositoryName, blob: &BlobInfo) -> Response {
    let location = Endpoint::Blob(repository.clone(), blob.digest);
    Answer::new(StatusCode::CREATED)
        .header(LOCATION, location.to_string())
        .digest(&blob.digest)
        .empty()
}

fn whole_blob(blob: &BlobInfo) -> Answer {
    Answer::new(StatusCode::OK).whole(&blob.digest, OCTETS, blob.size)
}

// === Uploads ===

/// An upload that goes on: 202 after a POST or PATCH, 204 when asked for.
pub(crate) fn upload_state(
    status: StatusCode,
    repository: &RepositoryName,
    state: &UploadState,
) -> Response {
    Answer::new(status)
        .header(LOCATION, upload(repository, &state.session))
        .header(RANGE, received(state.size))
        .header(UPLOAD_UUID, &state.session)
        .empty()
}

pub(crate) fn upload_cancelled() -> Response {
    Answer::new(StatusCode::NO_CONTENT).empty()
}

/// What of an upload is here, as `Range` has it. Nothing is `0-0` too: Docker's
/// registry answers so and its clients expect it.
pub(crate) fn received(bytes: u64) -> String {
    format!("0-{}", bytes.saturating_sub(1))
}

// === Manifests ===

/// A manifest, or with `part` those bytes of it.
pub(crate) fn manifest(manifest: &ManifestContent, part: Option<Range<u64>>) -> Response {
    let content = &manifest.content;
    let size = content.len() as u64;
    let answer = Answer::new(StatusCode::OK).whole(&manifest.digest, &manifest.media_type, size);
    // A part lies within the content, which is in memory.
    let bounds = part.as_ref().and_then(|part| {
        let start = usize::try_from(part.start).ok()?;
        Some(start..usize::try_from(part.end).ok()?)
    });
    match part.zip(bounds) {
        None => answer.body(content.clone()),
        Some((part, bounds)) => answer.part(&part, size).body(content.slice(bounds)),
    }
}

pub(crate) fn manifest_created(repository: &RepositoryName, put: &PutManifest) -> Response {
    let location = Endpoint::Manifest(repository.clone(), Reference::Digest(put.digest));
    let answer = Answer::new(StatusCode::CREATED)
        .header(LOCATION, location.to_string())
        .content(&put.digest);
    // It promises the referrers API: clients keep no list of their own then.
    let answer = match &put.subject {
        Some(subject) => answer.header(SUBJECT, subject.to_string()),
        None => answer,
    };
    put.tags
        .iter()
        .fold(answer, |answer, tag| answer.line(TAG, tag))
        .empty()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::{received, refusal};
    use crate::error::{Refusal, RequestError};
    use entrepot_oci::{Algorithm, Digest};
    use entrepot_service::{RequestId, ServiceError};

    async fn body_of(refused: impl Into<Refusal>) -> Value {
        let body = refusal(&refused.into()).into_body();
        serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap()
    }

    #[test]
    fn received_bytes_are_counted_inclusively() {
        assert_eq!(
            [0, 1, 2, 1000].map(received),
            ["0-0", "0-0", "0-1", "0-999"]
        );
    }

    #[tokio::test]
    async fn refusals_have_the_shape_of_the_specification() {
        assert_eq!(
            body_of(ServiceError::UploadUnknown).await["errors"][0]["code"],
            "BLOB_UPLOAD_UNKNOWN"
        );
        assert_eq!(
            body_of(RequestError::PageSizeInvalid).await,
            json!({"errors": [{
                "code": "UNSUPPORTED",
                "message": "the query parameter n must be a number, not negative",
            }]})
        );
    }

    #[tokio::test]
    async fn each_absent_blob_is_an_entry() {
        let digests = [b"a", b"b"].map(|content| Digest::of(Algorithm::Sha256, content));
        let body = body_of(ServiceError::ManifestBlobsUnknown(digests.to_vec())).await;
        let details: Vec<_> = body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["detail"])
            .collect();
        let expected = digests.map(|digest| json!({"digest": digest.to_string()}));
        assert_eq!(details, expected.iter().collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn an_error_of_this_node_shows_the_id_of_its_request() {
        let id = RequestId::of(Some("0123"));
        let internal = ServiceError::Internal {
            id: "4567".to_owned(),
        };
        assert_eq!(
            body_of(Refusal::from(internal).of_request(&id)).await,
            json!({"errors": [{
                "code": "UNKNOWN",
                "message": "internal error; the node's log has it under this id",
                "detail": {"id": "0123"},
            }]})
        );
        let of_the_client = Refusal::from(ServiceError::UploadUnknown).of_request(&id);
        assert_eq!(of_the_client.details, Vec::<Value>::new());
    }
}
