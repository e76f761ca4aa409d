//! The storage classes of images: which one an image has, and changing it.
//!
//! There is nothing to fetch from elsewhere, so an image is `ACTIVE` again once it
//! is asked for, and none is ever `ACTIVATING`.

use entrepot_oci::Reference;
use entrepot_service::{ClassFilter, ServiceError};
use serde::{Deserialize, Serialize};

use super::image_ids::{self, ImageId};
use crate::call::Call;
use crate::error::ApiError;

/// Which images a listing has; those that can be pulled, unless it is said.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum StatusFilter {
    #[default]
    Active,
    Archived,
    Activating,
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Class {
    Standard,
    Archive,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpdateInput {
    repository_name: String,
    image_id: ImageId,
    target_storage_class: Class,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpdateOutput {
    registry_id: String,
    repository_name: String,
    image_id: ImageId,
    image_status: &'static str,
}

// === impl StatusFilter ===

impl StatusFilter {
    pub(super) fn shows(self, is_archived: bool) -> bool {
        self != Self::Activating && self.class().shows(is_archived)
    }

    /// Where it is not `Activating`, of which there are none.
    pub(super) fn class(self) -> ClassFilter {
        match self {
            Self::Active | Self::Activating => ClassFilter::Standard,
            Self::Archived => ClassFilter::Archive,
            Self::Any => ClassFilter::Any,
        }
    }
}

pub(super) fn status_of(is_archived: bool) -> &'static str {
    if is_archived { "ARCHIVED" } else { "ACTIVE" }
}

pub(super) async fn update(call: &Call, input: UpdateInput) -> Result<UpdateOutput, ApiError> {
    let action = "ecr:UpdateImageStorageClass";
    let repository = call.repository(&input.repository_name)?;
    let image = image_ids::existing(call, action, &repository, &input.image_id).await?;
    let reference = Reference::Digest(image.digest);
    let archive = input.target_storage_class == Class::Archive;
    let set = call
        .registry
        .set_storage_class(&call.caller, &repository, &reference, archive)
        .await;
    let set = set.map_err(|error| match error {
        ServiceError::ManifestUnknown(_) => {
            image_ids::not_found(call, &repository, &input.image_id)
        }
        ServiceError::Referenced(_) => ApiError::new(
            "ImageStorageClassUpdateNotSupportedException",
            format!(
                "The image with digest '{}' in the repository with name '{repository}' is \
                 referenced by a manifest list that is not archived: archive that",
                image.digest
            ),
        ),
        error => call.failed(error),
    })?;
    let tag = input.image_id.tag().ok().flatten();
    Ok(UpdateOutput {
        registry_id: call.account().to_string(),
        repository_name: input.repository_name,
        image_id: ImageId::of(&set.image.digest, tag.as_ref()),
        image_status: status_of(set.image.is_archived),
    })
}
