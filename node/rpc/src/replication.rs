//! `entrepot.admin.v1.Replication`: backfills, and how far copies are.

mod summary;

use std::sync::Arc;

use entrepot_proto::admin;
use entrepot_proto::admin::replication_server::Replication;
use entrepot_service::{
    Backfill, BackfillCount, BackfillItem, BackfillPhase, Caller, ItemState, Registry,
};
use tonic::{Request, Response, Status};

use crate::admin::rules::{destination, shown_destination};
use crate::caller;
use crate::request::{given, limit};
use crate::status::status;

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct ReplicationServer {
    registry: Arc<Registry>,
}

// === impl ReplicationServer ===

impl ReplicationServer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Replication for ReplicationServer {
    async fn start_backfill(
        &self,
        request: Request<admin::StartBackfillRequest>,
    ) -> Result<Response<admin::StartBackfillReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let to = destination(&who, request.destination.as_ref())?;
        let rule = given(&request.rule);
        let begun = self.registry.start_backfill(&who, &to, rule).await;
        let begun = begun.map_err(|error| status(&error))?;
        Ok(Response::new(admin::StartBackfillReply {
            backfill: Some(shown(&who, begun)),
        }))
    }

    async fn count_backfill(
        &self,
        request: Request<admin::CountBackfillRequest>,
    ) -> Result<Response<admin::CountBackfillReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let to = destination(&who, request.destination.as_ref())?;
        let rule = given(&request.rule);
        let count = self.registry.count_backfill(&who, &to, rule).await;
        let count = count.map_err(|error| status(&error))?;
        Ok(Response::new(admin::CountBackfillReply {
            count: Some(counted(count)),
        }))
    }

    async fn list_backfills(
        &self,
        request: Request<admin::ListBackfillsRequest>,
    ) -> Result<Response<admin::ListBackfillsReply>, Status> {
        let who = caller::of(&request)?;
        let found = self.registry.backfills(&who).await;
        let found = found.map_err(|error| status(&error))?;
        Ok(Response::new(admin::ListBackfillsReply {
            backfills: found.into_iter().map(|it| shown(&who, it)).collect(),
        }))
    }

    async fn get_backfill(
        &self,
        request: Request<admin::GetBackfillRequest>,
    ) -> Result<Response<admin::GetBackfillReply>, Status> {
        let who = caller::of(&request)?;
        let request = request.into_inner();
        let found = self.registry.backfill(&who, &request.id).await;
        let found = found.map_err(|error| status(&error))?;
        let only = request.failed_only.then_some(ItemState::Failed);
        let (after, limit) = (given(&request.after), limit(request.limit));
        let page = self
            .registry
            .backfill_items(&who, &request.id, only, after, limit)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(admin::GetBackfillReply {
            backfill: Some(shown(&who, found)),
            images: page.items.into_iter().map(image).collect(),
            next: page.next.unwrap_or_default(),
        }))
    }

    async fn stop_backfill(
        &self,
        request: Request<admin::StopBackfillRequest>,
    ) -> Result<Response<admin::StopBackfillReply>, Status> {
        let who = caller::of(&request)?;
        let stopped = self.registry.stop_backfill(&who, &request.get_ref().id);
        let stopped = stopped.await.map_err(|error| status(&error))?;
        Ok(Response::new(admin::StopBackfillReply {
            backfill: Some(shown(&who, stopped)),
        }))
    }

    async fn summary(
        &self,
        request: Request<admin::SummaryRequest>,
    ) -> Result<Response<admin::SummaryReply>, Status> {
        let who = caller::of(&request)?;
        let asked = summary::asked(request.get_ref())?;
        let found = self.registry.replication_summary(&who, &asked).await;
        let found = found.map_err(|error| status(&error))?;
        Ok(Response::new(summary::shown(&who, found)))
    }
}

fn shown(who: &Caller, found: Backfill) -> admin::Backfill {
    let phase = match found.phase {
        BackfillPhase::Preparing => admin::BackfillPhase::Preparing,
        BackfillPhase::InProgress => admin::BackfillPhase::InProgress,
        BackfillPhase::Stopping => admin::BackfillPhase::Stopping,
        BackfillPhase::Complete => admin::BackfillPhase::Complete,
        BackfillPhase::Failed => admin::BackfillPhase::Failed,
        BackfillPhase::Stopped => admin::BackfillPhase::Stopped,
    };
    admin::Backfill {
        total: found.total(),
        destination: Some(shown_destination(who, &found.destination)),
        rule: found.rule.unwrap_or_default(),
        phase: phase.into(),
        started_at_ms: found.started_at_ms,
        ended_at_ms: found.ended_at_ms.unwrap_or_default(),
        failure: found.failure.unwrap_or_default(),
        counted: found.counted.map(counted),
        waiting: found.waiting,
        completed: found.completed,
        failed: found.failed,
        id: found.id,
    }
}

fn counted(count: BackfillCount) -> admin::BackfillCount {
    admin::BackfillCount {
        images: count.images,
        bytes: count.bytes,
        is_at_least: count.is_at_least,
    }
}

fn image(item: BackfillItem) -> admin::BackfillImage {
    let state = match item.state {
        ItemState::Waiting => admin::TaskState::InProgress,
        ItemState::Failed => admin::TaskState::Failed,
        ItemState::Complete => admin::TaskState::Complete,
    };
    admin::BackfillImage {
        repository: item.place.repository.to_string(),
        digest: item.place.digest.to_string(),
        tag: item.place.tag.map(|it| it.to_string()).unwrap_or_default(),
        state: state.into(),
        reason: item.reason.unwrap_or_default(),
    }
}
