//! `entrepot lifecycle put`, `get`, `delete`, `preview` and `run`

use entrepot_oci::RepositoryName;
use entrepot_proto::admin;
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::human;
use crate::report::Report;

#[derive(Debug, Serialize)]
pub(crate) struct PutPolicy {
    repository: RepositoryName,
    policy: Value,
}

#[derive(Debug, Serialize)]
pub(crate) struct PolicyReport {
    repository: RepositoryName,
    policy: Value,
    last_evaluation: Option<Evaluation>,
}

#[derive(Debug, Serialize)]
struct Evaluation {
    evaluated_at_ms: i64,
    images: u64,
    expired: u64,
    archived: u64,
    kept: u64,
    more: bool,
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DeletedPolicy {
    pub(crate) deleted: RepositoryName,
}

#[derive(Debug, Serialize)]
pub(crate) struct LifecyclePreviewReport {
    repository: RepositoryName,
    images: Vec<Image>,
}

#[derive(Debug, Serialize)]
pub(crate) struct LifecycleRunReport {
    repository: RepositoryName,
    expired: u64,
    archived: u64,
    /// Of the last part: what stayed is due again in the next.
    kept: u64,
    images: Vec<Image>,
    /// Why it ended before its time; none: it did not.
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct Image {
    digest: String,
    tags: Vec<String>,
    pushed_at_ms: i64,
    /// The priority of the rule that decides.
    rule: i64,
    action: &'static str,
}

const NO_POLICY: Failure = Failure::Nonsense("a policy that is no JSON");

fn parsed(policy: &str) -> Result<Value, Failure> {
    serde_json::from_str(policy).map_err(|_| NO_POLICY)
}

// === impl PutPolicy ===

impl PutPolicy {
    pub(crate) fn new(repository: RepositoryName, policy: &str) -> Result<Self, Failure> {
        let policy = parsed(policy)?;
        Ok(Self { repository, policy })
    }
}

impl Report for PutPolicy {
    fn people(&self, _now_ms: i64) -> String {
        let rules = self.policy["rules"].as_array().map_or(0, Vec::len);
        format!(
            "{} has a lifecycle policy of {}. It is carried out within about five minutes.",
            self.repository,
            human::count(rules, "rule")
        )
    }
}

// === impl PolicyReport ===

impl PolicyReport {
    pub(crate) fn new(
        repository: RepositoryName,
        found: &admin::GetLifecyclePolicyReply,
    ) -> Result<Self, Failure> {
        let policy = parsed(&found.policy)?;
        Ok(Self {
            repository,
            policy,
            last_evaluation: found.last.as_ref().map(Evaluation::from),
        })
    }
}

impl From<&admin::LifecycleEvaluation> for Evaluation {
    fn from(last: &admin::LifecycleEvaluation) -> Self {
        Self {
            evaluated_at_ms: last.evaluated_at_ms,
            images: last.images,
            expired: last.expired,
            archived: last.archived,
            kept: last.kept,
            more: last.more,
            failure: Some(last.failure.clone()).filter(|it| !it.is_empty()),
        }
    }
}

impl Report for PolicyReport {
    fn people(&self, now_ms: i64) -> String {
        let rules = self.policy["rules"].as_array();
        let table = human::table(
            ["RULE", "IMAGES", "WHEN", "ACTION", "DESCRIPTION"],
            rules.into_iter().flatten().map(rule),
        );
        let last = match &self.last_evaluation {
            None => "Not evaluated yet.".to_owned(),
            Some(last) => {
                let more = if last.more { ", and more are due" } else { "" };
                let failure = last.failure.as_deref().map(human::plain);
                let failure = failure.map(|it| format!(" It ended before its time: {it}"));
                let failure = failure.unwrap_or_default();
                format!(
                    "Evaluated {} ago: of {} images {} went, {} went into the archive, {} that \
                     were due stayed{more}.{failure}",
                    human::between(last.evaluated_at_ms, now_ms),
                    last.images,
                    last.expired,
                    last.archived,
                    last.kept,
                )
            }
        };
        format!("{table}\n\n{last}")
    }
}

/// A rule in a line. What a newer node has that is not known here, --json shows.
fn rule(rule: &Value) -> [String; 5] {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let selection = &rule["selection"];
    let list = |name: &str, sign: &str| -> Vec<String> {
        let tags = selection[name].as_array().into_iter().flatten();
        tags.map(|tag| format!("{}{sign}", text(tag))).collect()
    };
    let tags = [list("tagPrefixList", "*"), list("tagPatternList", "")].concat();
    let images = match selection["storageClass"].as_str() {
        Some("archive") => format!("archived {}", text(&selection["tagStatus"])),
        _ => text(&selection["tagStatus"]),
    };
    let number = text(&selection["countNumber"]);
    let when = match selection["countType"].as_str() {
        Some("imageCountMoreThan") => match selection["countPer"].as_str() {
            Some(per) => format!("beyond the newest {number} per {per}"),
            None => format!("beyond the newest {number}"),
        },
        Some("sinceImagePushed") => format!("pushed {number} days ago"),
        Some("sinceImagePulled") => format!("not pulled for {number} days"),
        Some("sinceImageTransitioned") => format!("archived {number} days ago"),
        _ => format!("{} {number}", text(&selection["countType"])),
    };
    let action = match rule["action"]["targetStorageClass"].as_str() {
        Some(class) => format!("{} to {class}", text(&rule["action"]["type"])),
        None => text(&rule["action"]["type"]),
    };
    let action = match rule["action"]["undeleteWindow"].as_str() {
        Some("0") => format!("{action} at once"),
        Some(window) => format!("{action}, kept {window}"),
        None => action,
    };
    [
        text(&rule["rulePriority"]),
        format!("{images} {}", human::list(&tags)),
        when,
        action,
        text(&rule["description"]),
    ]
}

// === impl DeletedPolicy ===

impl Report for DeletedPolicy {
    fn people(&self, _now_ms: i64) -> String {
        format!("{} has no lifecycle policy any more.", self.deleted)
    }
}

// === impl LifecyclePreviewReport ===

impl LifecyclePreviewReport {
    pub(crate) fn new(repository: RepositoryName, images: Vec<admin::LifecycleImage>) -> Self {
        let images = images.into_iter().map(Image::from).collect();
        Self { repository, images }
    }
}

impl Report for LifecyclePreviewReport {
    fn people(&self, now_ms: i64) -> String {
        if self.images.is_empty() {
            return format!("Nothing of {} is due.", self.repository);
        }
        let table = table(&self.images, now_ms);
        let number = human::count(self.images.len(), "image");
        format!("{table}\n\n{number} of {} would go.", self.repository)
    }
}

// === impl LifecycleRunReport ===

impl LifecycleRunReport {
    pub(crate) fn new(repository: RepositoryName) -> Self {
        Self {
            repository,
            expired: 0,
            archived: 0,
            kept: 0,
            images: Vec::new(),
            failure: None,
        }
    }

    /// Nothing was done yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        let failure = self.failure.as_deref();
        failure.map(|it| Failure::RunEnded(human::plain(it)))
    }

    /// Takes what a part has done; whether there is more to do.
    pub(crate) fn add(&mut self, part: admin::RunLifecycleReply) -> Result<bool, Failure> {
        let done = part
            .evaluation
            .ok_or(Failure::Nonsense("a run without an evaluation"))?;
        self.expired += done.expired;
        self.archived += done.archived;
        self.kept = done.kept;
        self.images.extend(part.images.into_iter().map(Image::from));
        self.failure = Some(done.failure).filter(|it| !it.is_empty());
        Ok(done.more && self.failure.is_none())
    }
}

impl Report for LifecycleRunReport {
    fn people(&self, now_ms: i64) -> String {
        let kept = match self.kept {
            0 => String::new(),
            kept => format!(" {kept} that were due stayed, as they are in use."),
        };
        if self.images.is_empty() {
            return format!("Nothing of {} went.{kept}", self.repository);
        }
        let table = table(&self.images, now_ms);
        let (expired, archived) = (self.expired, self.archived);
        format!("{table}\n\n{expired} went for good, {archived} went into the archive.{kept}")
    }
}

// === impl Image ===

impl From<admin::LifecycleImage> for Image {
    fn from(image: admin::LifecycleImage) -> Self {
        Self {
            action: match image.action() {
                admin::LifecycleAction::Expire => "expire",
                admin::LifecycleAction::Archive => "archive",
                admin::LifecycleAction::Unspecified => "unknown",
            },
            digest: image.digest,
            tags: image.tags,
            pushed_at_ms: image.pushed_at_ms,
            rule: image.rule,
        }
    }
}

fn table(images: &[Image], now_ms: i64) -> String {
    human::table(
        ["DIGEST", "TAGS", "AGE", "RULE", "ACTION"],
        images.iter().map(|image| {
            [
                human::digest(&image.digest),
                human::list(&image.tags),
                human::between(image.pushed_at_ms, now_ms),
                image.rule.to_string(),
                image.action.to_owned(),
            ]
        }),
    )
}
