//! kill -9 under load: what was acknowledged stays, and what is in flight on
//! the survivors succeeds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, Ledger, Registry, Writers, wait_until};

use crate::support::{EU, REPLICATED, US, US_GROUP, step, two_regions};

/// Images acknowledged before and after the kill.
const IMAGES_BEFORE: u64 = 12;
const IMAGES_AFTER: u64 = 24;
const WRITERS_PER_NODE: usize = 3;
/// An election takes at most a few seconds; the rest is two slow cores.
const PROGRESS: Duration = Duration::from_mins(1);
const CAUGHT_UP: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_disturbs_nobody_else() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(3).start().await?;
    let leader = leader(&cluster, 1).await?;
    step(
        &format!("kill the leader, node {leader}"),
        kill_one(&mut cluster, leader, "leader"),
    )
    .await?;
    let survivor = if leader == 1 { 2 } else { 1 };
    let leader = self::leader(&cluster, survivor).await?;
    let follower = cluster
        .ids()
        .into_iter()
        .find(|id| *id != leader)
        .context("a follower")?;
    let what = format!("kill a follower, node {follower}");
    step(&what, kill_one(&mut cluster, follower, "follower")).await?;
    cluster.finish().await
}

async fn leader(cluster: &Cluster, asked: u64) -> Result<u64> {
    let admin = cluster.admin(asked)?;
    wait_until("a leader", CAUGHT_UP, async || admin.leader(US_GROUP).await).await
}

async fn kill_one(cluster: &mut Cluster, victim: u64, prefix: &str) -> Result<()> {
    let mut survivors = Vec::new();
    for id in cluster.ids().into_iter().filter(|id| *id != victim) {
        survivors.push(cluster.registry(id)?);
    }
    let writers = survivors
        .iter()
        .cycle()
        .take(WRITERS_PER_NODE * survivors.len());
    let writers = Writers::start(prefix, writers.cloned().collect());
    progress(&writers, IMAGES_BEFORE).await?;
    cluster.kill9(victim)?;
    progress(&writers, writers.acknowledged() + IMAGES_AFTER).await?;
    let ledger = writers.stop().await?;
    ledger
        .no_failures()
        .context("pushes through the survivors")?;
    println!(
        "  {} images and {} blobs acknowledged",
        ledger.images.len(),
        ledger.blobs.len()
    );
    ledger
        .verify(&survivors)
        .await
        .context("read from the survivors")?;

    cluster.start(&[victim]).await?;
    caught_up(cluster, victim).await?;
    let returned = [cluster.registry(victim)?];
    ledger
        .verify(&returned)
        .await
        .context("read from the node that came back")
}

/// Waits until `count` images are acknowledged; a writer that failed ends it.
async fn progress(writers: &Writers, count: u64) -> Result<()> {
    let failures = wait_until(
        &format!("{count} images to be pushed"),
        PROGRESS,
        async || {
            let failures = writers.failures();
            let done = !failures.is_empty() || writers.acknowledged() >= count;
            Ok(done.then_some(failures))
        },
    )
    .await?;
    ensure!(
        failures.is_empty(),
        "writers failed:\n{}",
        failures.join("\n")
    );
    Ok(())
}

/// Waits until `id` has applied what the others have.
async fn caught_up(cluster: &Cluster, id: u64) -> Result<()> {
    let other = cluster
        .ids()
        .into_iter()
        .find(|other| *other != id)
        .context("another node")?;
    let target = cluster.admin(other)?.applied(US_GROUP).await?;
    let admin = cluster.admin(id)?;
    wait_until(&format!("node {id} to catch up"), CAUGHT_UP, async || {
        let applied = admin.applied(US_GROUP).await?;
        ensure!(applied >= target, "applied {applied} of {target}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_lose_nothing() -> Result<()> {
    let mut cluster = two_regions().await?;
    cluster.admin(1)?.put_rule("all", EU, Some("us/")).await?;
    let here = registries(&cluster, US)?;
    let there = registries(&cluster, EU)?;
    let us_writers = Writers::start("us", here.clone());
    let eu_writers = Writers::start("eu", there.clone());
    progress(&us_writers, IMAGES_BEFORE).await?;
    progress(&eu_writers, IMAGES_BEFORE).await?;

    for id in cluster.ids() {
        cluster.kill9(id)?;
    }
    let us: Ledger = us_writers.stop().await?;
    let eu: Ledger = eu_writers.stop().await?;
    println!(
        "  {} and {} images acknowledged",
        us.images.len(),
        eu.images.len()
    );

    step("start all six again", cluster.start_all()).await?;
    step("the first region has everything", us.verify(&here)).await?;
    step("the second region has everything", eu.verify(&there)).await?;
    step("the tasks were not lost either", async {
        let tasks = cluster
            .admin(2)?
            .wait_replicated(None, us.images.len(), REPLICATED)
            .await?;
        println!("  {} tasks are COMPLETE", tasks.len());
        us.verify_images(&there).await
    })
    .await?;
    step("moving tags are the same on both sides", async {
        for repository in us.moving.keys() {
            let path = format!("/v2/{repository}/manifests/latest");
            let (source, copy) = (
                here[0].head(&path).send().await?,
                there[0].head(&path).send().await?,
            );
            let digest = |reply: entrepot_harness::Reply| {
                reply
                    .header("docker-content-digest")
                    .map(str::to_owned)
                    .ok()
            };
            let (source, copy) = (digest(source), digest(copy));
            ensure!(
                source == copy,
                "{repository}:latest: {source:?} here, {copy:?} there"
            );
        }
        Ok(())
    })
    .await?;
    step("pushes go on", async {
        let writers = Writers::start("after", here.clone());
        progress(&writers, IMAGES_BEFORE).await?;
        let ledger = writers.stop().await?;
        ledger.no_failures()?;
        ledger.verify(&here).await
    })
    .await?;
    cluster.finish().await
}

fn registries(cluster: &Cluster, region: &str) -> Result<Vec<Registry>> {
    let ids = cluster.ids_in(region).into_iter();
    ids.map(|id| cluster.registry(id)).collect()
}
