//! How far copies are, as it travels.

use entrepot_proto::admin;
use entrepot_service::{Caller, ReplicationSummary, SummaryFilter, SummaryOf};
use tonic::Status;

use crate::admin::{
    parse,
    rules::{shown_destination, shown_objective},
};
use crate::request::given;

#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub(super) fn asked(request: &admin::SummaryRequest) -> Result<SummaryFilter, Status> {
    Ok(SummaryFilter {
        repository: given(&request.repository).map(parse).transpose()?,
        tag: given(&request.tag).map(parse).transpose()?,
        digest: given(&request.digest).map(parse).transpose()?,
        region: given(&request.destination_region).map(parse).transpose()?,
        rule: given(&request.rule).map(str::to_owned),
    })
}

pub(super) fn shown(who: &Caller, found: ReplicationSummary) -> admin::SummaryReply {
    let summaries = found.summaries.into_iter();
    admin::SummaryReply {
        summaries: summaries.map(|it| one(who, it)).collect(),
        is_partial: found.is_partial,
        at_ms: found.at_ms,
        digest: found.digest.map(|it| it.to_string()).unwrap_or_default(),
    }
}

fn one(who: &Caller, it: SummaryOf) -> admin::ReplicationSummary {
    let failures = it.failures.into_iter();
    admin::ReplicationSummary {
        rule: it.rule.unwrap_or_default(),
        destination: Some(shown_destination(who, &it.destination)),
        complete: it.complete,
        in_flight: it.in_flight,
        pending: it.pending,
        pending_bytes: it.pending_bytes,
        oldest_pending_at_ms: it.oldest_pending_at_ms.unwrap_or_default(),
        failed: it.failed,
        failures: failures
            .map(|(reason, tasks)| admin::FailureCount { reason, tasks })
            .collect(),
        lag_p50_ms: it.lag_p50_ms,
        lag_p99_ms: it.lag_p99_ms,
        completed_last_minute: it.completed_last_minute,
        objective: it.objective.map(shown_objective),
        objective_counted: it.objective_counted,
        objective_in_time: it.objective_in_time,
    }
}
