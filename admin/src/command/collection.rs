//! `entrepot gc`, `entrepot check` and `entrepot image delete`.

use std::time::{Duration, Instant};

use entrepot_oci::Reference;
use entrepot_proto::admin::{CheckFilesReply, DeleteImageRequest, NodeCollection};
use tokio::time::{sleep, timeout_at};

use super::print;
use crate::arguments::{Check, Gc, GcRun, ImageDelete};
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::progress::Progress;
use crate::report::{
    CheckReport, CollectedReport, CollectionPreviewReport, CollectionReport, DeletedImage,
};

/// Steps and pages of some 1,000 things: more than there are.
const PARTS_MAX: usize = 1_000_000;
/// Between two looks at what nodes have still to delete, and looks in all without
/// that anything has gone: some node does not answer.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
const LOOKS_MAX: usize = 20;
/// For how long they are waited for in all.
const FILES_TIME: Duration = Duration::from_mins(5);

pub(super) async fn gc(client: &Client, command: Gc, json: bool) -> Result<(), Failure> {
    match command {
        Gc::Status => print(
            &CollectionReport::from(client.collection_status().await?),
            json,
        ),
        Gc::Run(options) if options.dry_run => preview(client, &options, json).await,
        Gc::Run(options) => run(client, &options, json).await,
    }
}

async fn preview(client: &Client, options: &GcRun, json: bool) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let mut report: Option<CollectionPreviewReport> = None;
    let (mut after, mut as_of_ms) = (String::new(), 0);
    for _ in 0..PARTS_MAX {
        let page = client.preview_collection(after.clone(), as_of_ms, options.older_than);
        let page = page.await?;
        as_of_ms = page.as_of_ms;
        let next = page.next.clone();
        let report = report.get_or_insert_default();
        report.add(&page);
        if next.is_empty() {
            progress.clear();
            return print(report, json);
        }
        if next == after {
            return Err(Failure::Nonsense("a page that names itself as the next"));
        }
        after = next;
        progress.tell(&format!("Looked at {} candidates.", report.looked_at()));
    }
    Err(Failure::Nonsense("a list without an end"))
}

async fn run(client: &Client, options: &GcRun, json: bool) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let mut report = CollectedReport::default();
    let done = collect(client, options, &mut report, &mut progress).await;
    if done.is_ok() {
        report.finish();
        wait_for_files(client, &mut report, &mut progress).await;
    }
    progress.clear();
    // What the steps before a failure have done is not lost with it.
    if done.is_ok() || !report.is_empty() {
        print(&report, json)?;
    }
    done
}

async fn collect(
    client: &Client,
    options: &GcRun,
    report: &mut CollectedReport,
    progress: &mut Progress,
) -> Result<(), Failure> {
    for _ in 0..PARTS_MAX {
        let step = client.run_collection(options.older_than).await?;
        report.add(&step);
        progress.tell(&report.progress());
        if !step.more {
            return Ok(());
        }
    }
    Err(Failure::Nonsense("a run that does not end"))
}

/// Until they are gone, or nobody seems to delete them, or it takes too long. The run
/// has done its work before: whatever happens here only says less of it.
async fn wait_for_files(client: &Client, report: &mut CollectedReport, progress: &mut Progress) {
    let until = Instant::now() + FILES_TIME;
    let mut looks = 0;
    while report.files_pending() > 0 && looks < LOOKS_MAX {
        sleep(LOOK_INTERVAL).await;
        let Ok(looked) = timeout_at(until.into(), client.collection_status()).await else {
            break;
        };
        let status = match looked {
            Ok(status) => status,
            Err(failure) => {
                report.lose_sight(&failure);
                break;
            }
        };
        let pending = status.nodes.iter().map(|node| node.files_pending).sum();
        looks = if pending < report.files_pending() {
            0
        } else {
            looks + 1
        };
        report.pend(pending);
        progress.tell(&report.progress());
    }
}

pub(super) async fn delete(
    client: &Client,
    options: ImageDelete,
    json: bool,
) -> Result<(), Failure> {
    let ImageDelete {
        image,
        children,
        dry_run,
        yes: _,
    } = options;
    let (tag, digest) = match &image.reference {
        Reference::Tag(tag) => (tag.to_string(), String::new()),
        Reference::Digest(digest) => (String::new(), digest.to_string()),
    };
    let request = DeleteImageRequest {
        repository: image.repository.to_string(),
        tag,
        digest,
        with_children: children,
        dry_run,
    };
    let deleted = client.delete_image(request).await?;
    let report = DeletedImage::new(image.repository, deleted, dry_run);
    print(&report, json)?;
    match report.left() {
        0 => Ok(()),
        left => Err(Failure::DeletedInPart(left)),
    }
}

pub(super) async fn check(client: &Client, options: &Check, json: bool) -> Result<(), Failure> {
    let mut nodes = client.collection_status().await?.nodes;
    if let Some(node) = options.node {
        nodes.retain(|other| other.node == node);
        if nodes.is_empty() {
            return Err(Failure::NodeUnknown(node));
        }
    }
    let mut report = CheckReport::new(options.repair);
    let done = look(client, &nodes, options, &mut report).await;
    if done.is_ok() {
        report.finish();
    } else if report.is_empty() {
        return done;
    }
    // What was found, and mended, before a failure is not lost with it.
    print(&report, json)?;
    done?;
    match report.left() {
        0 => Ok(()),
        left => Err(Failure::Found(left)),
    }
}

async fn look(
    client: &Client,
    nodes: &[NodeCollection],
    options: &Check,
    report: &mut CheckReport,
) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let done = look_at_all(client, nodes, options, report, &mut progress).await;
    progress.clear();
    done
}

async fn look_at_all(
    client: &Client,
    nodes: &[NodeCollection],
    options: &Check,
    report: &mut CheckReport,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let number = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    // Of those known to be silent the others need not be asked either.
    for node in nodes.iter().filter(|node| !node.answered) {
        report.silent(node.node);
    }
    for (nth, node) in (0..).zip(nodes).filter(|(_, node)| node.answered) {
        let mut done = |page: &CheckFilesReply, report: &CheckReport| {
            let per_mille = (nth * 1_000 + page.permille) / number;
            progress.step(&report.progress(Some(node.node)), per_mille);
        };
        check_node(client, node.node, options, report, &mut done).await?;
    }
    if options.node.is_none() {
        check_records(client, report, progress).await?;
    }
    Ok(())
}

async fn check_node(
    client: &Client,
    node: u64,
    options: &Check,
    report: &mut CheckReport,
    done: &mut impl FnMut(&CheckFilesReply, &CheckReport),
) -> Result<(), Failure> {
    let mut after = String::new();
    for _ in 0..PARTS_MAX {
        let start = Instant::now();
        let silent = report.silent_nodes();
        let page = client.check_files(node, after.clone(), options.repair, silent);
        let page = page.await?;
        if !page.answered {
            report.silent(node);
            return Ok(());
        }
        done(&page, report);
        let next = page.next.clone();
        let looked_at = u32::try_from(page.files.max(page.records)).unwrap_or(u32::MAX);
        report.add_files(node, page);
        if next.is_empty() {
            return Ok(());
        }
        if next == after {
            return Err(Failure::Nonsense("a page that names itself as the next"));
        }
        after = next;
        let takes = Duration::from_secs(1) * looked_at / options.files_per_second;
        sleep(takes.saturating_sub(start.elapsed())).await;
    }
    Err(Failure::Nonsense("a list without an end"))
}

async fn check_records(
    client: &Client,
    report: &mut CheckReport,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut after = String::new();
    for _ in 0..PARTS_MAX {
        let page = client.check_records(after.clone()).await?;
        let next = page.next.clone();
        report.add_records(page);
        progress.tell(&human::plain(&report.progress(None)));
        if next.is_empty() {
            return Ok(());
        }
        if next == after {
            return Err(Failure::Nonsense("a page that names itself as the next"));
        }
        after = next;
    }
    Err(Failure::Nonsense("a list without an end"))
}
