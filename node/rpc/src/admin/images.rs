//! Images, as the command line client shows them and puts them into the archive.

use entrepot_oci::{Reference, RepositoryName};
use entrepot_proto::admin;
use entrepot_service::{ImageInfo, Registry};
use tonic::{Request, Response, Status};

use super::parse;
use crate::caller;
use crate::status::status;

pub(super) fn shown(image: ImageInfo) -> admin::Image {
    admin::Image {
        digest: image.digest.to_string(),
        tags: image.tags.iter().map(ToString::to_string).collect(),
        media_type: image.media_type,
        size: image.size,
        pushed_at_ms: image.pushed_at_ms,
        archived: image.is_archived,
        last_archived_at_ms: image.last_archived_at_ms,
        last_activated_at_ms: image.last_activated_at_ms,
    }
}

pub(super) async fn set_storage_class(
    registry: &Registry,
    request: Request<admin::SetStorageClassRequest>,
) -> Result<Response<admin::SetStorageClassReply>, Status> {
    let who = caller::of(&request)?;
    let request = request.into_inner();
    let repository: RepositoryName = parse(&request.repository)?;
    let reference: Reference = parse(&request.reference)?;
    let set = registry
        .set_storage_class(&who, &repository, &reference, request.archive)
        .await
        .map_err(|error| status(&error))?;
    Ok(Response::new(admin::SetStorageClassReply {
        image: Some(shown(set.image)),
        moved: set.moved,
        left: set.left,
    }))
}
