//! Requests as typed operations: everything that the head of a request says,
//! checked, before anybody is asked whether the caller may.
//!
//! Never touches a body. The invariant: an [`Operation`] holds valid values
//! only, so whatever fails after it was made failed behind this front end.

use axum::http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method};
use entrepot_oci::{Algorithm, ContentRange, Digest, MediaType, Reference, RepositoryName, Tag};
use entrepot_service::{Operation as Counted, TagCondition};

use crate::condition::Conditions;
use crate::decode::Query;
use crate::error::RequestError;
use crate::page::{Page, REPOSITORIES_PAGE_MAX, ReferrersPage, TAGS_PAGE_MAX};
use crate::path::{Endpoint, Session};
use crate::precondition;

/// The most tags that one PUT sets. Each is a header line of the answer, of
/// which some clients take a hundred and no more.
pub(crate) const TAGS_MAX: usize = 50;

/// What a request asks for (OCI distribution, "Endpoints").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Whether this registry speaks the protocol, and to the caller.
    Ping,
    /// The caller's repositories.
    Catalog(Page),
    Tags(RepositoryName, Page),
    /// The manifests whose subject this is.
    Referrers(RepositoryName, Digest, ReferrersPage),
    Manifest(RepositoryName, Reference, ManifestOperation),
    Blob(RepositoryName, Digest, BlobOperation),
    /// A POST that brings a blob, or opens the way for one.
    NewBlob(RepositoryName, NewBlob),
    Upload(RepositoryName, Session, UploadOperation),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ManifestOperation {
    Get(Conditions),
    Put(ManifestPut),
    /// Of a tag that is as expected.
    Delete(TagCondition),
}

/// What comes with a manifest besides its name and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestPut {
    pub(crate) content_type: Option<MediaType>,
    /// Besides the one that names it; no two are the same.
    pub(crate) tags: Vec<Tag>,
    pub(crate) condition: TagCondition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BlobOperation {
    Stat(Conditions),
    Get(Conditions),
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NewBlob {
    /// An upload, to be hashed with this algorithm if the client told it.
    Open(Option<Algorithm>),
    /// The whole blob in this request.
    Push { digest: Digest, length: Option<u64> },
    /// A blob that another repository has; none is named: whichever does.
    Mount {
        from: Option<RepositoryName>,
        digest: Digest,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UploadOperation {
    State,
    Append(Chunk),
    Finish(Chunk, Digest),
    Cancel,
}

/// Where in its upload a body belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// In bytes from the upload's start; none: where the last one ended.
    pub(crate) offset: Option<u64>,
    /// In bytes, where the client told it.
    pub(crate) length: Option<u64>,
}

// === impl Operation ===

impl Operation {
    /// As which of ECR's operations it counts where somebody asks too often.
    pub(crate) fn counted_as(&self) -> Counted {
        use {BlobOperation as B, ManifestOperation as M, NewBlob as N, UploadOperation as U};
        match self {
            Self::Manifest(_, _, M::Get(_)) | Self::Referrers(..) => Counted::BatchGetImage,
            Self::Manifest(_, _, M::Put(_)) => Counted::PutImage,
            Self::Blob(_, _, B::Stat(_)) => Counted::BatchCheckLayerAvailability,
            Self::Blob(_, _, B::Get(_)) => Counted::GetDownloadUrlForLayer,
            Self::NewBlob(_, N::Open(_) | N::Push { .. } | N::Mount { .. }) => {
                Counted::InitiateLayerUpload
            }
            Self::Upload(_, _, U::Finish(..)) => Counted::CompleteLayerUpload,
            Self::Upload(_, _, U::State | U::Append(_) | U::Cancel) => Counted::UploadLayerPart,
            Self::Ping
            | Self::Catalog(_)
            | Self::Tags(..)
            | Self::Manifest(_, _, M::Delete(_))
            | Self::Blob(_, _, B::Delete) => Counted::Other,
        }
    }

    /// Reads the head of a request, whose body has `length` bytes if that is
    /// known.
    pub(crate) fn parse(parts: &Parts, length: Option<u64>) -> Result<Self, RequestError> {
        let endpoint = parts.uri.path().parse().map_err(|error| match error {
            // Only who brings a manifest can be told to name it better.
            RequestError::TagInvalid(error) if parts.method != Method::PUT => {
                RequestError::TagUnknown(error)
            }
            other => other,
        })?;
        check_coding(parts)?;
        match endpoint {
            Endpoint::Base => readable(parts).map(|_| Self::Ping),
            Endpoint::Catalog => {
                let query = readable(parts)?;
                Ok(Self::Catalog(Page::parse(query, REPOSITORIES_PAGE_MAX)?))
            }
            Endpoint::Tags(repository) => {
                let query = readable(parts)?;
                Ok(Self::Tags(repository, Page::parse(query, TAGS_PAGE_MAX)?))
            }
            Endpoint::Referrers(repository, subject) => {
                let page = ReferrersPage::parse(readable(parts)?)?;
                Ok(Self::Referrers(repository, subject, page))
            }
            Endpoint::Manifest(repository, reference) => {
                let operation = ManifestOperation::parse(parts, &reference)?;
                Ok(Self::Manifest(repository, reference, operation))
            }
            Endpoint::Blob(repository, digest) => {
                Ok(Self::Blob(repository, digest, BlobOperation::parse(parts)?))
            }
            Endpoint::Uploads(repository) => match parts.method {
                Method::POST => Ok(Self::NewBlob(repository, NewBlob::parse(parts, length)?)),
                _ => not_allowed("POST"),
            },
            Endpoint::Upload(repository, session) => {
                let operation = UploadOperation::parse(parts, length)?;
                Ok(Self::Upload(repository, session, operation))
            }
        }
    }
}

// === impl ManifestOperation ===

impl ManifestOperation {
    fn parse(parts: &Parts, reference: &Reference) -> Result<Self, RequestError> {
        match parts.method {
            Method::GET | Method::HEAD => Ok(Self::Get(conditions(parts))),
            Method::PUT => ManifestPut::parse(parts, reference).map(Self::Put),
            Method::DELETE => precondition::of_tag(&parts.headers).map(Self::Delete),
            _ => not_allowed("GET, HEAD, PUT, DELETE"),
        }
    }
}

// === impl ManifestPut ===

impl ManifestPut {
    fn parse(parts: &Parts, reference: &Reference) -> Result<Self, RequestError> {
        let query = Query::parse(parts.uri.query());
        let mut tags: Vec<Tag> = Vec::new();
        for tag in query.all("tag") {
            let tag = tag.parse().map_err(RequestError::TagInvalid)?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
            if tags.len() > TAGS_MAX {
                return Err(RequestError::TagsTooMany { max: TAGS_MAX });
            }
        }
        if !tags.is_empty() && matches!(reference, Reference::Tag(_)) {
            return Err(RequestError::TagsWithoutDigest);
        }
        let content_type = header(parts, &CONTENT_TYPE)
            .map(MediaType::from_content_type)
            .transpose()
            .map_err(RequestError::ContentTypeInvalid)?;
        Ok(Self {
            content_type,
            tags,
            condition: precondition::of_tag(&parts.headers)?,
        })
    }
}

// === impl BlobOperation ===

impl BlobOperation {
    fn parse(parts: &Parts) -> Result<Self, RequestError> {
        match parts.method {
            Method::GET => Ok(Self::Get(conditions(parts))),
            Method::HEAD => Ok(Self::Stat(conditions(parts))),
            Method::DELETE => Ok(Self::Delete),
            _ => not_allowed("GET, HEAD, DELETE"),
        }
    }
}

// === impl NewBlob ===

impl NewBlob {
    fn parse(parts: &Parts, length: Option<u64>) -> Result<Self, RequestError> {
        let query = Query::parse(parts.uri.query());
        if let Some(mount) = query.get("mount") {
            let digest = mount.parse()?;
            let from = query.get("from").map(str::parse).transpose()?;
            return Ok(Self::Mount { from, digest });
        }
        if let Some(digest) = query.get("digest") {
            let digest = digest.parse()?;
            return Ok(Self::Push { digest, length });
        }
        query
            .get("digest-algorithm")
            .map(str::parse)
            .transpose()
            .map(Self::Open)
            .map_err(RequestError::AlgorithmUnknown)
    }
}

// === impl UploadOperation ===

impl UploadOperation {
    fn parse(parts: &Parts, length: Option<u64>) -> Result<Self, RequestError> {
        match parts.method {
            Method::GET | Method::HEAD => Ok(Self::State),
            Method::PATCH => Ok(Self::Append(Chunk::parse(parts, length)?)),
            Method::PUT => {
                let query = Query::parse(parts.uri.query());
                let digest = query.get("digest").ok_or(RequestError::DigestMissing)?;
                Ok(Self::Finish(Chunk::parse(parts, length)?, digest.parse()?))
            }
            Method::DELETE => Ok(Self::Cancel),
            _ => not_allowed("GET, HEAD, PATCH, PUT, DELETE"),
        }
    }
}

// === impl Chunk ===

impl Chunk {
    fn parse(parts: &Parts, length: Option<u64>) -> Result<Self, RequestError> {
        let Some(range) = header(parts, &CONTENT_RANGE) else {
            let offset = None;
            return Ok(Self { offset, length });
        };
        let range: ContentRange = range.parse().map_err(RequestError::ContentRangeInvalid)?;
        match length {
            Some(length) if length != range.length() => Err(RequestError::LengthMismatch {
                range: range.length(),
                length,
            }),
            _ => Ok(Self {
                offset: Some(range.first),
                length: Some(range.length()),
            }),
        }
    }
}

/// That content comes as it is: it is named by its digest, so nobody may change
/// it on the way (RFC 9110, 8.4).
fn check_coding(parts: &Parts) -> Result<(), RequestError> {
    let brings_content = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    let codings = parts.headers.get_all(CONTENT_ENCODING);
    let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if brings_content && !codings.into_iter().all(identity) {
        return Err(RequestError::ContentEncoded);
    }
    check_transfer(parts)
}

/// The library below takes the chunks apart, and leaves what else was done to
/// them as it is.
fn check_transfer(parts: &Parts) -> Result<(), RequestError> {
    let mut lines = parts.headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |line: &HeaderValue| line.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (lines.next(), lines.next()) {
        (None, _) => Ok(()),
        (Some(line), None) if is_chunked(line) => Ok(()),
        _ => Err(RequestError::TransferEncoded),
    }
}

fn conditions(parts: &Parts) -> Conditions {
    Conditions::parse(&parts.method, &parts.headers)
}

/// The query of what can only be read.
fn readable(parts: &Parts) -> Result<Option<&str>, RequestError> {
    match parts.method {
        Method::GET | Method::HEAD => Ok(parts.uri.query()),
        _ => not_allowed("GET, HEAD"),
    }
}

fn not_allowed<T>(allow: &'static str) -> Result<T, RequestError> {
    Err(RequestError::MethodNotAllowed { allow })
}

/// The text of a header; one that is no text, or that is there twice, counts as
/// empty, which no grammar allows.
fn header<'a>(parts: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    let mut lines = parts.headers.get_all(name).iter();
    let text = lines.next()?.to_str().unwrap_or_default();
    Some(if lines.next().is_none() { text } else { "" })
}

#[cfg(test)]
mod tests;
