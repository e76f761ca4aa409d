//! Small images that waited while the line was cut.

use std::time::Duration;

use anyhow::{Result, ensure};
use entrepot_harness::{Link, Registry};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use crate::pair::{Between, Pair, image, push};
use crate::{EU, Sizes, US};

const LINES: [Between; 2] = [
    Between {
        name: "none",
        round_trip: Duration::ZERO,
        bytes_per_s: None,
    },
    Between {
        name: "80 ms",
        round_trip: Duration::from_millis(80),
        bytes_per_s: None,
    },
];
const REPOSITORIES: usize = 10;
const LAYER_BYTES: usize = 2_000;
const AT_ONCE: usize = 8;
const ASK_EVERY: Duration = Duration::from_millis(100);
const DRAINS_WITHIN: Duration = Duration::from_mins(10);

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let mut lines = vec![
        format!(
            "- two regions of three nodes each. {} images with a layer of {LAYER_BYTES} bytes, in \
             {REPOSITORIES} repositories, were pushed while the line was cut. Rate: from the \
             first that arrives to the last. CPU: of all six nodes, from when the line is whole",
            sizes.queued
        ),
        String::new(),
        "| line | pushed, /s | first after, s | all after, s | images/s | CPU-ms an image |"
            .to_owned(),
        "|---|---:|---:|---:|---:|---:|".to_owned(),
    ];
    for between in LINES {
        lines.push(one(between, sizes.queued).await?);
        eprintln!("  {}", lines[lines.len() - 1]);
    }
    Ok(lines.join("\n"))
}

async fn one(between: Between, queued: usize) -> Result<String> {
    let pair = Pair::start(3, between).await?;
    pair.settle().await?;
    set(&pair, Link::Cut)?;
    let clients: Vec<Registry> = pair
        .cluster
        .ids_in(US)
        .into_iter()
        .map(|id| pair.cluster.registry(id))
        .collect::<Result<_>>()?;
    let start = Instant::now();
    let images = (0..queued).map(|nth| push_one(&clients[nth % clients.len()], nth));
    stream::iter(images)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    #[allow(clippy::cast_precision_loss, reason = "some thousand")]
    let pushed = queued as f64 / start.elapsed().as_secs_f64();

    let spent_s = pair.cpu_s()?;
    set(&pair, Link::Whole)?;
    let start = Instant::now();
    let (mut first, mut first_count) = (None, 0);
    let mut ticks = tokio::time::interval(ASK_EVERY);
    loop {
        ticks.tick().await;
        let count = arrived(&pair.destination).await?;
        if count > 0 && first.is_none() {
            (first, first_count) = (Some(start.elapsed()), count);
        }
        if count >= queued {
            break;
        }
        ensure!(
            start.elapsed() < DRAINS_WITHIN,
            "{count} of {queued} images"
        );
    }
    let (all, first) = (start.elapsed(), first.unwrap_or_default());
    let spent_s = pair.cpu_s()? - spent_s;
    pair.cluster.finish().await?;
    #[allow(clippy::cast_precision_loss, reason = "some thousand")]
    let (rate, cpu_ms) = (
        (queued - first_count) as f64 / all.saturating_sub(first).as_secs_f64(),
        spent_s * 1e3 / queued as f64,
    );
    Ok(format!(
        "| {} | {pushed:.0} | {:.1} | {:.1} | {rate:.0} | {cpu_ms:.2} |",
        between.name,
        first.as_secs_f64(),
        all.as_secs_f64()
    ))
}

async fn push_one(client: &Registry, nth: usize) -> Result<()> {
    let repository = format!("bench/drain-{}", nth % REPOSITORIES);
    let image = image(nth as u64, 1, LAYER_BYTES);
    for blob in &image.blobs {
        push(client, &repository, blob, None).await?;
    }
    let tag = format!("n{nth}");
    client
        .put_manifest(&repository, &tag, &image.manifest)
        .await?;
    Ok(())
}

/// Tags at the destination.
async fn arrived(destination: &Registry) -> Result<usize> {
    let mut count = 0;
    for nth in 0..REPOSITORIES {
        let path = format!("/v2/bench/drain-{nth}/tags/list");
        let reply = destination.get(&path).send().await?;
        if reply.status == 200 {
            let list: serde_json::Value = serde_json::from_slice(&reply.body)?;
            count += list["tags"].as_array().map_or(0, Vec::len);
        }
    }
    Ok(count)
}

fn set(pair: &Pair, link: Link) -> Result<()> {
    let links = pair.cluster.links()?;
    for from in pair.cluster.ids_in(US) {
        for to in pair.cluster.ids_in(EU) {
            links.set(from, to, link);
            links.set(to, from, link);
        }
    }
    Ok(())
}
