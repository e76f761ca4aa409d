//! `entrepot.admin.v1.History`: what was deleted, and the way back.

use std::sync::Arc;

use entrepot_oci::{Digest, Reference, RepositoryName, Tag};
use entrepot_proto::admin;
use entrepot_proto::admin::history_server::History;
use entrepot_service::{DeletedImage, Registry, TagMove, TagRestoration};
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

    async fn get_tag_history(
        &self,
        request: Request<admin::GetTagHistoryRequest>,
    ) -> Result<Response<admin::GetTagHistoryReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let name: RepositoryName = parse(&request.repository)?;
        let tag: Tag = parse(&request.tag)?;
        let before: Option<u64> = given(&request.after).map(parse).transpose()?;
        let page = self
            .registry
            .tag_history(&who, &name, &tag, before, limit(request.limit))
            .await
            .map_err(|error| status(&error))?;
        let last = page.moves.last().filter(|_| page.more);
        let next = last.map(|last| last.number.to_string());
        Ok(Response::new(admin::GetTagHistoryReply {
            moves: page.moves.into_iter().map(moved).collect(),
            next: next.unwrap_or_default(),
        }))
    }

    async fn restore_tag(
        &self,
        request: Request<admin::RestoreTagRequest>,
    ) -> Result<Response<admin::RestoreTagReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let wanted = TagRestoration {
            repository: parse(&request.repository)?,
            tag: parse(&request.tag)?,
            at_ms: request.at_ms,
            dry_run: request.dry_run,
        };
        let back = self.registry.restore_tag(&who, &wanted).await;
        let back = back.map_err(|error| status(&error))?;
        Ok(Response::new(admin::RestoreTagReply {
            digest: back.digest.to_string(),
            previous: text(back.previous),
            image_restored: back.image_restored,
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

fn text(digest: Option<Digest>) -> String {
    digest.map(|digest| digest.to_string()).unwrap_or_default()
}

fn moved(one: TagMove) -> admin::TagMove {
    admin::TagMove {
        at_ms: one.at_ms,
        from: text(one.from),
        to: text(one.to),
        reason: one.cause.name().to_owned(),
        by: one.by,
        log_index: one.index,
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
