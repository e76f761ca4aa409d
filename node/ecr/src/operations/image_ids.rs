//! What images are named by, and how they are found by it: a digest, or a tag that
//! points to one now.
//!
//! Owns the words for images that are not there.

use entrepot_oci::{Digest, Reference, RepositoryName, Tag};
use entrepot_service::{ImageInfo, ServiceError};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::error::ApiError;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ImageId {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_tag: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageFailure {
    image_id: ImageId,
    failure_code: &'static str,
    failure_reason: &'static str,
}

/// Why an image was not found by what a client gave for it.
#[derive(Clone, Copy)]
pub(super) enum Miss {
    DigestInvalid,
    TagInvalid,
    Nothing,
    Unknown,
    TagElsewhere,
    Referenced,
    Archived,
}

// === impl Miss ===

impl Miss {
    /// The code and the reason of a failure.
    pub(super) fn failure(self, image_id: ImageId) -> ImageFailure {
        let (failure_code, failure_reason) = match self {
            Self::DigestInvalid => (
                "InvalidImageDigest",
                "Invalid request parameters: image digest should satisfy the regex \
                 '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
            ),
            Self::TagInvalid => ("InvalidImageTag", "Invalid image tag"),
            Self::Nothing => (
                "MissingDigestAndTag",
                "Invalid request parameters: both tag and digest cannot be null",
            ),
            Self::Unknown => ("ImageNotFound", "Requested image not found"),
            Self::TagElsewhere => (
                "ImageTagDoesNotMatchDigest",
                "Requested image tag does not match the image digest",
            ),
            Self::Referenced => (
                "ImageReferencedByManifestList",
                "Requested image referenced by manifest list",
            ),
            Self::Archived => (
                "ImageInaccessible",
                "Requested image is archived: restore it before it is pulled",
            ),
        };
        ImageFailure {
            image_id,
            failure_code,
            failure_reason,
        }
    }
}

// === impl ImageId ===

impl ImageId {
    pub(super) fn of(digest: &Digest, tag: Option<&Tag>) -> Self {
        Self {
            image_digest: Some(digest.to_string()),
            image_tag: tag.map(Tag::to_string),
        }
    }

    pub(super) fn digest(&self) -> Result<Option<Digest>, Miss> {
        let digest = self.image_digest.as_deref().map(str::parse);
        digest.transpose().map_err(|_| Miss::DigestInvalid)
    }

    pub(super) fn tag(&self) -> Result<Option<Tag>, Miss> {
        let tag = self.image_tag.as_deref().map(str::parse);
        tag.transpose().map_err(|_| Miss::TagInvalid)
    }
}

/// The image that `id` names, or why there is none, on the way to `action`.
pub(super) async fn find(
    call: &Call,
    action: &str,
    repository: &RepositoryName,
    id: &ImageId,
) -> Result<Result<ImageInfo, Miss>, ApiError> {
    let (digest, tag) = match (id.digest(), id.tag()) {
        (Ok(digest), Ok(tag)) => (digest, tag),
        (Err(miss), _) | (_, Err(miss)) => return Ok(Err(miss)),
    };
    let reference = match (digest, &tag) {
        (_, Some(tag)) => Reference::Tag(tag.clone()),
        (Some(digest), None) => Reference::Digest(digest),
        (None, None) => return Ok(Err(Miss::Nothing)),
    };
    let found = call
        .registry
        .image_for(&call.caller, action, repository, &reference)
        .await;
    match found {
        Ok(image) if digest.is_some_and(|digest| digest != image.digest) => {
            Ok(Err(Miss::TagElsewhere))
        }
        Ok(image) => Ok(Ok(image)),
        Err(ServiceError::ManifestUnknown(_)) => Ok(Err(Miss::Unknown)),
        Err(error) => Err(call.failed(error)),
    }
}

pub(super) fn not_found(call: &Call, repository: &RepositoryName, id: &ImageId) -> ApiError {
    let quoted = |text: &Option<String>| text.as_deref().unwrap_or("null").to_owned();
    let (digest, tag) = (quoted(&id.image_digest), quoted(&id.image_tag));
    let account = call.account();
    ApiError::new(
        "ImageNotFoundException",
        format!(
            "The image with imageId {{imageDigest:'{digest}', imageTag:'{tag}'}} does not exist \
             within the repository with name '{repository}' in the registry with id '{account}'"
        ),
    )
}

/// The image that `id` names, which has to be there, for an operation that has an
/// `action` of its own.
pub(super) async fn existing(
    call: &Call,
    action: &str,
    repository: &RepositoryName,
    id: &ImageId,
) -> Result<ImageInfo, ApiError> {
    let wrong = || not_found(call, repository, id);
    let digest = id.digest().map_err(|_| wrong())?;
    let tag = id.tag().map_err(|_| wrong())?;
    let reference = match (digest, tag) {
        (_, Some(tag)) => Reference::Tag(tag),
        (Some(digest), None) => Reference::Digest(digest),
        (None, None) => {
            return Err(ApiError::new(
                "InvalidParameterException",
                "Invalid request parameters: both tag and digest cannot be null",
            ));
        }
    };
    let found = call
        .registry
        .image_for(&call.caller, action, repository, &reference)
        .await;
    match found {
        Ok(image) if digest.is_none_or(|digest| digest == image.digest) => Ok(image),
        Ok(_) | Err(ServiceError::ManifestUnknown(_)) => Err(wrong()),
        Err(error) => Err(call.failed(error)),
    }
}
