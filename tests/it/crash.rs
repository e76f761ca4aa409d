//! Nodes that die, stop or hang under load: what was acknowledged stays, and
//! what is in flight on the others succeeds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, HeldPush, Ledger, Registry, Reply, Writers, wait_until};

use crate::support::{EU, REPLICATED, US, US_GROUP, step, two_regions};

/// Images acknowledged before and after the blow.
const IMAGES_BEFORE: u64 = 20;
const IMAGES_AFTER: u64 = 40;
const WRITERS_PER_NODE: usize = 3;
const HELD_BYTES: usize = 24 << 20;
/// Blobs up to this size are kept in the metadata, which needs no copies.
const INLINE_BYTES_MAX: usize = 6 * 1024;
/// An election takes at most a few seconds; the rest is two slow cores.
const PROGRESS: Duration = Duration::from_mins(1);
const CAUGHT_UP: Duration = Duration::from_secs(30);
const REPAIRED: Duration = Duration::from_secs(40);
const KILLS_OF_ALL: usize = 2;

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// SIGKILL
    Kill,
    /// SIGTERM: a clean stop, as in a rolling upgrade.
    Stop,
    /// SIGSTOP: it hangs, and its connections stay open.
    Hang,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_disturbs_nobody_else() -> Result<()> {
    one_after_the_other(Blow::Kill).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_disturbs_nobody_else() -> Result<()> {
    one_after_the_other(Blow::Stop).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_disturbs_nobody_else() -> Result<()> {
    one_after_the_other(Blow::Hang).await
}

/// First the leader, then a follower.
async fn one_after_the_other(blow: Blow) -> Result<()> {
    let mut cluster = Cluster::builder().nodes(3).start().await?;
    let leader = leader(&cluster).await?;
    strike(&mut cluster, leader, blow, "the leader").await?;
    let follower = follower(&cluster).await?;
    strike(&mut cluster, follower, blow, "a follower").await?;
    cluster.finish().await
}

async fn leader(cluster: &Cluster) -> Result<u64> {
    let admin = cluster.admin(1)?;
    wait_until("a leader", CAUGHT_UP, async || admin.leader(US_GROUP).await).await
}

async fn follower(cluster: &Cluster) -> Result<u64> {
    let leader = leader(cluster).await?;
    let mut others = cluster.ids().into_iter().filter(|id| *id != leader);
    others.next().context("a follower")
}

async fn strike(cluster: &mut Cluster, victim: u64, blow: Blow, role: &str) -> Result<()> {
    let what = format!("{blow:?} {role}, node {victim}");
    let prefix = what
        .to_lowercase()
        .replace([',', ' '], "-")
        .replace("--", "-");
    step(&what, suffer(cluster, victim, blow, &prefix)).await
}

async fn suffer(cluster: &mut Cluster, victim: u64, blow: Blow, prefix: &str) -> Result<()> {
    let mut survivors = Vec::new();
    for id in cluster.ids().into_iter().filter(|id| *id != victim) {
        survivors.push(cluster.registry(id)?);
    }
    let mut held = Vec::new();
    for (seed, survivor) in (1..).zip(&survivors) {
        let repository = format!("{prefix}/held-{seed}");
        held.push(HeldPush::start(survivor, &repository, seed, HELD_BYTES).await?);
    }
    let clients = survivors.iter().cycle();
    let clients = clients.take(WRITERS_PER_NODE * survivors.len());
    let clients: Vec<Registry> = clients.cloned().collect();
    let during = Writers::start(&format!("{prefix}/during"), clients.clone());
    progress(&during, IMAGES_BEFORE).await?;
    match blow {
        Blow::Kill => cluster.kill9(victim)?,
        Blow::Stop => cluster.stop(&[victim]).await?,
        Blow::Hang => cluster.node(victim)?.pause()?,
    }
    let after = Writers::start(&format!("{prefix}/after"), clients);
    progress(&after, IMAGES_AFTER).await?;
    let mut ledger = during.stop().await?;
    ledger.merge(after.stop().await?);
    ledger
        .no_failures()
        .context("pushes through the survivors")?;
    for push in held {
        let pushed = push
            .finish()
            .await
            .context("a push in flight through a survivor")?;
        ledger.blobs.push(pushed);
    }
    println!(
        "  {} images and {} blobs acknowledged",
        ledger.images.len(),
        ledger.blobs.len()
    );
    ledger
        .verify(&survivors)
        .await
        .context("read from the survivors")?;

    if blow == Blow::Hang {
        cluster.node(victim)?.resume()?;
        never_stale(&cluster.registry(victim)?, &ledger).await?;
    } else {
        cluster.start(&[victim]).await?;
    }
    caught_up(cluster, victim).await?;
    let returned = [cluster.registry(victim)?];
    ledger
        .verify(&returned)
        .await
        .context("read from the node that came back")?;
    repaired(cluster, &ledger).await
}

/// A node that slept may be slow to answer, but not with what was true before
/// it fell asleep.
async fn never_stale(node: &Registry, ledger: &Ledger) -> Result<()> {
    for (repository, moving) in &ledger.moving {
        let path = format!("/v2/{repository}/manifests/latest");
        let reply = wait_until("an answer", CAUGHT_UP, async || {
            let reply = node.head(&path).send().await?;
            Ok((reply.status != 503).then_some(reply))
        })
        .await?;
        let digest = reply
            .expect(200)?
            .header("docker-content-digest")?
            .to_owned();
        ensure!(
            moving.possible.contains(&digest),
            "{repository}:latest was {digest} before it was {:?}",
            moving.possible
        );
    }
    Ok(())
}

/// Waits until `count` images are acknowledged; a writer that failed ends it.
async fn progress(writers: &Writers, count: u64) -> Result<()> {
    let failures = wait_until(
        &format!("{count} images to be pushed"),
        PROGRESS,
        async || {
            let failures = writers.failures();
            let acknowledged = writers.acknowledged();
            ensure!(
                !failures.is_empty() || acknowledged >= count,
                "{acknowledged} are"
            );
            Ok(Some(failures))
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

/// Waits until each of the three nodes has its copy of every blob again.
async fn repaired(cluster: &Cluster, ledger: &Ledger) -> Result<()> {
    wait_until("every blob to have three copies", REPAIRED, async || {
        for id in cluster.ids() {
            let node = cluster.node(id)?;
            let blobs = ledger.blobs.iter().map(|(_, blob)| blob);
            let (mut copies, mut missing) = (0, 0);
            for blob in blobs.filter(|blob| blob.content.len() > INLINE_BYTES_MAX) {
                copies += 1;
                missing += usize::from(!node.blob_file(&blob.digest)?.is_file());
            }
            ensure!(
                copies > 0 && missing == 0,
                "node {id} lacks {missing} of {copies}"
            );
        }
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_lose_nothing() -> Result<()> {
    let mut cluster = two_regions().await?;
    cluster.admin(1)?.put_rule("all", EU, Some("us")).await?;
    let mut ledgers = Vec::new();
    for round in 1..=KILLS_OF_ALL {
        let what = format!("kill all six, time {round}");
        step(&what, async {
            ledgers.push(kill_all(&mut cluster, round).await?);
            Ok(())
        })
        .await?;
        for (us, eu) in &ledgers {
            us.verify(&registries(&cluster, US)?)
                .await
                .context("the first region")?;
            eu.verify(&registries(&cluster, EU)?)
                .await
                .context("the second region")?;
        }
    }
    step("the tasks were not lost either", async {
        let images: usize = ledgers.iter().map(|(us, _)| us.images.len()).sum();
        let tasks = cluster
            .admin(2)?
            .wait_replicated(None, images, REPLICATED)
            .await?;
        println!("  {} tasks are COMPLETE", tasks.len());
        for (us, _) in &ledgers {
            us.verify_images(&registries(&cluster, EU)?).await?;
            same_tags(&cluster.registry(1)?, &cluster.registry(4)?, us).await?;
        }
        Ok(())
    })
    .await?;
    step("pushes go on", async {
        let writers = Writers::start("after", registries(&cluster, US)?);
        progress(&writers, IMAGES_BEFORE).await?;
        let ledger = writers.stop().await?;
        ledger.no_failures()?;
        ledger.verify(&registries(&cluster, US)?).await
    })
    .await?;
    cluster.finish().await
}

/// Returns what both regions had acknowledged before the end, and starts all
/// six again.
async fn kill_all(cluster: &mut Cluster, round: usize) -> Result<(Ledger, Ledger)> {
    let us = Writers::start(&format!("us-{round}"), registries(cluster, US)?);
    let eu = Writers::start(&format!("eu-{round}"), registries(cluster, EU)?);
    progress(&us, IMAGES_BEFORE).await?;
    progress(&eu, IMAGES_BEFORE).await?;
    for id in cluster.ids() {
        cluster.kill9(id)?;
    }
    let (us, eu) = (us.stop().await?, eu.stop().await?);
    println!(
        "  {} and {} images acknowledged",
        us.images.len(),
        eu.images.len()
    );
    cluster.start_all().await?;
    Ok((us, eu))
}

/// Once everything is COMPLETE, a moving tag is the same on both sides.
async fn same_tags(source: &Registry, copy: &Registry, ledger: &Ledger) -> Result<()> {
    let digest = |reply: &Reply| {
        reply
            .header("docker-content-digest")
            .map(str::to_owned)
            .ok()
    };
    for repository in ledger.moving.keys() {
        let path = format!("/v2/{repository}/manifests/latest");
        let here = digest(&source.head(&path).send().await?);
        let there = digest(&copy.head(&path).send().await?);
        ensure!(
            here == there,
            "{repository}:latest: {here:?} here, {there:?} there"
        );
    }
    Ok(())
}

fn registries(cluster: &Cluster, region: &str) -> Result<Vec<Registry>> {
    let ids = cluster.ids_in(region).into_iter();
    ids.map(|id| cluster.registry(id)).collect()
}
