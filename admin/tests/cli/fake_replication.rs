//! The fake node's service `Replication`: a list of backfills, and sums of the tasks.

use entrepot_proto::admin::replication_server::Replication;
use entrepot_proto::admin::{
    Backfill, BackfillCount, BackfillImage, BackfillPhase, CountBackfillReply,
    CountBackfillRequest, FailureCount, GetBackfillReply, GetBackfillRequest, ListBackfillsReply,
    ListBackfillsRequest, Objective, ReplicationSummary, RuleDestination, StartBackfillReply,
    StartBackfillRequest, StopBackfillReply, StopBackfillRequest, SummaryReply, SummaryRequest,
    TaskState,
};
use tonic::{Request, Response, Status};

use crate::fake::{Answer, Service, hours_ago_ms};

pub(crate) const BACKFILL: &str = "0b0e4a2e-7ad2-4a1f-9d6c-2d7f1f0f9a11";
const NEW: &str = "11111111-7ad2-4a1f-9d6c-2d7f1f0f9a11";

fn to(region: &str) -> RuleDestination {
    RuleDestination {
        region: region.to_owned(),
        account: String::new(),
    }
}

pub(crate) fn sample_backfills() -> Vec<Backfill> {
    vec![Backfill {
        id: BACKFILL.to_owned(),
        destination: Some(to("eu-west-1")),
        rule: "all".to_owned(),
        phase: BackfillPhase::InProgress.into(),
        started_at_ms: hours_ago_ms(2),
        counted: Some(BackfillCount {
            images: 1_042,
            bytes: 7 * 1024 * 1024,
            is_at_least: false,
        }),
        total: Some(1_042),
        waiting: 200,
        completed: 313,
        failed: 1,
        ..Backfill::default()
    }]
}

fn image() -> BackfillImage {
    BackfillImage {
        repository: "team/app".to_owned(),
        digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
        tag: "1.4".to_owned(),
        state: TaskState::Failed.into(),
        reason: "the destination denies it".to_owned(),
    }
}

#[tonic::async_trait]
impl Replication for Service {
    async fn start_backfill(
        &self,
        request: Request<StartBackfillRequest>,
    ) -> Answer<StartBackfillReply> {
        let asked = self.enter(request).await?;
        if asked.destination == Some(to("mars-1")) {
            return Err(Status::not_found("no rule has it"));
        }
        let begun = Backfill {
            id: NEW.to_owned(),
            destination: asked.destination,
            rule: asked.rule,
            phase: BackfillPhase::Preparing.into(),
            started_at_ms: hours_ago_ms(0),
            ..Backfill::default()
        };
        self.0.lock().unwrap().backfills.insert(0, begun.clone());
        Ok(Response::new(StartBackfillReply {
            backfill: Some(begun),
        }))
    }

    async fn count_backfill(
        &self,
        request: Request<CountBackfillRequest>,
    ) -> Answer<CountBackfillReply> {
        self.enter(request).await?;
        Ok(Response::new(CountBackfillReply {
            count: Some(BackfillCount {
                images: 1_042,
                bytes: 7 * 1024 * 1024,
                is_at_least: true,
            }),
        }))
    }

    async fn list_backfills(
        &self,
        request: Request<ListBackfillsRequest>,
    ) -> Answer<ListBackfillsReply> {
        self.enter(request).await?;
        let backfills = self.0.lock().unwrap().backfills.clone();
        Ok(Response::new(ListBackfillsReply { backfills }))
    }

    async fn get_backfill(&self, request: Request<GetBackfillRequest>) -> Answer<GetBackfillReply> {
        let asked = self.enter(request).await?;
        let state = self.0.lock().unwrap();
        let found = state.backfills.iter().find(|it| it.id == asked.id);
        let found = found.ok_or_else(|| Status::not_found("there is no such backfill"))?;
        // One to a page.
        let (images, next) = if asked.after.is_empty() {
            (vec![image()], "more".to_owned())
        } else {
            (Vec::new(), String::new())
        };
        Ok(Response::new(GetBackfillReply {
            backfill: Some(found.clone()),
            images,
            next,
        }))
    }

    async fn stop_backfill(
        &self,
        request: Request<StopBackfillRequest>,
    ) -> Answer<StopBackfillReply> {
        let asked = self.enter(request).await?;
        let mut state = self.0.lock().unwrap();
        let found = state.backfills.iter_mut().find(|it| it.id == asked.id);
        let found = found.ok_or_else(|| Status::not_found("there is no such backfill"))?;
        found.phase = BackfillPhase::Stopping.into();
        Ok(Response::new(StopBackfillReply {
            backfill: Some(found.clone()),
        }))
    }

    async fn summary(&self, request: Request<SummaryRequest>) -> Answer<SummaryReply> {
        let asked = self.enter(request).await?;
        let mut state = self.0.lock().unwrap();
        let tasks = state.tasks.iter().filter(|task| {
            let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
            is(&asked.repository, &task.repository)
                && is(&asked.tag, &task.tag)
                && is(&asked.destination_region, &task.destination_region)
        });
        let mut found = ReplicationSummary {
            rule: "all".to_owned(),
            destination: Some(to("eu-west-1")),
            ..ReplicationSummary::default()
        };
        let mut digest = String::new();
        for task in tasks {
            if !asked.tag.is_empty() {
                digest.clone_from(&task.digest);
            }
            match task.state() {
                TaskState::Complete => {
                    found.complete += 1;
                    found.lag_p50_ms = Some(1_250);
                    found.lag_p99_ms = Some(1_250);
                }
                TaskState::Failed => {
                    found.failed += 1;
                    found.failures = vec![FailureCount {
                        reason: task.reason.clone(),
                        tasks: 1,
                    }];
                }
                _ => {
                    found.pending += 1;
                    found.in_flight = 1;
                    found.pending_bytes += 7 * 1024 * 1024;
                    found.oldest_pending_at_ms = task.created_at_ms;
                    found.completed_last_minute = 12;
                }
            }
        }
        found.objective = Some(Objective {
            per_million: 990_000,
            within_ms: 30_000,
        });
        (found.objective_counted, found.objective_in_time) = (50, 49);
        // What is under way has arrived when it is asked about again.
        if state.arrives {
            for task in &mut state.tasks {
                if task.state() == TaskState::InProgress {
                    task.set_state(TaskState::Complete);
                }
            }
        }
        Ok(Response::new(SummaryReply {
            summaries: if state.rules.is_empty() {
                Vec::new()
            } else {
                vec![found]
            },
            is_partial: false,
            at_ms: hours_ago_ms(0),
            digest,
        }))
    }
}
