//! Images: put, get, list, describe, delete, and what refers to them.
//!
//! An image is a manifest, with the tags that point to it now.

use std::collections::BTreeMap;

use entrepot_oci::{Digest, MANIFEST_BYTES_MAX, Reference, RepositoryName, Tag};
use entrepot_service::{
    Gathering, ImageInfo, ManifestPush, ServiceError, TagCondition, WantedReferrers,
};
use serde::{Deserialize, Serialize};

use super::image_ids::{self, ImageFailure, ImageId, Miss};
use super::storage_class::{StatusFilter, status_of};
use crate::api::Api;
use crate::call::Call;
use crate::error::ApiError;
use crate::page;
use crate::wire::json::seconds;

/// Manifests that one step of a listing looks at.
const STEP: usize = 200;
/// Of the manifests of one answer: two of the largest.
const ANSWER_BYTES_MAX: usize = 2 * MANIFEST_BYTES_MAX;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Image {
    registry_id: String,
    repository_name: String,
    image_id: ImageId,
    image_manifest: String,
    image_manifest_media_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutInput {
    repository_name: String,
    image_manifest: String,
    image_manifest_media_type: Option<String>,
    image_tag: Option<String>,
    image_digest: Option<String>,
}

#[derive(Serialize)]
pub(super) struct PutOutput {
    image: Image,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IdsInput {
    repository_name: String,
    image_ids: Vec<ImageId>,
}

#[derive(Serialize)]
pub(super) struct GetOutput {
    images: Vec<Image>,
    failures: Vec<ImageFailure>,
    /// What the manifests take of this node's memory, until they are written.
    #[serde(skip)]
    _held: Gathering,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteOutput {
    image_ids: Vec<ImageId>,
    failures: Vec<ImageFailure>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    tag_status: Option<TagStatus>,
    image_status: Option<StatusFilter>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum TagStatus {
    Tagged,
    Untagged,
    Any,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListInput {
    repository_name: String,
    next_token: Option<String>,
    max_results: Option<i64>,
    #[serde(default)]
    filter: Filter,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListOutput {
    image_ids: Vec<ImageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeInput {
    repository_name: String,
    image_ids: Option<Vec<ImageId>>,
    next_token: Option<String>,
    max_results: Option<i64>,
    #[serde(default)]
    filter: Filter,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeOutput {
    image_details: Vec<ImageDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageDetail {
    registry_id: String,
    repository_name: String,
    image_digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    image_tags: Vec<String>,
    image_size_in_bytes: u64,
    image_pushed_at: f64,
    image_manifest_media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_manifest_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_archived_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_activated_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_recorded_pull_time: Option<f64>,
}

/// Where a listing of tags goes on: behind this image, or within its tags.
#[derive(Serialize, Deserialize)]
struct Position {
    /// None: at the first image.
    after: Option<String>,
    /// Tags of the image behind that which are listed already.
    skip: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReferrersInput {
    repository_name: String,
    subject_id: ImageId,
    #[serde(default)]
    filter: ReferrersFilter,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ReferrersFilter {
    artifact_types: Vec<String>,
    artifact_status: StatusFilter,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReferrersOutput {
    referrers: Vec<Referrer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    digest: String,
    media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    artifact_status: &'static str,
}

// === impl Filter ===

impl Filter {
    pub(super) fn status(&self) -> TagStatus {
        self.tag_status.unwrap_or(TagStatus::Any)
    }

    /// Unless it is said, of those that can be pulled.
    fn shows(&self, image: &ImageInfo) -> bool {
        let status = self.image_status.unwrap_or_default();
        status.shows(image.is_archived)
    }
}

// === impl TagStatus ===

impl TagStatus {
    /// An image with these tags.
    pub(super) fn shows(self, tags: &[Tag]) -> bool {
        match self {
            Self::Any => true,
            Self::Tagged => !tags.is_empty(),
            Self::Untagged => tags.is_empty(),
        }
    }
}

pub(super) async fn put(call: &Call, input: PutInput) -> Result<PutOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let wanted = ImageId {
        image_digest: input.image_digest,
        image_tag: input.image_tag,
    };
    let invalid = |_| {
        ApiError::new(
            "InvalidParameterException",
            "Invalid parameter at 'imageId' failed to satisfy constraint: 'not a digest or a tag'",
        )
    };
    let digest = wanted.digest().map_err(invalid)?;
    let tag = wanted.tag().map_err(invalid)?;
    let media_type = input.image_manifest_media_type;
    let content_type = media_type.as_deref().map(str::parse).transpose();
    let content_type = content_type.map_err(|_| {
        ApiError::new(
            "InvalidParameterException",
            "Invalid parameter at 'imageManifestMediaType' failed to satisfy constraint: 'Unknown \
             media type'",
        )
    })?;
    let push = ManifestPush {
        digest,
        tags: tag.iter().cloned().collect(),
        condition: TagCondition::None,
        content_type,
        content: input.image_manifest.clone().into_bytes().into(),
    };
    let stored = call
        .registry
        .put_image(&call.caller, &repository, push)
        .await
        .map_err(|error| refused_put(call, &repository, tag.as_ref(), error))?;
    Ok(PutOutput {
        image: Image {
            registry_id: call.account().to_string(),
            repository_name: input.repository_name,
            image_id: ImageId::of(&stored.digest, tag.as_ref()),
            image_manifest: input.image_manifest,
            image_manifest_media_type: stored.media_type,
        },
    })
}

fn refused_put(
    call: &Call,
    repository: &RepositoryName,
    tag: Option<&Tag>,
    error: ServiceError,
) -> ApiError {
    let account = call.account();
    match error {
        ServiceError::ImageExists(digest) => {
            let tag = tag.map_or_else(|| "null".to_owned(), Tag::to_string);
            let message = format!(
                "Image with digest '{digest}' and tag '{tag}' already exists in the repository \
                 with name '{repository}' in registry with id '{account}'"
            );
            ApiError::new("ImageAlreadyExistsException", message)
        }
        ServiceError::DigestInvalid(text) => {
            ApiError::new("ImageDigestDoesNotMatchException", text)
        }
        error => call.failed(error),
    }
}

pub(super) async fn get(call: &Call, input: IdsInput) -> Result<GetOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    let (mut held, mut bytes) = (call.registry.gathering(), 0);
    for id in each(input.image_ids) {
        let image = match image_ids::find(call, "ecr:BatchGetImage", &repository, &id).await? {
            Ok(image) if image.is_archived => {
                failures.push(Miss::Archived.failure(id));
                continue;
            }
            Ok(image) => image,
            Err(miss) => {
                failures.push(miss.failure(id));
                continue;
            }
        };
        let reference = Reference::Digest(image.digest);
        let manifest = call
            .registry
            .get_manifest(&call.caller, &repository, &reference)
            .await;
        let manifest = match manifest {
            Ok(manifest) => manifest,
            // Deleted since.
            Err(ServiceError::ManifestUnknown(_)) => {
                failures.push(Miss::Unknown.failure(id));
                continue;
            }
            Err(ServiceError::ImageArchived(_)) => {
                failures.push(Miss::Archived.failure(id));
                continue;
            }
            Err(error) => return Err(call.failed(error)),
        };
        bytes += manifest.content.len();
        if bytes > ANSWER_BYTES_MAX {
            return Err(ApiError::new(
                "LimitExceededException",
                format!(
                    "The manifests of one answer have at most {ANSWER_BYTES_MAX} bytes together: \
                     ask for fewer images at a time"
                ),
            ));
        }
        let counted = held.grow(manifest.content.len());
        counted.map_err(|error| call.failed(error))?;
        call.registry
            .pulled(&call.caller, &repository, &manifest.digest);
        // A manifest is JSON, which is UTF-8.
        let content = String::from_utf8_lossy(&manifest.content).into_owned();
        images.push(Image {
            registry_id: call.account().to_string(),
            repository_name: input.repository_name.clone(),
            image_id: ImageId {
                image_digest: Some(image.digest.to_string()),
                image_tag: id.image_tag,
            },
            image_manifest: content,
            image_manifest_media_type: manifest.media_type,
        });
    }
    Ok(GetOutput {
        images,
        failures,
        _held: held,
    })
}

/// Each once, however often it is named.
fn each(ids: Vec<ImageId>) -> Vec<ImageId> {
    let mut each: Vec<ImageId> = Vec::with_capacity(ids.len());
    for id in ids {
        if !each.contains(&id) {
            each.push(id);
        }
    }
    each
}

pub(super) async fn delete(call: &Call, input: IdsInput) -> Result<DeleteOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let mut output = DeleteOutput {
        image_ids: Vec::new(),
        failures: Vec::new(),
    };
    for id in input.image_ids {
        let image = match image_ids::find(call, "ecr:BatchDeleteImage", &repository, &id).await? {
            Ok(image) => image,
            Err(miss) => {
                output.failures.push(miss.failure(id));
                continue;
            }
        };
        let tag = id.tag().unwrap_or_default();
        let deleted = call
            .registry
            .delete_image(&call.caller, &repository, &image.digest, tag.as_ref())
            .await;
        match deleted {
            Ok(tags) if tags.is_empty() => output.image_ids.push(ImageId::of(&image.digest, None)),
            Ok(tags) => {
                let gone = tags.iter().map(|tag| ImageId::of(&image.digest, Some(tag)));
                output.image_ids.extend(gone);
            }
            Err(ServiceError::ManifestUnknown(_) | ServiceError::TagNotAsExpected(_)) => {
                output.failures.push(Miss::Unknown.failure(id));
            }
            Err(ServiceError::Referenced(_)) => {
                output.failures.push(Miss::Referenced.failure(id));
            }
            Err(error) => return Err(call.failed(error)),
        }
    }
    Ok(output)
}

pub(super) async fn list(call: &Call, input: ListInput) -> Result<ListOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let size = page::size(input.max_results);
    let status = input.filter.status();
    let mut position = page::start(input.next_token.as_deref())?.unwrap_or(Position {
        after: None,
        skip: 0,
    });
    let mut image_ids = Vec::new();
    loop {
        let after = digest_of(position.after.as_deref())?;
        let found = call
            .registry
            .images_for(
                &call.caller,
                "ecr:ListImages",
                &repository,
                after.as_ref(),
                Some(STEP),
            )
            .await
            .map_err(|error| call.failed(error))?;
        for image in found.images {
            let ids = if input.filter.shows(&image) {
                ids_of(&image, status)
            } else {
                Vec::new()
            };
            for id in ids.into_iter().skip(position.skip) {
                if image_ids.len() == size {
                    let next_token = Some(page::token(&position));
                    return Ok(ListOutput {
                        image_ids,
                        next_token,
                    });
                }
                image_ids.push(id);
                position.skip += 1;
            }
            position = Position {
                after: Some(image.digest.to_string()),
                skip: 0,
            };
        }
        if !found.more {
            return Ok(ListOutput {
                image_ids,
                next_token: None,
            });
        }
    }
}

/// What a listing has of an image: a line for each tag, or one for none.
fn ids_of(image: &ImageInfo, status: TagStatus) -> Vec<ImageId> {
    if image.tags.is_empty() {
        let shown = status != TagStatus::Tagged;
        return shown
            .then(|| ImageId::of(&image.digest, None))
            .into_iter()
            .collect();
    }
    if status == TagStatus::Untagged {
        return Vec::new();
    }
    let tags = image.tags.iter();
    tags.map(|tag| ImageId::of(&image.digest, Some(tag)))
        .collect()
}

fn digest_of(text: Option<&str>) -> Result<Option<Digest>, ApiError> {
    let digest = text.map(str::parse).transpose();
    digest.map_err(|_| {
        ApiError::new(
            "InvalidParameterException",
            "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid token'",
        )
    })
}

pub(super) async fn describe(
    call: &Call,
    input: DescribeInput,
) -> Result<DescribeOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    if let Some(ids) = input.image_ids {
        page::alone(
            input.next_token.is_some() || input.max_results.is_some(),
            "imageIds",
        )?;
        let mut image_details = Vec::new();
        for id in ids {
            let image = image_ids::find(call, "ecr:DescribeImages", &repository, &id).await?;
            let image = image.map_err(|_| image_ids::not_found(call, &repository, &id))?;
            image_details.push(detail(call, &repository, image));
        }
        return Ok(DescribeOutput {
            image_details,
            next_token: None,
        });
    }
    let size = page::size(input.max_results);
    let status = input.filter.status();
    let mut after = digest_of(page::start::<String>(input.next_token.as_deref())?.as_deref())?;
    let mut image_details = Vec::new();
    loop {
        let found = call
            .registry
            .list_images(&call.caller, &repository, after.as_ref(), Some(STEP))
            .await
            .map_err(|error| call.failed(error))?;
        for image in found.images {
            if image_details.len() == size {
                let next_token = after.map(|after| page::token(&after.to_string()));
                return Ok(DescribeOutput {
                    image_details,
                    next_token,
                });
            }
            after = Some(image.digest);
            if status.shows(&image.tags) && input.filter.shows(&image) {
                image_details.push(detail(call, &repository, image));
            }
        }
        if !found.more {
            return Ok(DescribeOutput {
                image_details,
                next_token: None,
            });
        }
    }
}

fn detail(call: &Call, repository: &RepositoryName, image: ImageInfo) -> ImageDetail {
    // ECR Public tells neither.
    let is_private = call.api == Api::Ecr;
    let subject = image.subject.filter(|_| is_private);
    ImageDetail {
        registry_id: call.account().to_string(),
        repository_name: repository.to_string(),
        image_digest: image.digest.to_string(),
        image_tags: image.tags.iter().map(Tag::to_string).collect(),
        image_size_in_bytes: image.size,
        image_pushed_at: seconds(image.pushed_at_ms),
        image_manifest_media_type: image.media_type,
        artifact_media_type: image.artifact_type.map(|it| it.to_string()),
        subject_manifest_digest: subject.map(|subject| subject.to_string()),
        image_status: is_private.then_some(status_of(image.is_archived)),
        last_archived_at: image.last_archived_at_ms.map(seconds),
        last_activated_at: image.last_activated_at_ms.map(seconds),
        last_recorded_pull_time: image.pulled_at_ms.filter(|_| is_private).map(seconds),
    }
}

pub(super) async fn referrers(
    call: &Call,
    input: ReferrersInput,
) -> Result<ReferrersOutput, ApiError> {
    /// Unless the client says how many.
    const SIZE_DEFAULT: i64 = 20;
    let repository = call.repository(&input.repository_name)?;
    let invalid = || image_ids::not_found(call, &repository, &input.subject_id);
    let subject = input.subject_id.digest().ok().flatten();
    let subject = subject.ok_or_else(invalid)?;
    let after = digest_of(page::start::<String>(input.next_token.as_deref())?.as_deref())?;
    let size = page::size(input.max_results.or(Some(SIZE_DEFAULT)));
    let wanted = WantedReferrers {
        types: &input.filter.artifact_types,
        class: input.filter.artifact_status.class(),
    };
    let found = call
        .registry
        .referrers_in(
            &call.caller,
            &repository,
            &subject,
            wanted,
            after.as_ref(),
            size,
        )
        .await
        .map_err(|error| call.failed(error))?;
    let archived = found.archived;
    let status = input.filter.artifact_status;
    let shown = found.referrers.into_iter();
    let shown = shown.filter(|referrer| status.shows(archived.contains(&referrer.digest)));
    let referrers = shown.map(|referrer| Referrer {
        artifact_status: status_of(archived.contains(&referrer.digest)),
        digest: referrer.digest.to_string(),
        media_type: referrer.media_type.to_string(),
        artifact_type: referrer.artifact_type.map(|it| it.to_string()),
        size: referrer.size,
        annotations: referrer.annotations,
    });
    Ok(ReferrersOutput {
        referrers: referrers.collect(),
        next_token: found.next.map(|next| page::token(&next.to_string())),
    })
}
