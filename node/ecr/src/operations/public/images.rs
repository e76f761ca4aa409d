//! Tags with the images that they point to.

use entrepot_service::{ImageInfo, TaggedImage};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::error::ApiError;
use crate::page;
use crate::wire::json::seconds;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TagsInput {
    repository_name: String,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TagsOutput {
    image_tag_details: Vec<TagDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TagDetail {
    image_tag: String,
    created_at: f64,
    image_detail: ReferencedImage,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferencedImage {
    image_digest: String,
    image_size_in_bytes: u64,
    image_pushed_at: f64,
    image_manifest_media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_media_type: Option<String>,
}

pub(super) async fn tags(call: &Call, input: TagsInput) -> Result<TagsOutput, ApiError> {
    let repository = call.repository(&input.repository_name)?;
    let after: Option<String> = page::start(input.next_token.as_deref())?;
    let size = page::size(input.max_results);
    let found = call
        .registry
        .tagged_images(&call.caller, &repository, after.as_deref(), size)
        .await
        .map_err(|error| call.failed(error))?;
    let details = found.images.into_iter().map(TagDetail::from);
    Ok(TagsOutput {
        image_tag_details: details.collect(),
        next_token: found.last.map(|last| page::token(&last.as_str())),
    })
}

// === impl TagDetail, ReferencedImage ===

impl From<TaggedImage> for TagDetail {
    fn from(tagged: TaggedImage) -> Self {
        Self {
            image_tag: tagged.tag.to_string(),
            created_at: seconds(tagged.tagged_at_ms),
            image_detail: tagged.image.into(),
        }
    }
}

impl From<ImageInfo> for ReferencedImage {
    fn from(image: ImageInfo) -> Self {
        Self {
            image_digest: image.digest.to_string(),
            image_size_in_bytes: image.size,
            image_pushed_at: seconds(image.pushed_at_ms),
            image_manifest_media_type: image.media_type,
            artifact_media_type: image.artifact_type.map(|it| it.to_string()),
        }
    }
}
