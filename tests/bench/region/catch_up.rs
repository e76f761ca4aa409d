//! A node comes back that has missed many entries of the log, more than the leader
//! keeps: how long it takes, and what writes feel of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, Image, Registry, wait_until};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::load::{self, Latencies};
use crate::{GROUP, MIB, Sizes};

const REPOSITORY: &str = "bench/missed";
const PUSHES_AT_ONCE: usize = 64;
const WRITES_PER_S: u32 = 100;
const SETTLED: Duration = Duration::from_mins(1);
const CAUGHT_UP: Duration = Duration::from_mins(5);
/// Each takes a process.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let mut cluster = Cluster::builder().nodes(3).start().await?;
    let admin = cluster.admin(1)?;
    let leader = wait_until("a leader", SETTLED, async || admin.leader(GROUP).await).await?;
    let mut others = cluster.ids().into_iter().filter(|id| *id != leader);
    let away = others.next().context("a follower")?;
    let registry = cluster.registry(leader)?;
    let image = Image::random(1, 1, 1_000);
    registry.push_image(REPOSITORY, "first", &image).await?;
    let write = async |number: u64| tag(&registry, &image, &format!("paced-{number}")).await;
    load::for_seconds(sizes.before_s.min(5), WRITES_PER_S, write).await?;
    let before = load::for_seconds(sizes.before_s, WRITES_PER_S, write).await?;

    cluster.stop(&[away]).await?;
    let started = Instant::now();
    futures::stream::iter(0..sizes.entries)
        .map(async |number| tag(&registry, &image, &format!("missed-{number}")).await)
        .buffer_unordered(PUSHES_AT_ONCE)
        .try_collect::<()>()
        .await?;
    eprintln!("  {} entries in {:?}", sizes.entries, started.elapsed());
    let target = cluster.admin(leader)?.applied(GROUP).await?;
    let without = load::for_seconds(sizes.before_s, WRITES_PER_S, write).await?;
    let memory = cluster.node(leader)?.usage()?.rss_bytes;

    cluster.spawn(away)?;
    let returned = Instant::now();
    let work = caught_up(&cluster, away, target);
    let ((), during) = load::during(WRITES_PER_S, write, work).await?;
    let took = returned.elapsed();
    let after = load::for_seconds(sizes.before_s, WRITES_PER_S, write).await?;
    let more = cluster
        .node(leader)?
        .usage()?
        .rss_bytes
        .saturating_sub(memory);
    let peak = cluster.node(away)?.usage()?.peak_rss_bytes;
    cluster.finish().await?;
    let facts = format!(
        "- {} entries behind: caught up {:.2} s after its start; the leader took {} MiB more, \
         the node itself {} MiB at most\n\
         - writes: {WRITES_PER_S} tags a second through the leader, each timed from when it was \
         due",
        sizes.entries,
        took.as_secs_f64(),
        more / MIB as u64,
        peak / MIB as u64
    );
    Ok(table(&facts, [&before, &without, &during, &after]))
}

async fn caught_up(cluster: &Cluster, away: u64, target: u64) -> Result<()> {
    let admin = cluster.admin(away)?;
    let started = Instant::now();
    loop {
        let applied = admin.applied(GROUP).await;
        if applied.is_ok_and(|applied| applied >= target) {
            return Ok(());
        }
        ensure!(started.elapsed() < CAUGHT_UP, "it never caught up");
        tokio::time::sleep(LOOK).await;
    }
}

/// One entry of the log.
async fn tag(registry: &Registry, image: &Image, tag: &str) -> Result<()> {
    let put = registry.put_manifest(REPOSITORY, tag, &image.manifest);
    put.await.map(drop)
}

fn table(facts: &str, [before, without, during, after]: [&Latencies; 4]) -> String {
    let rows = [
        ("three nodes, before", before),
        ("one node away", without),
        ("while it catches up", during),
        ("after that", after),
    ];
    let mut lines = vec![facts.to_owned(), String::new()];
    lines.extend(load::table("writes", &rows));
    lines.join("\n")
}
