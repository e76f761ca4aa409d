//! A node that was away for long catches up while the others serve on.
//!
//! By default it is behind by a few hundred entries, which come one by one. The
//! figure of the documentation is that of more entries than the log keeps, so
//! that it takes a snapshot, with nodes of a release build:
//! `ENTREPOT_ENTRIES=100000 cargo test --release -p entrepot-tests --test it
//! a_node_that_was_away -- --nocapture`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, Image, Registry, wait_until};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::support::{US_GROUP, step};

const ENTRIES: usize = 400;
const REPOSITORY: &str = "away/missed";
const PUSHES_AT_A_TIME: usize = 64;
const CAUGHT_UP: Duration = Duration::from_mins(3);
const MIB: u64 = 1 << 20;
/// What a node may need more than before, whatever it has to send or to take.
const GROWTH_BYTES_MAX: u64 = 256 * MIB;

fn entries() -> Result<usize> {
    match std::env::var("ENTREPOT_ENTRIES") {
        Ok(said) => said.parse().context("ENTREPOT_ENTRIES"),
        Err(_) => Ok(ENTRIES),
    }
}

/// One entry of the log each.
async fn tag(registry: &Registry, image: &Image, prefix: &str, count: usize) -> Result<()> {
    let tagged = stream::iter(0..count).map(|number| async move {
        let tag = format!("{prefix}-{number}");
        let put = registry.put_manifest(REPOSITORY, &tag, &image.manifest);
        put.await.map(drop)
    });
    tagged
        .buffer_unordered(PUSHES_AT_A_TIME)
        .try_collect()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_catches_up() -> Result<()> {
    let entries = entries()?;
    let mut cluster = Cluster::builder().nodes(3).start().await?;
    let admin = cluster.admin(1)?;
    let leader = wait_until("a leader", CAUGHT_UP, async || admin.leader(US_GROUP).await).await?;
    let mut others = cluster.ids().into_iter().filter(|id| *id != leader);
    let away = others.next().context("a follower")?;
    let registry = cluster.registry(leader)?;
    let image = Image::random(1, 1, 1_000);
    registry.push_image(REPOSITORY, "first", &image).await?;
    cluster.stop(&[away]).await?;
    step(&format!("{entries} entries without node {away}"), async {
        let started = Instant::now();
        tag(&registry, &image, "missed", entries).await?;
        println!("  in {:?}", started.elapsed());
        Ok(())
    })
    .await?;
    let target = cluster.admin(leader)?.applied(US_GROUP).await?;
    let before = cluster.node(leader)?.usage()?.rss_bytes;

    let returned = Instant::now();
    cluster.spawn(away)?;
    let mut writes = 0_usize;
    let mut slowest = Duration::ZERO;
    let admin = cluster.admin(away)?;
    loop {
        let started = Instant::now();
        tag(&registry, &image, &format!("meanwhile-{writes}"), 1).await?;
        slowest = slowest.max(started.elapsed());
        writes += 1;
        if admin
            .applied(US_GROUP)
            .await
            .is_ok_and(|applied| applied >= target)
        {
            break;
        }
        ensure!(returned.elapsed() < CAUGHT_UP, "it never caught up");
    }
    let took = returned.elapsed();
    let leader_peak = cluster.node(leader)?.usage()?.rss_bytes;
    let away_peak = cluster.node(away)?.usage()?.peak_rss_bytes;
    println!(
        "  {entries} entries behind: caught up in {took:?} from its start on, \
         {writes} writes meanwhile, the slowest {slowest:?};\n  \
         leader {} MiB before and {} MiB after, node {away} {} MiB at most",
        before / MIB,
        leader_peak / MIB,
        away_peak / MIB,
    );
    ensure!(leader_peak < before + GROWTH_BYTES_MAX, "the leader grew");
    let last = format!("missed-{}", entries - 1);
    let returned = cluster.registry(away)?;
    returned.verify_image(REPOSITORY, &last, &image).await?;
    cluster.finish().await
}
