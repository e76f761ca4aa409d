//! Backfills: what was there before a rule was made is replicated too.

use entrepot_service::{
    Backfill, BackfillItem, BackfillPhase, Destination, ItemState, ReplicationDestination,
    ServiceError,
};
use serde::{Deserialize, Serialize};

use super::image_ids::ImageId;
use crate::call::Call;
use crate::error::ApiError;
use crate::page;
use crate::wire::json::seconds;

/// Backfills in a page, unless the client says how many.
const LISTED: usize = 25;

/// Why single images failed.
const DENIED: &str = "AccessDenied";
const REFUSED: &str = "ReplicationFailed";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartInput {
    destination: ReplicationDestination,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StopInput {
    replication_backfill_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Begun {
    registry_id: String,
    replication_backfill_id: String,
    destination: ReplicationDestination,
    status: String,
    started_at: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListInput {
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListOutput {
    registry_id: String,
    backfills: Vec<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    replication_backfill_id: String,
    destination: ReplicationDestination,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    started_at: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    total_replication_count: u64,
    completed_replication_count: u64,
    failed_replication_count: u64,
    failure_codes: Vec<&'static str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResultsInput {
    replication_backfill_id: String,
    result_status_filter: Option<String>,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResultsOutput {
    registry_id: String,
    #[serde(flatten)]
    backfill: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<ImageResult>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageResult {
    repository_name: String,
    image_id: ImageId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_code: Option<&'static str>,
}

pub(super) async fn start(call: &Call, input: StartInput) -> Result<Begun, ApiError> {
    let (region, account) = (&input.destination.region, &input.destination.registry_id);
    let unknown = || {
        let text = format!(
            "The destination with region '{region}' and registry id '{account}' is not configured \
             in the replication configuration of the registry with id '{}'",
            call.account()
        );
        ApiError::new("ValidationException", text)
    };
    let destination = Destination {
        region: region.parse().map_err(|_| unknown())?,
        account: account.parse().map_err(|_| unknown())?,
    };
    let begun = call
        .registry
        .start_backfill(&call.caller, &destination, None)
        .await;
    begun
        .map(|found| told(call, found))
        .map_err(|error| match error {
            ServiceError::NotFound(_) => unknown(),
            ServiceError::Conflict(_) => ApiError::new(
                "ReplicationBackfillInProgressException",
                format!("A replication backfill is already in progress for region '{region}'"),
            ),
            error => call.failed(error),
        })
}

pub(super) async fn stop(call: &Call, input: StopInput) -> Result<Begun, ApiError> {
    let id = input.replication_backfill_id;
    let stopped = call.registry.stop_backfill(&call.caller, &id).await;
    stopped
        .map(|found| told(call, found))
        .map_err(|error| match error {
            ServiceError::Conflict(_) => ApiError::new(
                "ReplicationBackfillInvalidStatusException",
                format!("The replication backfill with id '{id}' is not in progress"),
            ),
            error => not_found(call, error, &id),
        })
}

pub(super) async fn list(call: &Call, input: ListInput) -> Result<ListOutput, ApiError> {
    // Behind which one, of those that begin from the newest.
    let after: Option<u64> = page::start(input.next_token.as_deref())?;
    let size = input
        .max_results
        .map_or(LISTED, |max| page::size(Some(max)));
    let found = call.registry.backfills(&call.caller).await;
    let found = found.map_err(|error| call.failed(error))?;
    let mut found: Vec<Backfill> = found
        .into_iter()
        .filter(|it| after.is_none_or(|after| it.sequence < after))
        .collect();
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|last| last.sequence);
    Ok(ListOutput {
        registry_id: call.account().to_string(),
        next_token: next.map(|next| page::token(&next)),
        backfills: found.into_iter().map(Summary::from).collect(),
    })
}

pub(super) async fn results(call: &Call, input: ResultsInput) -> Result<ResultsOutput, ApiError> {
    let id = input.replication_backfill_id;
    let after: Option<String> = page::start(input.next_token.as_deref())?;
    let found = call.registry.backfill(&call.caller, &id).await;
    let found = found.map_err(|error| not_found(call, error, &id))?;
    let (mut results, mut next) = (None, None);
    if found.phase.is_over() {
        let only = input.result_status_filter.as_deref();
        let only = only.map(|status| match status {
            "FAILED" => ItemState::Failed,
            _ => ItemState::Complete,
        });
        let size = Some(page::size(input.max_results));
        let page = call
            .registry
            .backfill_items(&call.caller, &id, only, after.as_deref(), size)
            .await
            .map_err(|error| call.failed(error))?;
        results = Some(page.items.into_iter().map(ImageResult::from).collect());
        next = page.next;
    }
    Ok(ResultsOutput {
        registry_id: call.account().to_string(),
        backfill: found.into(),
        results,
        next_token: next.map(|next| page::token(&next)),
    })
}

fn told(call: &Call, found: Backfill) -> Begun {
    Begun {
        registry_id: call.account().to_string(),
        destination: destination(&found.destination),
        status: found.phase.to_string(),
        started_at: seconds(found.started_at_ms),
        replication_backfill_id: found.id,
    }
}

fn destination(destination: &Destination) -> ReplicationDestination {
    ReplicationDestination {
        region: destination.region.to_string(),
        registry_id: destination.account.to_string(),
    }
}

fn not_found(call: &Call, error: ServiceError, id: &str) -> ApiError {
    call.failed_or(error, "ReplicationBackfillNotFoundException", || {
        let account = call.account();
        format!(
            "The replication backfill with id '{id}' does not exist in the registry with id \
             '{account}'"
        )
    })
}

// === impl Summary ===

impl From<Backfill> for Summary {
    fn from(found: Backfill) -> Self {
        // Null until it is known what there is to replicate.
        let total = found
            .total()
            .filter(|_| found.phase != BackfillPhase::Preparing);
        let codes = [(found.any_denied, DENIED), (found.any_refused, REFUSED)];
        let codes = codes.into_iter().filter(|(any, _)| *any);
        Self {
            destination: destination(&found.destination),
            status: found.phase.to_string(),
            progress: total.map(|total| Progress {
                total_replication_count: total,
                completed_replication_count: found.completed,
                failed_replication_count: found.failed,
                failure_codes: codes.map(|(_, code)| code).collect(),
            }),
            // Sure to fail, and not over yet.
            failure_code: found.failure.filter(|_| found.phase.is_over()),
            started_at: seconds(found.started_at_ms),
            ended_at: found.ended_at_ms.map(seconds),
            replication_backfill_id: found.id,
        }
    }
}

impl From<BackfillItem> for ImageResult {
    fn from(item: BackfillItem) -> Self {
        let is_failed = item.state == ItemState::Failed;
        let code = if item.denied { DENIED } else { REFUSED };
        Self {
            repository_name: item.place.repository.to_string(),
            image_id: ImageId {
                image_digest: Some(item.place.digest.to_string()),
                image_tag: item.place.tag.map(|tag| tag.to_string()),
            },
            status: if is_failed { "FAILED" } else { "COMPLETE" },
            failure_code: is_failed.then_some(code),
        }
    }
}
