//! `entrepot.v1.Registry`: the registry as other people's front ends use it.
//!
//! What its messages mean is written in registry.proto.

use std::sync::Arc;
use std::time::Duration;

use entrepot_oci::Reference;
use entrepot_proto::registry as wire;
use entrepot_proto::registry::registry_server::Registry as Service;
use entrepot_service::{ManifestPush, Registry, ServiceError, TagCondition, UploadChunk};
use futures::{StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use crate::render::{self, Messages};
use crate::request::{
    RequestError, algorithm, condition, digest, given, limit, media_type, reference, repository,
    tag,
};
use crate::status::status;
use crate::{body, caller};

/// Tags or referrers in a page when the caller does not say.
const PAGE_DEFAULT: usize = 100;

/// Serves front ends.
#[derive(Debug, Clone)]
pub(crate) struct RegistryServer {
    registry: Arc<Registry>,
    /// For a body that brings nothing.
    body_timeout: Duration,
}

// === impl RegistryServer ===

impl RegistryServer {
    pub(crate) fn new(registry: Arc<Registry>, body_timeout: Duration) -> Self {
        Self {
            registry,
            body_timeout,
        }
    }
}

/// A result of the service as that of a call.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn answer<T, M>(
    result: Result<T, ServiceError>,
    render: impl FnOnce(T) -> M,
) -> Result<Response<M>, Status> {
    result
        .map(|value| Response::new(render(value)))
        .map_err(|error| status(&error))
}

/// What is to be stored, under which tags.
fn push(request: wire::PutManifestRequest) -> Result<ManifestPush, RequestError> {
    let name = reference(&request.reference)?;
    let mut push = ManifestPush::new(&name, request.content);
    for text in &request.tags {
        push.tags.push(tag(text)?);
    }
    push.condition = condition(request.condition.as_ref())?;
    push.content_type = given(&request.media_type).map(media_type).transpose()?;
    Ok(push)
}

#[tonic::async_trait]
impl Service for RegistryServer {
    type ReadBlobStream = Messages<wire::ReadBlobReply>;
    type WatchRepositoryStream = Messages<wire::WatchRepositoryReply>;

    async fn open_upload(
        &self,
        request: Request<wire::OpenUploadRequest>,
    ) -> Result<Response<wire::OpenUploadReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let algorithm = algorithm(request.algorithm)?;
        let opened = self
            .registry
            .open_upload(&who, &repository, Some(algorithm))
            .await;
        answer(opened, |state| wire::OpenUploadReply {
            session: state.session,
        })
    }

    async fn append_upload(
        &self,
        request: Request<Streaming<wire::AppendUploadRequest>>,
    ) -> Result<Response<wire::AppendUploadReply>, Status> {
        let who = caller::of(&request)?;
        let (header, body) = body::open(request.into_inner(), self.body_timeout).await?;
        let repository = repository(&header.repository)?;
        let (body, violation) = body.split();
        let chunk = UploadChunk {
            offset: Some(header.offset),
            length: header.length,
            body,
        };
        let appended = self
            .registry
            .append_upload(&who, &repository, &header.session, chunk)
            .await;
        let state = appended.map_err(|error| violation.status(&error))?;
        Ok(Response::new(wire::AppendUploadReply {
            received: state.size,
        }))
    }

    async fn upload_status(
        &self,
        request: Request<wire::UploadStatusRequest>,
    ) -> Result<Response<wire::UploadStatusReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let state = self
            .registry
            .upload_state(&who, &repository, &request.session)
            .await;
        answer(state, |state| wire::UploadStatusReply {
            received: state.size,
        })
    }

    async fn finish_upload(
        &self,
        request: Request<wire::FinishUploadRequest>,
    ) -> Result<Response<wire::FinishUploadReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let digest = digest(&request.digest)?;
        let nothing = UploadChunk {
            offset: request.size,
            length: Some(0),
            body: stream::empty().boxed(),
        };
        let finished = self
            .registry
            .finish_upload(&who, &repository, &request.session, nothing, digest)
            .await;
        answer(finished, |blob| wire::FinishUploadReply {
            blob: Some(render::blob(&blob)),
        })
    }

    async fn cancel_upload(
        &self,
        request: Request<wire::CancelUploadRequest>,
    ) -> Result<Response<wire::CancelUploadReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let cancelled = self
            .registry
            .cancel_upload(&who, &repository, &request.session)
            .await;
        answer(cancelled, |()| wire::CancelUploadReply {})
    }

    async fn push_blob(
        &self,
        request: Request<Streaming<wire::PushBlobRequest>>,
    ) -> Result<Response<wire::PushBlobReply>, Status> {
        let who = caller::of(&request)?;
        let (header, body) = body::open(request.into_inner(), self.body_timeout).await?;
        let repository = repository(&header.repository)?;
        let digest = digest(&header.digest)?;
        let (stream, violation) = body.split();
        let pushed = self
            .registry
            .push_blob(&who, &repository, digest, header.length, stream)
            .await;
        let blob = pushed.map_err(|error| violation.status(&error))?;
        Ok(Response::new(wire::PushBlobReply {
            blob: Some(render::blob(&blob)),
        }))
    }

    async fn read_blob(
        &self,
        request: Request<wire::ReadBlobRequest>,
    ) -> Result<Response<Self::ReadBlobStream>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let digest = digest(&request.digest)?;
        let length = Some(request.length).filter(|length| *length > 0);
        let opened = self
            .registry
            .open_blob_from(&who, &repository, &digest, request.offset, length)
            .await;
        answer(opened, |(blob, content)| render::content(&blob, content))
    }

    async fn stat_blob(
        &self,
        request: Request<wire::StatBlobRequest>,
    ) -> Result<Response<wire::StatBlobReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let digest = digest(&request.digest)?;
        let found = self.registry.stat_blob(&who, &repository, &digest).await;
        answer(found, |blob| wire::StatBlobReply {
            blob: Some(render::blob(&blob)),
        })
    }

    async fn delete_blob(
        &self,
        request: Request<wire::DeleteBlobRequest>,
    ) -> Result<Response<wire::DeleteBlobReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let digest = digest(&request.digest)?;
        let deleted = self.registry.delete_blob(&who, &repository, &digest).await;
        answer(deleted, |()| wire::DeleteBlobReply {})
    }

    async fn mount_blob(
        &self,
        request: Request<wire::MountBlobRequest>,
    ) -> Result<Response<wire::MountBlobReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let to = repository(&request.repository)?;
        let from = given(&request.from).map(repository).transpose()?;
        let digest = digest(&request.digest)?;
        let mounted = self
            .registry
            .mount_blob(&who, &to, from.as_ref(), &digest)
            .await;
        answer(mounted, |blob| wire::MountBlobReply {
            blob: blob.as_ref().map(render::blob),
        })
    }

    async fn put_manifest(
        &self,
        request: Request<wire::PutManifestRequest>,
    ) -> Result<Response<wire::PutManifestReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let put = self
            .registry
            .put_manifest(&who, &repository, push(request)?)
            .await;
        answer(put, |put| wire::PutManifestReply {
            digest: put.digest.to_string(),
            subject: put.subject.map(|it| it.to_string()).unwrap_or_default(),
        })
    }

    async fn get_manifest(
        &self,
        request: Request<wire::GetManifestRequest>,
    ) -> Result<Response<wire::GetManifestReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let reference = reference(&request.reference)?;
        let found = self
            .registry
            .get_manifest(&who, &repository, &reference)
            .await;
        if let (Ok(manifest), false) = (&found, request.without_content) {
            self.registry.pulled(&who, &repository, &manifest.digest);
        }
        answer(found, |manifest| {
            render::manifest(manifest, !request.without_content)
        })
    }

    async fn delete_manifest(
        &self,
        request: Request<wire::DeleteManifestRequest>,
    ) -> Result<Response<wire::DeleteManifestReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let reference = Reference::Digest(digest(&request.digest)?);
        let deleted = self
            .registry
            .delete_manifest(&who, &repository, &reference, TagCondition::None)
            .await;
        answer(deleted, |()| wire::DeleteManifestReply {})
    }

    async fn delete_tag(
        &self,
        request: Request<wire::DeleteTagRequest>,
    ) -> Result<Response<wire::DeleteTagReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let reference = Reference::Tag(tag(&request.tag)?);
        let condition = condition(request.condition.as_ref())?;
        let deleted = self
            .registry
            .delete_manifest(&who, &repository, &reference, condition)
            .await;
        answer(deleted, |()| wire::DeleteTagReply {})
    }

    async fn list_tags(
        &self,
        request: Request<wire::ListTagsRequest>,
    ) -> Result<Response<wire::ListTagsReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let limit = limit(request.limit).unwrap_or(PAGE_DEFAULT);
        let page = self
            .registry
            .list_tags(&who, &repository, given(&request.after), limit)
            .await;
        answer(page, |page| render::tags(&page))
    }

    async fn list_referrers(
        &self,
        request: Request<wire::ListReferrersRequest>,
    ) -> Result<Response<wire::ListReferrersReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let subject = digest(&request.digest)?;
        let after = given(&request.after).map(digest).transpose()?;
        let page = self
            .registry
            .list_referrers(
                &who,
                &repository,
                &subject,
                &request.artifact_types,
                after.as_ref(),
                limit(request.limit).unwrap_or(PAGE_DEFAULT),
            )
            .await;
        answer(page, render::referrers)
    }

    async fn list_repositories(
        &self,
        request: Request<wire::ListRepositoriesRequest>,
    ) -> Result<Response<wire::ListRepositoriesReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let page = self
            .registry
            .list_repositories(&who, given(&request.after), limit(request.limit))
            .await;
        answer(page, |page| render::repositories(&page))
    }

    async fn watch_repository(
        &self,
        request: Request<wire::WatchRepositoryRequest>,
    ) -> Result<Response<Self::WatchRepositoryStream>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let repository = repository(&request.repository)?;
        let watch = self
            .registry
            .watch_repository(&who, &repository, request.after, given(&request.log))
            .await;
        answer(watch, |watch| render::watch(watch, self.registry.log()))
    }
}
