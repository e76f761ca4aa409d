//! `entrepot backfill start`, `list`, `show` and `stop`

use std::fmt;

use entrepot_proto::admin;
use serde::Serialize;

use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct StartedBackfill {
    backfill: Option<Backfill>,
    would_copy: Option<Count>,
}

#[derive(Debug, Serialize)]
pub(crate) struct BackfillsReport {
    backfills: Vec<Backfill>,
}

#[derive(Debug, Serialize)]
pub(crate) struct BackfillImages {
    backfill: Backfill,
    images: Vec<Image>,
}

#[derive(Debug, Serialize)]
pub(crate) struct StoppedBackfill {
    backfill: Backfill,
}

#[derive(Debug, Serialize)]
struct Backfill {
    id: String,
    region: String,
    /// None: the own one.
    account: Option<String>,
    /// None: every rule.
    rule: Option<String>,
    state: Phase,
    started_at_ms: i64,
    ended_at_ms: Option<i64>,
    failure: Option<String>,
    /// Images, each as often as it has tags.
    total: Option<u64>,
    total_bytes: Option<u64>,
    waiting: u64,
    completed: u64,
    failed: u64,
}

#[derive(Debug, Serialize)]
struct Count {
    images: u64,
    bytes: u64,
    /// There are more bytes than could be told apart.
    at_least: bool,
}

#[derive(Debug, Serialize)]
struct Image {
    repository: String,
    digest: String,
    tag: Option<String>,
    state: &'static str,
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Preparing,
    InProgress,
    Stopping,
    Complete,
    Failed,
    Stopped,
    Unknown,
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn count(number: u64, one: &str) -> String {
    human::count(usize::try_from(number).unwrap_or(usize::MAX), one)
}

// === impl Backfill ===

impl From<admin::Backfill> for Backfill {
    fn from(found: admin::Backfill) -> Self {
        let state = match found.phase() {
            admin::BackfillPhase::Preparing => Phase::Preparing,
            admin::BackfillPhase::InProgress => Phase::InProgress,
            admin::BackfillPhase::Stopping => Phase::Stopping,
            admin::BackfillPhase::Complete => Phase::Complete,
            admin::BackfillPhase::Failed => Phase::Failed,
            admin::BackfillPhase::Stopped => Phase::Stopped,
            admin::BackfillPhase::Unspecified => Phase::Unknown,
        };
        let to = found.destination.unwrap_or_default();
        Self {
            id: found.id,
            region: to.region,
            account: some(to.account),
            rule: some(found.rule),
            state,
            started_at_ms: found.started_at_ms,
            ended_at_ms: Some(found.ended_at_ms).filter(|at| *at != 0),
            failure: some(found.failure),
            total: found.total,
            total_bytes: found.counted.map(|counted| counted.bytes),
            waiting: found.waiting,
            completed: found.completed,
            failed: found.failed,
        }
    }
}

impl Backfill {
    fn to(&self) -> String {
        match &self.account {
            Some(account) => format!("{}/{account}", self.region),
            None => self.region.clone(),
        }
    }

    /// `314 of 1042`
    fn done(&self) -> String {
        let done = self.completed + self.failed;
        match self.total {
            Some(total) => format!("{done} of {total}"),
            None => String::new(),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preparing => "preparing",
            Self::InProgress => "in progress",
            Self::Stopping => "stopping",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        })
    }
}

// === impl StartedBackfill ===

impl From<admin::Backfill> for StartedBackfill {
    fn from(found: admin::Backfill) -> Self {
        Self {
            backfill: Some(found.into()),
            would_copy: None,
        }
    }
}

impl From<admin::BackfillCount> for StartedBackfill {
    fn from(count: admin::BackfillCount) -> Self {
        Self {
            backfill: None,
            would_copy: Some(Count {
                images: count.images,
                bytes: count.bytes,
                at_least: count.is_at_least,
            }),
        }
    }
}

impl Report for StartedBackfill {
    fn people(&self, _now_ms: i64) -> String {
        if let Some(would) = &self.would_copy {
            let more = if would.at_least { "at least " } else { "" };
            return format!(
                "Would look at {} with {more}{}; what the destination has already is not sent.",
                count(would.images, "image"),
                human::size(would.bytes)
            );
        }
        self.backfill.as_ref().map_or_else(String::new, |begun| {
            format!(
                "Started backfill {} to {}.",
                human::plain(&begun.id),
                human::plain(&begun.to())
            )
        })
    }
}

// === impl BackfillsReport ===

impl From<Vec<admin::Backfill>> for BackfillsReport {
    fn from(backfills: Vec<admin::Backfill>) -> Self {
        let backfills = backfills.into_iter().map(Backfill::from).collect();
        Self { backfills }
    }
}

impl Report for BackfillsReport {
    fn people(&self, now_ms: i64) -> String {
        if self.backfills.is_empty() {
            return "There are no backfills.".to_owned();
        }
        table(&self.backfills, now_ms)
    }
}

fn table(backfills: &[Backfill], now_ms: i64) -> String {
    let header = [
        "ID", "TO", "RULE", "STATE", "DONE", "FAILED", "BYTES", "AGE", "TOOK", "REASON",
    ];
    let took = |it: &Backfill| {
        let ended = it.ended_at_ms;
        ended.map(|at| human::between(it.started_at_ms, at))
    };
    let rows = backfills.iter().map(|it| {
        [
            it.id.clone(),
            it.to(),
            it.rule.clone().unwrap_or_default(),
            it.state.to_string(),
            it.done(),
            it.failed.to_string(),
            it.total_bytes.map(human::size).unwrap_or_default(),
            human::between(it.started_at_ms, now_ms),
            took(it).unwrap_or_default(),
            it.failure.clone().unwrap_or_default(),
        ]
    });
    human::table(header, rows)
}

// === impl BackfillImages ===

impl BackfillImages {
    pub(crate) fn new(found: admin::Backfill, images: Vec<admin::BackfillImage>) -> Self {
        Self {
            backfill: found.into(),
            images: images.into_iter().map(Image::from).collect(),
        }
    }
}

impl From<admin::BackfillImage> for Image {
    fn from(image: admin::BackfillImage) -> Self {
        let is_failed = image.state() == admin::TaskState::Failed;
        Self {
            repository: image.repository,
            digest: image.digest,
            tag: some(image.tag),
            state: if is_failed { "failed" } else { "complete" },
            reason: some(image.reason),
        }
    }
}

impl Report for BackfillImages {
    fn people(&self, now_ms: i64) -> String {
        let backfill = table(std::slice::from_ref(&self.backfill), now_ms);
        if self.images.is_empty() {
            return backfill;
        }
        let images = human::table(
            ["REPOSITORY", "TAG", "DIGEST", "STATE", "REASON"],
            self.images.iter().map(|image| {
                [
                    image.repository.clone(),
                    image.tag.clone().unwrap_or_default(),
                    human::digest(&image.digest),
                    image.state.to_owned(),
                    image.reason.clone().unwrap_or_default(),
                ]
            }),
        );
        format!("{backfill}\n\n{images}")
    }
}

// === impl StoppedBackfill ===

impl From<admin::Backfill> for StoppedBackfill {
    fn from(found: admin::Backfill) -> Self {
        Self {
            backfill: found.into(),
        }
    }
}

impl Report for StoppedBackfill {
    fn people(&self, _now_ms: i64) -> String {
        let id = human::plain(&self.backfill.id);
        match self.backfill.waiting {
            0 => format!("Stopped backfill {id}."),
            left => format!(
                "Nothing more of backfill {id} is begun; {} under way go on to their end.",
                count(left, "image")
            ),
        }
    }
}
