//! `entrepot replication status`

use std::fmt;

use entrepot_proto::admin::{ReplicationTask, TaskState};
use serde::Serialize;

use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct TasksReport {
    tasks: Vec<Task>,
}

#[derive(Debug, Serialize)]
struct Task {
    repository: String,
    digest: String,
    /// None: pushed without a tag.
    tag: Option<String>,
    destination_region: String,
    /// None: the own account.
    destination_account: Option<String>,
    state: State,
    created_at_ms: i64,
    ended_at_ms: Option<i64>,
    /// Why it failed.
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    InProgress,
    Complete,
    Failed,
    /// A state that a newer node knows and this client does not.
    Unknown,
}

impl From<Vec<ReplicationTask>> for TasksReport {
    fn from(tasks: Vec<ReplicationTask>) -> Self {
        let tasks = tasks.into_iter().map(Task::from).collect();
        Self { tasks }
    }
}

impl From<ReplicationTask> for Task {
    fn from(task: ReplicationTask) -> Self {
        let state = match task.state() {
            TaskState::InProgress => State::InProgress,
            TaskState::Complete => State::Complete,
            TaskState::Failed => State::Failed,
            TaskState::Unspecified => State::Unknown,
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            repository: task.repository,
            digest: task.digest,
            tag: some(task.tag),
            destination_region: task.destination_region,
            destination_account: some(task.destination_account),
            state,
            created_at_ms: task.created_at_ms,
            ended_at_ms: (task.ended_at_ms != 0).then_some(task.ended_at_ms),
            reason: some(task.reason),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InProgress => "in progress",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

impl Task {
    fn to(&self) -> String {
        match &self.destination_account {
            Some(account) => format!("{}/{account}", self.destination_region),
            None => self.destination_region.clone(),
        }
    }
}

impl TasksReport {
    /// `1 failed, 2 in progress, 40 complete`: what needs a look comes first.
    fn summary(&self) -> String {
        [
            State::Failed,
            State::InProgress,
            State::Complete,
            State::Unknown,
        ]
        .into_iter()
        .map(|state| {
            (
                self.tasks.iter().filter(|task| task.state == state).count(),
                state,
            )
        })
        .filter(|(number, _)| *number > 0)
        .map(|(number, state)| format!("{number} {state}"))
        .collect::<Vec<_>>()
        .join(", ")
    }
}

impl Report for TasksReport {
    fn people(&self, now_ms: i64) -> String {
        if self.tasks.is_empty() {
            return "There are no replication tasks.".to_owned();
        }
        let table = human::table(
            [
                "REPOSITORY",
                "TAG",
                "DIGEST",
                "TO",
                "STATE",
                "AGE",
                "TOOK",
                "REASON",
            ],
            self.tasks.iter().map(|task| {
                let took = |ended_ms| human::between(task.created_at_ms, ended_ms);
                [
                    task.repository.clone(),
                    task.tag.clone().unwrap_or_default(),
                    human::digest(&task.digest),
                    task.to(),
                    task.state.to_string(),
                    human::between(task.created_at_ms, now_ms),
                    task.ended_at_ms.map(took).unwrap_or_default(),
                    task.reason.clone().unwrap_or_default(),
                ]
            }),
        );
        format!("{table}\n\n{}", self.summary())
    }
}
