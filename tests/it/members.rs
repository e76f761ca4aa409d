//! Nodes come and go: a region grows from three to five, one node is drained
//! and removed, and all are restarted in turn, while clients push and pull.

mod forced;
mod full;
mod leaders;
mod lost;
mod refused;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use entrepot_harness::{Admin, Blob, Cluster, Image, Registry, wait_until};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{EU, US, US_GROUP, step};

const SETTLED: Duration = Duration::from_mins(1);
const LAYER_BYTES: usize = 30_000;
/// What clients do by themselves: the usual ones try five times.
const TRIES_MAX: usize = 5;
const RETRY: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_grow_to_five_and_one_leaves() -> Result<()> {
    let mut cluster = Cluster::builder()
        .regions([US])
        .nodes(3)
        .spare(US)
        .spare(US)
        .start()
        .await?;
    let admin = cluster.admin(1)?;
    let before = images(1, 8);
    step(
        "images are pushed to the three",
        push(&cluster, "before", &before),
    )
    .await?;
    step("the cluster is formed", async {
        wait_states(&admin, &[(1, "active"), (2, "active"), (3, "active")]).await
    })
    .await?;

    step("two more join, and vote", async {
        let started = Instant::now();
        cluster.start(&[4]).await?;
        cluster.start(&[5]).await?;
        wait_voters(&admin, US_GROUP, &[1, 2, 3, 4, 5]).await?;
        wait_voters(&admin, "global/0", &[1, 2, 3, 4, 5]).await?;
        println!(
            "  five voters after {:.1} s",
            started.elapsed().as_secs_f64()
        );
        wait_states(&admin, &[(4, "active"), (5, "active")]).await
    })
    .await?;
    let after = images(100, 8);
    step("all five serve all of it", async {
        push(&cluster, "after", &after).await?;
        verify(&cluster, "before", &before, &[1, 2, 3, 4, 5]).await?;
        verify(&cluster, "after", &after, &[1, 2, 3, 4, 5]).await
    })
    .await?;

    step("an active node is not removed", async {
        let refused = admin.try_run(&["node", "remove", "2", "--yes"]).await?;
        let refused = refused.failure()?.stderr;
        ensure!(refused.contains("drain it first"), "{refused}");
        let unsure = admin.try_run(&["node", "remove", "2"]).await?.failure()?;
        ensure!(unsure.stderr.contains("--yes"), "{}", unsure.stderr);
        Ok(())
    })
    .await?;

    step("one is drained while clients push", async {
        let load = Load::start(&cluster, "drain", &[1, 3, 4, 5])?;
        let started = Instant::now();
        let drained = wait_until("the drain", SETTLED, async || {
            let seen = admin.json(&["node", "drain", "2", "--no-wait"]).await?;
            ensure!(seen["safe_to_stop"] == true, "{seen}");
            Ok(Some(seen))
        })
        .await?;
        println!(
            "  drained after {:.1} s: {drained}",
            started.elapsed().as_secs_f64()
        );
        let (done, raw, pushed) = load.stop().await?;
        println!("  {done} images pushed meanwhile, {raw} errors seen and retried");
        cluster.stop(&[2]).await?;
        verify_all(&cluster, "drain", &pushed, &[1, 3, 4, 5]).await?;
        verify(&cluster, "before", &before, &[1, 3, 4, 5]).await
    })
    .await?;

    step("it is removed, and cannot come back", async {
        let removed = admin.json(&["node", "remove", "2", "--yes"]).await?;
        ensure!(removed["blobs_lost"] == 0, "{removed}");
        let nodes = admin.list(&["node", "list"], "nodes").await?;
        ensure!(nodes.iter().all(|node| node["id"] != 2), "{nodes:?}");
        wait_voters(&admin, US_GROUP, &[1, 3, 4]).await?;
        let refused = cluster.start(&[2]).await.err();
        let refused = format!("{:#}", refused.context("node 2 came back")?);
        ensure!(refused.contains("was removed"), "{refused}");
        Ok(())
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_restart_in_turn_under_load() -> Result<()> {
    let mut cluster = Cluster::builder().regions([US]).nodes(3).start().await?;
    let load = Load::start(&cluster, "rolling", &[1, 2, 3])?;
    let mut outages = Vec::new();
    for id in [1, 2, 3, 1, 2, 3] {
        load.wait_for(3).await?;
        let started = Instant::now();
        cluster.stop(&[id]).await?;
        cluster.start(&[id]).await?;
        outages.push(started.elapsed().as_secs_f64());
    }
    let (done, raw, pushed) = load.stop().await?;
    println!(
        "  6 restarts under load, {done} images pushed: {raw} errors that a client saw and \
         retried, none after that; nodes were away for {outages:.1?} s"
    );
    step("all that was acknowledged is there", async {
        verify_all(&cluster, "rolling", &pushed, &[1, 2, 3]).await
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_region_comes_with_its_first_node() -> Result<()> {
    let mut cluster = Cluster::builder()
        .regions([US])
        .nodes(1)
        .spare(EU)
        .start()
        .await?;
    let admin = cluster.admin(1)?;
    step("its first node makes it", async {
        cluster.start(&[2]).await?;
        wait_states(&admin, &[(1, "active"), (2, "active")]).await?;
        let regions = admin.list(&["region", "list"], "regions").await?;
        let names: Vec<&Value> = regions.iter().map(|region| &region["name"]).collect();
        ensure!(names == [EU, US], "{regions:?}");
        Ok(())
    })
    .await?;
    let image = Image::random(7, 2, LAYER_BYTES);
    step("it takes pushes of its own", async {
        let europe = cluster.registry(2)?;
        europe.push_image("app", "v1", &image).await?;
        europe.verify_image("app", "v1", &image).await
    })
    .await?;
    step("the last copies of a region are not removed", async {
        let refused = admin.try_run(&["node", "remove", "2", "--yes"]).await?;
        let said = refused.failure()?.stderr;
        ensure!(said.contains("node 2"), "{said}");
        let drain = admin.try_run(&["node", "drain", "2"]).await?.failure()?;
        ensure!(
            drain.stderr.contains("last active node"),
            "{}",
            drain.stderr
        );
        let used = admin.try_run(&["region", "remove", EU, "--yes"]).await?;
        let used = used.failure()?.stderr;
        ensure!(used.contains("has nodes"), "{used}");
        Ok(())
    })
    .await?;
    cluster.finish().await
}

fn images(seed: u64, count: u64) -> Vec<Image> {
    (0..count)
        .map(|nth| Image::random(seed + nth, 2, LAYER_BYTES))
        .collect()
}

/// Those that are not so small that the metadata keeps them.
fn layers(images: &[Image]) -> impl Iterator<Item = &Blob> + Clone {
    images.iter().flat_map(|image| image.blobs.iter().skip(1))
}

async fn push(cluster: &Cluster, repository: &str, images: &[Image]) -> Result<()> {
    let ids = cluster.ids();
    for ((nth, image), id) in images.iter().enumerate().zip(ids.iter().cycle()) {
        cluster
            .registry(*id)?
            .push_image(repository, &format!("n{nth}"), image)
            .await?;
    }
    Ok(())
}

async fn verify(cluster: &Cluster, repository: &str, images: &[Image], ids: &[u64]) -> Result<()> {
    for (nth, image) in images.iter().enumerate() {
        for id in ids {
            let node = cluster.registry(*id)?;
            let tag = format!("n{nth}");
            let found = node.verify_image(repository, &tag, image).await;
            found.with_context(|| format!("node {id}"))?;
        }
    }
    Ok(())
}

/// Each through one of `ids` in turn.
async fn verify_all(
    cluster: &Cluster,
    repository: &str,
    pushed: &[(String, Image)],
    ids: &[u64],
) -> Result<()> {
    ensure!(
        !pushed.is_empty(),
        "nothing was pushed: this proves nothing"
    );
    for ((tag, image), id) in pushed.iter().zip(ids.iter().cycle()) {
        let node = cluster.registry(*id)?;
        let found = node.verify_image(repository, tag, image);
        found.await.with_context(|| format!("node {id}, {tag}"))?;
    }
    Ok(())
}

async fn wait_states(admin: &Admin, expected: &[(u64, &str)]) -> Result<()> {
    wait_until("the nodes' states", SETTLED, async || {
        let nodes = admin.list(&["node", "list"], "nodes").await?;
        let holds = expected.iter().all(|(id, state)| {
            let mut found = nodes.iter();
            found.any(|node| node["id"] == *id && node["state"] == *state)
        });
        if holds {
            return Ok(Some(()));
        }
        bail!("{nodes:?}")
    })
    .await
}

/// Exactly so many voters, among `expected`.
async fn wait_voters(admin: &Admin, group: &str, expected: &[u64]) -> Result<()> {
    let expected: BTreeSet<u64> = expected.iter().copied().collect();
    wait_until("the voters", SETTLED, async || {
        let status = admin.json(&["cluster", "status"]).await?;
        let groups = status["groups"].as_array().context("no groups")?;
        let found = groups.iter().find(|found| found["group"] == group);
        let voters = found.and_then(|found| found["voters"].as_array());
        let voters = voters.context("no such group")?.iter();
        let voters: BTreeSet<u64> = voters.filter_map(Value::as_u64).collect();
        if voters == expected {
            return Ok(Some(()));
        }
        bail!("{group}: {voters:?}")
    })
    .await
}

/// Clients that push images, and try again what fails, as usual clients do.
struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<Vec<(String, Image)>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    /// Attempts that failed.
    errors: AtomicU64,
}

impl Load {
    /// One client at each of `ids`; it goes to the next one when it fails.
    fn start(cluster: &Cluster, repository: &str, ids: &[u64]) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for first in 0..ids.len() {
            let order = ids.iter().cycle().skip(first).take(ids.len());
            let nodes = order.map(|id| cluster.registry(*id));
            let nodes: Vec<Registry> = nodes.collect::<Result<_>>()?;
            let (shared, repository) = (Arc::clone(&shared), repository.to_owned());
            let seed = u64::try_from(first)? * 1_000_000 + 50_000;
            tasks.spawn(async move { client(&shared, &repository, &nodes, seed).await });
        }
        Ok(Self { shared, tasks })
    }

    /// Waits until `count` more images were pushed.
    async fn wait_for(&self, count: u64) -> Result<()> {
        let goal = self.shared.done.load(Ordering::SeqCst) + count;
        wait_until("clients push", SETTLED, async || {
            Ok((self.shared.done.load(Ordering::SeqCst) >= goal).then_some(()))
        })
        .await
    }

    /// How many images were pushed, how many attempts failed, and the images.
    async fn stop(mut self) -> Result<(u64, u64, Vec<(String, Image)>)> {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut pushed = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            pushed.extend(ended.context("a client panicked")??);
        }
        let done = self.shared.done.load(Ordering::SeqCst);
        Ok((done, self.shared.errors.load(Ordering::SeqCst), pushed))
    }
}

async fn client(
    shared: &Shared,
    repository: &str,
    nodes: &[Registry],
    seed: u64,
) -> Result<Vec<(String, Image)>> {
    let mut pushed = Vec::new();
    for number in seed.. {
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        let image = Image::random(number, 2, LAYER_BYTES);
        let tag = format!("t{number}");
        let mut last = None;
        for node in nodes.iter().cycle().take(TRIES_MAX) {
            match node.push_image(repository, &tag, &image).await {
                Ok(()) => {
                    last = None;
                    break;
                }
                Err(error) => {
                    shared.errors.fetch_add(1, Ordering::SeqCst);
                    last = Some(error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        if let Some(error) = last {
            return Err(error.context(format!("{tag} failed {TRIES_MAX} times")));
        }
        shared.done.fetch_add(1, Ordering::SeqCst);
        pushed.push((tag, image));
    }
    Ok(pushed)
}
