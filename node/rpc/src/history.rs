//! `entrepot.admin.v1.History`: what was deleted, and the way back.

use std::sync::Arc;

use entrepot_oci::{Digest, Reference, RepositoryName};
use entrepot_proto::admin;
use entrepot_proto::admin::history_server::History;
use entrepot_service::{DeletedImage, Registry};
use tonic::{Request, Response, Status};

use crate::admin::parse;
use crate::caller;
use crate::request::{given, limit};
use crate::status::status;

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct HistoryServer {
    registry: Arc<Registry>,
}

// === impl HistoryServer ===

impl HistoryServer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl History for HistoryServer {
    async fn list_deleted_images(
        &self,
        request: Request<admin::ListDeletedImagesRequest>,
    ) -> Result<Response<admin::ListDeletedImagesReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let name: RepositoryName = parse(&request.repository)?;
        let after: Option<Digest> = given(&request.after).map(parse).transpose()?;
        let page = self
            .registry
            .deleted_images(&who, &name, after.as_ref(), limit(request.limit))
            .await
            .map_err(|error| status(&error))?;
        let last = page.images.last().filter(|_| page.more);
        let next = last.map(|image| image.manifest.digest.to_string());
        Ok(Response::new(admin::ListDeletedImagesReply {
            images: page.images.into_iter().map(deleted).collect(),
            next: next.unwrap_or_default(),
        }))
    }

    async fn restore_image(
        &self,
        request: Request<admin::RestoreImageRequest>,
    ) -> Result<Response<admin::RestoreImageReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let name: RepositoryName = parse(&request.repository)?;
        let reference: Reference = parse(&request.reference)?;
        let found = self
            .registry
            .restore_image(&who, &name, &reference, request.without_tags)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::RestoreImageReply {
            digest: found.digest.to_string(),
            manifests: found.restored.manifests,
            tags: found.restored.tags,
            tags_kept: found.restored.tags_kept,
        }))
    }

    async fn purge_image(
        &self,
        request: Request<admin::PurgeImageRequest>,
    ) -> Result<Response<admin::PurgeImageReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let name: RepositoryName = parse(&request.repository)?;
        let digest: Digest = parse(&request.digest)?;
        let purged = self.registry.purge_image(&who, &name, &digest).await;
        purged.map_err(|error| status(&error))?;
        Ok(Response::new(admin::PurgeImageReply {}))
    }
}

fn deleted(image: DeletedImage) -> admin::DeletedImage {
    admin::DeletedImage {
        digest: image.manifest.digest.to_string(),
        tags: image.tags.iter().map(ToString::to_string).collect(),
        media_type: image.manifest.media_type.to_string(),
        size: image.manifest.size,
        pushed_at_ms: image.manifest.pushed_at_ms,
        deleted_at_ms: image.deleted_at_ms,
        restorable_until_ms: image.until_ms,
        reason: image.cause.name().to_owned(),
        deleted_by: image.by,
    }
}
