//! A node that knows very many blobs: what it holds in memory, and how long it
//! takes to start.
//!
//! The blobs are of 100 bytes, so that they are kept in the metadata: a million
//! files would take an hour, and would not be in memory.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use entrepot_harness::{Blob, Cluster, Random, Registry, Usage, media};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::{MIB, Sizes};

const REPOSITORY: &str = "bench/known";
const BLOB_BYTES: usize = 100;
const PUSHES_AT_ONCE: usize = 64;
const TASKS: u64 = 2;
const POLL: Duration = Duration::from_millis(5);
const ANSWERED: Duration = Duration::from_mins(5);

/// What happened before a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Stopped,
    Killed,
    /// As far as the node can tell: it builds its index again.
    PowerCut,
}

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let mut cluster = Cluster::builder().nodes(1).start().await?;
    let registry = cluster.registry(1)?;
    registry.push_blob(REPOSITORY, &blob(0)).await?;
    let nothing = cluster.node(1)?.usage()?;
    let started = Instant::now();
    fill(&registry, sizes.known).await?;
    let filled = started.elapsed().as_secs_f64();
    let full = cluster.node(1)?.usage()?;
    let mut lines = vec![
        format!(
            "- {} blobs of {BLOB_BYTES} bytes in one repository, kept in the metadata; pushed in \
             {filled:.0} s by {} requests at a time",
            sizes.known,
            PUSHES_AT_ONCE * 2
        ),
        String::new(),
        "| | start, s | anonymous memory, MiB | peak (VmHWM), MiB |".to_owned(),
        "|---|---:|---:|---:|".to_owned(),
        row("one blob", None, &nothing),
        row("after the pushes", None, &full),
    ];
    for (before, what) in [
        (Before::Stopped, "started after a clean stop"),
        (Before::Killed, "started after kill -9"),
        (Before::PowerCut, "started with an index to be built again"),
    ] {
        let seconds = start_after(before, &mut cluster).await?;
        let usage = cluster.node(1)?.usage()?;
        lines.push(row(what, Some(seconds), &usage));
    }
    cluster.finish().await?;
    Ok(lines.join("\n"))
}

fn blob(seed: u64) -> Blob {
    Blob::new(media::LAYER, Random::new(seed).bytes(BLOB_BYTES))
}

/// One request each.
async fn fill(registry: &Registry, count: u64) -> Result<()> {
    let tasks = (0..TASKS).map(|task| {
        let registry = registry.clone();
        let numbers = (1..count).filter(move |number| number % TASKS == task);
        tokio::spawn(async move {
            futures::stream::iter(numbers)
                .map(async |number| {
                    let blob = blob(number);
                    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", blob.digest);
                    let post = registry.post(&path).body(blob.content);
                    post.send().await?.expect(201)?;
                    anyhow::Ok(())
                })
                .buffer_unordered(PUSHES_AT_ONCE)
                .try_collect::<()>()
                .await
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}

/// Until the node answers a client that asks for a blob.
async fn start_after(before: Before, cluster: &mut Cluster) -> Result<f64> {
    match before {
        Before::Stopped | Before::PowerCut => cluster.stop(&[1]).await?,
        Before::Killed => cluster.kill9(1)?,
    }
    if before == Before::PowerCut {
        // Says that the index may be believed.
        let state = cluster.node(1)?.data().join("consensus/index/state");
        fs::remove_file(&state).with_context(|| format!("remove {}", state.display()))?;
    }
    let registry = cluster.registry(1)?;
    let path = format!("/v2/{REPOSITORY}/blobs/{}", blob(0).digest);
    let started = Instant::now();
    cluster.spawn(1)?;
    let answered = async {
        let mut looks = tokio::time::interval(POLL);
        loop {
            looks.tick().await;
            // Nobody listens yet, or nobody leads yet.
            if let Ok(reply) = registry.head(&path).send().await
                && reply.status == 200
            {
                return started.elapsed().as_secs_f64();
            }
        }
    };
    let seconds = tokio::time::timeout(ANSWERED, answered).await;
    seconds.context("a node that was started again answers nothing")
}

fn row(what: &str, seconds: Option<f64>, usage: &Usage) -> String {
    format!(
        "| {what} | {} | {} | {} |",
        seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.2}")),
        usage.anonymous_bytes / MIB as u64,
        usage.peak_rss_bytes / MIB as u64
    )
}
