//! `entrepot replication status` and `entrepot replication wait`

use std::fmt;

use entrepot_proto::admin::{ReplicationSummary, ReplicationTask, SummaryReply, TaskState};
use serde::Serialize;

use crate::arguments::Slo;
use crate::human;
use crate::report::Report;

/// Signs of a bar that shows how far something is.
const BAR_SIGNS: u64 = 10;

#[derive(Debug, Serialize)]
pub(crate) struct StatusReport {
    /// None: they were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Vec<Task>>,
    rules: Vec<Way>,
    /// There are more tasks than were looked at.
    partial: bool,
}

/// What goes to one destination because of one rule.
#[derive(Debug, Serialize)]
struct Way {
    /// None: no rule asks for it any more.
    rule: Option<String>,
    region: String,
    /// None: the own one.
    account: Option<String>,
    complete: u64,
    in_flight: u64,
    pending: u64,
    pending_bytes: u64,
    oldest_pending_at_ms: Option<i64>,
    failed: u64,
    failures: Vec<Why>,
    lag_p50_ms: Option<u64>,
    lag_p99_ms: Option<u64>,
    completed_last_minute: u64,
    /// What the rule promises, and what of the last hour was held against it.
    slo: Option<Promise>,
}

#[derive(Debug, Serialize)]
struct Promise {
    /// `99% within 30s`
    objective: String,
    counted: u64,
    in_time: u64,
    /// How many times as many were late as may be; none: nothing was counted.
    burn: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Why {
    reason: String,
    tasks: u64,
}

/// All that is waited for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) complete: u64,
    pub(crate) pending: u64,
    pub(crate) failed: u64,
    /// The most frequent one of what failed.
    pub(crate) reason: Option<String>,
}

/// What was waited for is there.
#[derive(Debug, Serialize)]
pub(crate) struct Arrived {
    waited_for: String,
    digest: Option<String>,
    complete: u64,
    took_ms: u64,
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

impl StatusReport {
    pub(crate) fn new(summary: SummaryReply, tasks: Option<Vec<ReplicationTask>>) -> Self {
        let tasks = tasks.map(|tasks| tasks.into_iter().map(Task::from).collect());
        Self {
            tasks,
            rules: summary.summaries.into_iter().map(Way::from).collect(),
            partial: summary.is_partial,
        }
    }
}

impl From<ReplicationSummary> for Way {
    fn from(found: ReplicationSummary) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let to = found.destination.unwrap_or_default();
        let failures = found.failures.into_iter();
        let (counted, in_time) = (found.objective_counted, found.objective_in_time);
        let slo = found.objective.map(|it| Promise {
            objective: Slo(it).to_string(),
            counted,
            in_time,
            burn: Slo(it).burn(counted, in_time),
        });
        Self {
            slo,
            rule: some(found.rule),
            region: to.region,
            account: some(to.account),
            complete: found.complete,
            in_flight: found.in_flight,
            pending: found.pending,
            pending_bytes: found.pending_bytes,
            oldest_pending_at_ms: Some(found.oldest_pending_at_ms).filter(|at| *at != 0),
            failed: found.failed,
            failures: failures
                .map(|it| Why {
                    reason: it.reason,
                    tasks: it.tasks,
                })
                .collect(),
            lag_p50_ms: found.lag_p50_ms,
            lag_p99_ms: found.lag_p99_ms,
            completed_last_minute: found.completed_last_minute,
        }
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

impl Way {
    fn to(&self) -> String {
        match &self.account {
            Some(account) => format!("{}/{account}", self.region),
            None => self.region.clone(),
        }
    }

    /// `[######....] 60 %`: how much of what there is or was to do is done.
    fn bar(&self) -> String {
        let all = self.complete + self.pending;
        let full = |of: u64| {
            let part = u128::from(self.complete) * u128::from(of);
            let part = part.checked_div(u128::from(all));
            part.map_or(of, |part| u64::try_from(part).unwrap_or(of))
        };
        let sign = |nth| if nth < full(BAR_SIGNS) { '#' } else { '.' };
        let signs: String = (0..BAR_SIGNS).map(sign).collect();
        format!("[{signs}] {} %", full(100))
    }

    /// How long the rest takes, if it goes on as in the last minute.
    fn eta(&self) -> String {
        let left_ms = u128::from(self.pending) * 60_000;
        match left_ms.checked_div(u128::from(self.completed_last_minute)) {
            Some(left_ms) if self.pending > 0 => {
                human::duration(u64::try_from(left_ms).unwrap_or(u64::MAX))
            }
            _ => String::new(),
        }
    }

    fn lag(&self) -> String {
        match (self.lag_p50_ms, self.lag_p99_ms) {
            (Some(p50), Some(p99)) => {
                format!("{} / {}", human::duration(p50), human::duration(p99))
            }
            _ => String::new(),
        }
    }
}

/// `1 failed, 2 in progress, 40 complete`: what needs a look comes first.
fn summary(tasks: &[Task]) -> String {
    [
        State::Failed,
        State::InProgress,
        State::Complete,
        State::Unknown,
    ]
    .into_iter()
    .map(|state| {
        let number = tasks.iter().filter(|task| task.state == state).count();
        (number, state)
    })
    .filter(|(number, _)| *number > 0)
    .map(|(number, state)| format!("{number} {state}"))
    .collect::<Vec<_>>()
    .join(", ")
}

impl StatusReport {
    fn ways(&self, now_ms: i64) -> String {
        let header = [
            "RULE",
            "TO",
            "DONE",
            "TO GO",
            "IN FLIGHT",
            "BYTES",
            "OLDEST",
            "TIME LEFT",
            "FAILED",
            "LAG P50 / P99",
        ];
        let rows = self.rules.iter().map(|way| {
            let oldest = way.oldest_pending_at_ms;
            [
                way.rule.clone().unwrap_or_default(),
                way.to(),
                way.bar(),
                way.pending.to_string(),
                way.in_flight.to_string(),
                human::size(way.pending_bytes),
                oldest
                    .map(|at| human::between(at, now_ms))
                    .unwrap_or_default(),
                way.eta(),
                way.failed.to_string(),
                way.lag(),
            ]
        });
        human::table(header, rows)
    }

    /// `nightly to eu-west-1, 99% within 30s: 98 of 100 in time in the last hour, a burn
    /// of 2.0`
    fn promises(&self) -> Vec<String> {
        let promising = self.rules.iter();
        let promising = promising.filter_map(|way| Some((way, way.slo.as_ref()?)));
        promising
            .map(|(way, slo)| {
                let rule = human::plain(way.rule.as_deref().unwrap_or_default());
                let to = human::plain(&way.to());
                let found = match slo.burn {
                    Some(burn) => format!(
                        "{} of {} in time in the last hour, a burn of {burn:.1}",
                        slo.in_time, slo.counted
                    ),
                    None => "nothing in the last hour".to_owned(),
                };
                format!("{rule} to {to}, {}: {found}", slo.objective)
            })
            .collect()
    }

    fn reasons(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for way in &self.rules {
            for failure in &way.failures {
                let reason = human::plain(&failure.reason);
                let to = human::plain(&way.to());
                lines.push(format!("{} failed to {to}: {reason}", failure.tasks));
            }
        }
        lines
    }
}

impl Report for StatusReport {
    fn people(&self, now_ms: i64) -> String {
        let tasks = self.tasks.as_deref().unwrap_or_default();
        let mut parts = Vec::new();
        if !self.rules.is_empty() {
            parts.push(self.ways(now_ms));
        }
        if !self.promises().is_empty() {
            parts.push(self.promises().join("\n"));
        }
        if self.partial {
            parts.push("There are more tasks than were looked at.".to_owned());
        }
        if self.tasks.is_none() && !self.reasons().is_empty() {
            parts.push(self.reasons().join("\n"));
        }
        if !tasks.is_empty() {
            parts.push(table(tasks, now_ms));
            parts.push(summary(tasks));
        } else if self.tasks.is_some() || parts.is_empty() {
            parts.push("There are no replication tasks.".to_owned());
        }
        parts.join("\n\n")
    }
}

fn table(tasks: &[Task], now_ms: i64) -> String {
    let header = [
        "REPOSITORY",
        "TAG",
        "DIGEST",
        "TO",
        "STATE",
        "AGE",
        "TOOK",
        "REASON",
    ];
    let rows = tasks.iter().map(|task| {
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
    });
    human::table(header, rows)
}

// === impl Totals ===

impl Totals {
    pub(crate) fn of(found: &SummaryReply) -> Self {
        let mut totals = Self::default();
        for way in &found.summaries {
            totals.complete += way.complete;
            totals.pending += way.pending;
            totals.failed += way.failed;
            if totals.reason.is_none() {
                totals.reason = way.failures.first().map(|it| it.reason.clone());
            }
        }
        totals
    }

    /// Of what was to do at first.
    pub(crate) fn per_mille(&self, first: &Self) -> u32 {
        let all = first.pending.max(self.pending);
        let done = u128::from(all - self.pending) * 1_000;
        let part = done.checked_div(u128::from(all)).unwrap_or(1_000);
        u32::try_from(part).unwrap_or(1_000)
    }

    pub(crate) fn line(&self, what: &str) -> String {
        let left = usize::try_from(self.pending).unwrap_or(usize::MAX);
        let left = match left {
            1 => "1 copy".to_owned(),
            left => format!("{left} copies"),
        };
        format!("Waiting for {what}: {left} to go.")
    }
}

// === impl Arrived ===

impl Arrived {
    pub(crate) fn new(what: String, digest: Option<String>, complete: u64, took_ms: u64) -> Self {
        Self {
            waited_for: what,
            digest,
            complete,
            took_ms,
        }
    }
}

impl Report for Arrived {
    fn people(&self, _now_ms: i64) -> String {
        let took = human::duration(self.took_ms);
        let what = human::plain(&self.waited_for);
        format!("There: {what}, after {took}.")
    }
}
