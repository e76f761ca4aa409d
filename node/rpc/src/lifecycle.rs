//! `entrepot.admin.v1.Lifecycle`: which images go, and when.

use std::sync::Arc;

use entrepot_oci::RepositoryName;
use entrepot_proto::admin;
use entrepot_proto::admin::lifecycle_server::Lifecycle;
use entrepot_service::{LifecyclePreview, LifecycleRun, PreviewedImage, Registry, ServiceError};
use tonic::{Request, Response, Status};

use crate::admin::parse;
use crate::caller;
use crate::request::{given, limit};
use crate::status::status;

/// Images of a page: as few by default and as many at most as elsewhere.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct LifecycleServer {
    registry: Arc<Registry>,
}

/// Where a page of a preview begins.
struct Place {
    /// Which preview it is one of.
    as_of_ms: i64,
    image: usize,
}

// === impl LifecycleServer ===

impl LifecycleServer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Lifecycle for LifecycleServer {
    async fn put_lifecycle_policy(
        &self,
        request: Request<admin::PutLifecyclePolicyRequest>,
    ) -> Result<Response<admin::PutLifecyclePolicyReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let name: RepositoryName = parse(&request.repository)?;
        let put = self
            .registry
            .put_lifecycle_policy(&who, &name, &request.policy);
        let policy = put.await.map_err(|error| status(&error))?;
        Ok(Response::new(admin::PutLifecyclePolicyReply { policy }))
    }

    async fn get_lifecycle_policy(
        &self,
        request: Request<admin::GetLifecyclePolicyRequest>,
    ) -> Result<Response<admin::GetLifecyclePolicyReply>, Status> {
        let who = caller::of(&request)?;
        let name: RepositoryName = parse(&request.get_ref().repository)?;
        let found = self.registry.lifecycle_policy(&who, &name).await;
        let found = found.map_err(|error| status(&error))?;
        Ok(Response::new(admin::GetLifecyclePolicyReply {
            policy: found.text,
            last: found.last_run.as_ref().map(evaluation),
        }))
    }

    async fn delete_lifecycle_policy(
        &self,
        request: Request<admin::DeleteLifecyclePolicyRequest>,
    ) -> Result<Response<admin::DeleteLifecyclePolicyReply>, Status> {
        let who = caller::of(&request)?;
        let name: RepositoryName = parse(&request.get_ref().repository)?;
        let deleted = self.registry.delete_lifecycle_policy(&who, &name).await;
        let deleted = deleted.map_err(|error| status(&error))?;
        Ok(Response::new(admin::DeleteLifecyclePolicyReply {
            policy: deleted.text,
        }))
    }

    async fn preview_lifecycle(
        &self,
        request: Request<admin::PreviewLifecycleRequest>,
    ) -> Result<Response<admin::PreviewLifecycleReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let name: RepositoryName = parse(&request.repository)?;
        let place = given(&request.after).map(Place::parse).transpose()?;
        if place.is_none() {
            let text = Some(request.policy.as_str()).filter(|text| !text.is_empty());
            let started = self.registry.start_lifecycle_preview(&who, &name, text);
            started.await.map_err(|error| status(&error))?;
        }
        let preview = self.registry.lifecycle_preview(&who, &name).await;
        let preview = preview.map_err(|error| status(&error))?;
        let size = limit(request.limit).map_or(PAGE_DEFAULT, |limit| limit.clamp(1, PAGE_MAX));
        page(&preview, place, size).map(Response::new)
    }

    async fn run_lifecycle(
        &self,
        request: Request<admin::RunLifecycleRequest>,
    ) -> Result<Response<admin::RunLifecycleReply>, Status> {
        let who = caller::of(&request)?;
        let name: RepositoryName = parse(&request.get_ref().repository)?;
        let evaluated = self.registry.run_lifecycle(&who, &name).await;
        let evaluated = evaluated.map_err(|error| status(&error))?;
        Ok(Response::new(admin::RunLifecycleReply {
            evaluation: Some(evaluation(&evaluated.run)),
            images: evaluated.images.iter().map(image).collect(),
        }))
    }
}

// === impl Place ===

impl Place {
    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    fn parse(text: &str) -> Result<Self, Status> {
        let place = text.split_once('.').and_then(|(as_of_ms, image)| {
            Some(Self {
                as_of_ms: as_of_ms.parse().ok()?,
                image: image.parse().ok()?,
            })
        });
        place.ok_or_else(|| {
            let what = "this is no place behind a page of a preview".to_owned();
            status(&ServiceError::Invalid(what))
        })
    }
}

/// The page that begins at `place`.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn page(
    preview: &LifecyclePreview,
    place: Option<Place>,
    size: usize,
) -> Result<admin::PreviewLifecycleReply, Status> {
    let as_of_ms = preview.as_of_ms;
    let start = match place {
        Some(place) if place.as_of_ms != as_of_ms => {
            let what = "somebody has begun another preview of this repository".to_owned();
            return Err(status(&ServiceError::Conflict(what)));
        }
        place => place.map_or(0, |place| place.image),
    };
    let rest = preview.images.get(start..).unwrap_or_default();
    let (images, rest) = rest.split_at(size.min(rest.len()));
    Ok(admin::PreviewLifecycleReply {
        images: images.iter().map(image).collect(),
        next: if rest.is_empty() {
            String::new()
        } else {
            format!("{as_of_ms}.{}", start + images.len())
        },
    })
}

fn evaluation(run: &LifecycleRun) -> admin::LifecycleEvaluation {
    admin::LifecycleEvaluation {
        evaluated_at_ms: run.evaluated_at_ms,
        images: run.images,
        expired: run.expired,
        kept: run.kept,
        archived: run.archived,
        more: run.more,
        failure: run.failure.clone(),
    }
}

fn image(image: &PreviewedImage) -> admin::LifecycleImage {
    let action = if image.to_archive {
        admin::LifecycleAction::Archive
    } else {
        admin::LifecycleAction::Expire
    };
    admin::LifecycleImage {
        digest: image.digest.to_string(),
        tags: image.tags.iter().map(ToString::to_string).collect(),
        pushed_at_ms: image.pushed_at_ms,
        rule: image.priority,
        action: action.into(),
    }
}
