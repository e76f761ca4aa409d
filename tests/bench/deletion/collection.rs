//! Very many blobs that nothing refers to go, while clients push and pull.
//!
//! They are uploaded to a node that keeps what nothing refers to for a year; then it is
//! started anew, once with that and once with a second instead, and the same clients
//! come to it both times. At the rate of collection that is the default, and as fast as
//! it can.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use entrepot_harness::{Blob, Cluster, Random, Registry, media};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use crate::Sizes;
use crate::cell::cell;
use crate::load::{self, CLIENTS, EVERY, LAYER_BYTES, Latencies, Load, PUSH_ONE_IN};

const GARBAGE: &str = "bench/garbage";
/// Too large for the metadata: each is a file.
const BLOB_BYTES: usize = 8 * 1024;
/// Blobs a second, and how many times fewer blobs it is done with.
const PACES: [(u64, u64); 2] = [(2_000, 4), (20_000, 1)];
const KEPT_S: u64 = 365 * 24 * 3600;
const GONE_S: u64 = 1;
const TASKS: u64 = 2;
const UPLOADS_AT_ONCE: usize = 32;
const POLL: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_mins(5);

/// What one collection took, in seconds.
#[derive(Debug, Clone, Copy)]
struct Collected {
    /// From the first link that went to the last blob.
    blobs: f64,
    /// To the last file.
    files: f64,
    /// Of the node, meanwhile, the clients' requests as well.
    cpu: f64,
}

#[derive(Debug, Default)]
struct Rounds {
    collected: Vec<Collected>,
    /// Without collection, and with it.
    latencies: [Vec<Latencies>; 2],
    planted_s: Vec<f64>,
}

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let mut text = Vec::new();
    for (per_s, fewer) in PACES {
        let blobs = sizes.blobs / fewer;
        text.push(at(per_s, blobs, sizes).await?.markdown(per_s, blobs));
    }
    Ok(text.join("\n\n"))
}

async fn at(per_s: u64, blobs: u64, sizes: &Sizes) -> Result<Rounds> {
    let builder = Cluster::builder()
        .nodes(1)
        .storage("unreferenced_after_s", KEPT_S)
        .storage("collect_per_s", per_s);
    let mut cluster = builder.start().await?;
    let mut rounds = Rounds::default();
    for round in 0..sizes.rounds as u64 {
        eprintln!("{per_s} a second, round {} of {}", round + 1, sizes.rounds);
        let started = Instant::now();
        plant(&cluster, round, blobs).await?;
        rounds.planted_s.push(started.elapsed().as_secs_f64());
        restart(&mut cluster, KEPT_S).await?;
        let load = Load::start(&cluster, 2 * round + 1).await?;
        load::watch(sizes.watched_s).await;
        rounds.latencies[0].push(load.stop().await?);
        restart(&mut cluster, GONE_S).await?;
        let load = Load::start(&cluster, 2 * round + 2).await?;
        let collected = collected(&cluster, blobs).await?;
        eprintln!("  {collected:?}");
        rounds.collected.push(collected);
        rounds.latencies[1].push(load.stop().await?);
        restart(&mut cluster, KEPT_S).await?;
    }
    cluster.finish().await?;
    Ok(rounds)
}

/// Uploads what nothing will name.
async fn plant(cluster: &Cluster, round: u64, blobs: u64) -> Result<()> {
    let tasks = (0..TASKS).map(|task| {
        let registry = cluster.registry(1)?;
        let numbers = (0..blobs).filter(move |number| number % TASKS == task);
        anyhow::Ok(tokio::spawn(async move {
            futures::stream::iter(numbers)
                .map(async |number| one(&registry, (round << 32) + number).await)
                .buffer_unordered(UPLOADS_AT_ONCE)
                .try_collect::<()>()
                .await
        }))
    });
    let tasks: Vec<_> = tasks.collect::<Result<_>>()?;
    for task in tasks {
        task.await.context("an upload panicked")??;
    }
    Ok(())
}

async fn one(registry: &Registry, seed: u64) -> Result<()> {
    let content = Random::new(seed ^ 0x0067_6172_6261_6765).bytes(BLOB_BYTES);
    load::upload(registry, GARBAGE, &Blob::new(media::LAYER, content)).await
}

/// Starts the node with another time for which it keeps what nothing refers to.
async fn restart(cluster: &mut Cluster, kept_s: u64) -> Result<()> {
    cluster.stop(&[1]).await?;
    let path = cluster.node(1)?.config_path();
    let text = fs::read_to_string(path)?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = lines
        .iter_mut()
        .find(|line| line.starts_with("unreferenced_after_s"));
    *line.context("the key")? = format!("unreferenced_after_s = {kept_s}");
    fs::write(path, lines.join("\n") + "\n")?;
    cluster.start(&[1]).await
}

/// Waits until the node has collected so many blobs.
async fn collected(cluster: &Cluster, blobs: u64) -> Result<Collected> {
    let node = cluster.node(1)?;
    let deadline = Instant::now() + DEADLINE;
    let mut begun: Option<(Instant, f64)> = None;
    let mut blobs_s = None;
    loop {
        ensure!(Instant::now() < deadline, "it takes too long");
        let metrics = node.metrics().await?;
        if begun.is_none() && number(&metrics, "entrepot_gc_collected_links_total")? > 0 {
            begun = Some((Instant::now(), node.usage()?.cpu_s));
        }
        if let Some((since, cpu_s)) = begun {
            let elapsed = since.elapsed().as_secs_f64();
            if number(&metrics, "entrepot_gc_collected_blobs_total")? >= blobs {
                blobs_s.get_or_insert(elapsed);
            }
            if number(&metrics, "entrepot_gc_files_deleted_total")? >= blobs {
                return Ok(Collected {
                    blobs: blobs_s.unwrap_or(elapsed),
                    files: elapsed,
                    cpu: node.usage()?.cpu_s - cpu_s,
                });
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

fn number(metrics: &str, name: &str) -> Result<u64> {
    let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let found = lines.next().with_context(|| format!("no {name}"))?;
    Ok(found.trim().parse()?)
}

// === impl Rounds ===

impl Rounds {
    fn markdown(&self, per_s: u64, number: u64) -> String {
        #[allow(clippy::cast_precision_loss, reason = "some 100,000")]
        let blobs = number as f64;
        let of =
            |what: fn(&Collected) -> f64| -> Vec<f64> { self.collected.iter().map(what).collect() };
        let rates: Vec<f64> = of(|it| it.files).iter().map(|s| blobs / s).collect();
        let costs: Vec<f64> = of(|it| it.cpu).iter().map(|s| s * 1e6 / blobs).collect();
        let mut lines = vec![
            format!(
                "- {number} blobs of {BLOB_BYTES} bytes in one repository, collect_per_s = \
                 {per_s}; {CLIENTS} clients that do something every {} ms each: one in \
                 {PUSH_ONE_IN} pushes an image with a layer of {LAYER_BYTES} bytes, the others \
                 pull a layer and a manifest; {} rounds: median (least–most)",
                EVERY.as_millis(),
                self.collected.len()
            ),
            String::new(),
            "| | |".to_owned(),
            "|---|---:|".to_owned(),
            format!("| uploaded in, s | {} |", cell(&self.planted_s)),
            format!(
                "| links and blobs gone after, s | {} |",
                cell(&of(|it| it.blobs))
            ),
            format!("| files gone after, s | {} |", cell(&of(|it| it.files))),
            format!("| blobs a second | {} |", cell(&rates)),
            format!(
                "| CPU of the node with its clients, us a blob | {} |",
                cell(&costs)
            ),
            String::new(),
            "| | without collection, ms | with it | ratio of the medians |".to_owned(),
            "|---|---:|---:|---:|".to_owned(),
        ];
        for (what, percent) in [("p50", 50), ("p99", 99)] {
            for (name, of) in [
                (
                    "pushes",
                    (|it| &it.pushes) as fn(&Latencies) -> &Vec<Duration>,
                ),
                ("pulls", |it| &it.pulls),
            ] {
                let [without, with] = self.latencies.each_ref().map(|rounds| {
                    let ms = rounds.iter().map(|it| Latencies::ms(of(it), percent));
                    ms.collect::<Vec<f64>>()
                });
                let ratio = median(&with) / median(&without);
                lines.push(format!(
                    "| {name}, {what} | {} | {} | {ratio:.2} |",
                    cell(&without),
                    cell(&with)
                ));
            }
        }
        lines.join("\n")
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
