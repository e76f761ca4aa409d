//! `entrepot backfill`, `entrepot replication status` and `entrepot replication wait`.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use entrepot_proto::admin::SummaryRequest;
use entrepot_proto::environment::{Clock, SystemClock};
use tokio::time::{Instant, sleep};

use super::print;
use super::rules::destination;
use crate::arguments::{Backfill, Status, Wait, Which};
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::progress::Progress;
use crate::report::{
    Arrived, BackfillImages, BackfillsReport, Report as _, StartedBackfill, StatusReport,
    StoppedBackfill, Totals,
};

/// Between two looks at what is waited for: from the first, which an image of a few
/// bytes needs, to the longest.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_secs(1);
/// What a terminal needs to be empty.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn backfill(
    client: &Client,
    command: Backfill,
    json: bool,
) -> Result<(), Failure> {
    match command {
        Backfill::Start { to, rule, dry_run } => {
            let named = match &to.account {
                Some(account) => format!("{}/{account}", to.region),
                None => to.region.to_string(),
            };
            let (to, rule) = (destination(to), rule.unwrap_or_default());
            let started = if dry_run {
                let count = client.count_backfill(to, rule).await;
                count.map(StartedBackfill::from)
            } else {
                let begun = client.start_backfill(to, rule).await;
                begun.map(StartedBackfill::from)
            };
            let missing = |failure: Failure| {
                failure.or_missing(|| Failure::DestinationUnknown(named.clone()))
            };
            print(&started.map_err(missing)?, json)
        }
        Backfill::List => print(&BackfillsReport::from(client.backfills().await?), json),
        Backfill::Show { id, all } => match client.backfill(&id, !all).await {
            Ok((found, images)) => print(&BackfillImages::new(found, images), json),
            Err(failure) => Err(failure.or_missing(|| Failure::BackfillUnknown(id))),
        },
        Backfill::Stop { id } => match client.stop_backfill(&id).await {
            Ok(stopped) => print(&StoppedBackfill::from(stopped), json),
            Err(failure) => Err(failure.or_missing(|| Failure::BackfillUnknown(id))),
        },
    }
}

pub(super) async fn status(client: &Client, status: Status, json: bool) -> Result<(), Failure> {
    let repository = status.repository.as_ref().map(ToString::to_string);
    let request = SummaryRequest {
        repository: repository.unwrap_or_default(),
        rule: status.rule.clone().unwrap_or_default(),
        destination_region: status
            .region
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        ..SummaryRequest::default()
    };
    let known = |failure: Failure| match &status.repository {
        Some(repository) => failure.or_missing(|| Failure::RepositoryUnknown(repository.clone())),
        None => failure,
    };
    if let Some(rule) = &status.rule {
        let rules = client.rules().await?;
        if !rules.iter().any(|it| it.id == *rule) {
            return Err(Failure::RuleUnknown(rule.clone()));
        }
    }
    loop {
        let summary = client.replication_summary(request.clone()).await;
        let summary = summary.map_err(known)?;
        let is_whole = status.rule.is_none() && status.region.is_none() && !status.watch;
        let tasks = if is_whole {
            Some(client.tasks(&request.repository).await.map_err(known)?)
        } else {
            None
        };
        let report = StatusReport::new(summary, tasks);
        if !status.watch {
            return print(&report, json);
        }
        show(&report, json)?;
        sleep(status.interval).await;
    }
}

/// In the place of what was shown before, where that is a terminal.
fn show(report: &StatusReport, json: bool) -> Result<(), Failure> {
    if json || !io::stdout().is_terminal() {
        return print(report, json);
    }
    let text = report.people(SystemClock.now_ms());
    let mut out = io::stdout().lock();
    writeln!(out, "{CLEAR}{text}")
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

pub(super) async fn wait(
    client: &Client,
    wait: Wait,
    timeout: Duration,
    json: bool,
) -> Result<(), Failure> {
    let what = named(&wait);
    let mut request = SummaryRequest {
        destination_region: wait
            .region
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        ..SummaryRequest::default()
    };
    let mut is_image = false;
    if let Some(image) = &wait.image {
        request.repository = image.repository.to_string();
        is_image = !matches!(image.which, Which::All);
        match &image.which {
            Which::All => {}
            Which::Tag(tag) => request.tag = tag.to_string(),
            Which::Digest(digest) => request.digest = digest.to_string(),
        }
    }
    let start = Instant::now();
    let (mut progress, mut look) = (Progress::new(), LOOK_FIRST);
    let mut first: Option<Totals> = None;
    loop {
        let found = client.replication_summary(request.clone()).await?;
        // A tag that moves meanwhile is not what was asked for.
        if !found.digest.is_empty() {
            request.digest.clone_from(&found.digest);
        }
        let now = Totals::of(&found);
        let first = first.get_or_insert_with(|| now.clone());
        let failed = if is_image {
            now.failed
        } else {
            now.failed.saturating_sub(first.failed)
        };
        if now.pending == 0 {
            progress.clear();
            if failed > 0 {
                let reason = now.reason.unwrap_or_default();
                let reason = human::plain(&reason);
                return Err(Failure::NotReplicated { what, reason });
            }
            if is_image && now.complete == 0 {
                return Err(Failure::NotCopied(what));
            }
            let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            let digest = Some(request.digest).filter(|digest| !digest.is_empty());
            return print(&Arrived::new(what, digest, now.complete, took_ms), json);
        }
        if start.elapsed() >= timeout {
            progress.clear();
            let left = now.pending;
            return Err(Failure::NotThereYet {
                what,
                timeout,
                left,
            });
        }
        progress.show(&now.line(&what), now.per_mille(first));
        sleep(look.min(timeout.saturating_sub(start.elapsed()))).await;
        look = (look * 2).min(LOOK_MAX);
    }
}

fn named(wait: &Wait) -> String {
    let Some(image) = &wait.image else {
        return "everything".to_owned();
    };
    let repository = &image.repository;
    match &image.which {
        Which::All => repository.to_string(),
        Which::Tag(tag) => format!("{repository}:{tag}"),
        Which::Digest(digest) => format!("{repository}@{digest}"),
    }
}
