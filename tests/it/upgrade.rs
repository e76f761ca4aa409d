//! A region is rolled from one program to the next, node by node, under load.
//!
//! `ENTREPOT_NODE_PREVIOUS` names the program of the earlier release. Without
//! it, both are this build: that shows what a rolling restart costs, and not yet
//! that two releases understand each other.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, Image, Registry, binary, wait_until};
use tokio::task::JoinSet;

use crate::support::{US_GROUP, step};

const PUSHERS: usize = 3;
const PULLERS: usize = 3;
const LAYERS: usize = 2;
const LAYER_BYTES: usize = 20_000;
/// How often a client tries again, with another node each time.
const TRIES: usize = 4;
/// What has to be done between two nodes.
const PUSHES_BETWEEN: u64 = 10;
/// What a client is told where nobody listens.
const NODE_DOWN: &str = "Connection refused";
const PROGRESS: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
struct Load {
    stop: AtomicBool,
    pushes: AtomicU64,
    pulls: AtomicU64,
    /// Attempts that failed, and what they said.
    errors: Mutex<Vec<String>>,
    /// Operations of which every attempt failed.
    failures: Mutex<Vec<String>>,
    slowest: Mutex<Duration>,
    images: Mutex<Vec<Pushed>>,
}

/// An image, and where it is.
#[derive(Debug, Clone)]
struct Pushed {
    repository: String,
    tag: String,
    image: Image,
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Push,
    Pull,
}

impl Pushed {
    async fn work(&self, work: Work, node: &Registry) -> Result<()> {
        let (repository, tag) = (&self.repository, &self.tag);
        match work {
            Work::Push => node.push_image(repository, tag, &self.image).await,
            Work::Pull => node.verify_image(repository, tag, &self.image).await,
        }
    }
}

fn locked<T, R>(mutex: &Mutex<T>, look: impl FnOnce(&mut T) -> R) -> R {
    look(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Load {
    /// Tries with one node after the other, as a client or a balancer does.
    async fn retried(&self, nodes: &[Registry], first: usize, work: Work, what: &Pushed) -> bool {
        let started = Instant::now();
        let mut last = String::new();
        for node in nodes.iter().cycle().skip(first).take(TRIES) {
            match what.work(work, node).await {
                Ok(()) => {
                    let took = started.elapsed();
                    locked(&self.slowest, |slowest| *slowest = took.max(*slowest));
                    return true;
                }
                Err(error) => {
                    last = format!("{error:#}");
                    locked(&self.errors, |errors| errors.push(last.clone()));
                }
            }
        }
        locked(&self.failures, |failures| failures.push(last));
        false
    }

    async fn push(&self, nodes: &[Registry], pusher: usize) {
        let repository = format!("rolling/{pusher}");
        for number in 0_usize.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let seed = (pusher as u64 + 1) * 1_000_000 + number as u64;
            let new = Pushed {
                repository: repository.clone(),
                tag: format!("n{number}"),
                image: Image::random(seed, LAYERS, LAYER_BYTES),
            };
            let done = self.retried(nodes, pusher + number, Work::Push, &new);
            if done.await {
                locked(&self.images, |images| images.push(new));
                self.pushes.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    async fn pull(&self, nodes: &[Registry], puller: usize) {
        for number in 0_usize.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let known = locked(&self.images, |images| {
                let at = (number * 7 + puller).checked_rem(images.len());
                at.map(|at| images[at].clone())
            });
            let Some(known) = known else {
                tokio::task::yield_now().await;
                continue;
            };
            let done = self.retried(nodes, puller + number, Work::Pull, &known);
            if done.await {
                self.pulls.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    async fn progress(&self) -> Result<()> {
        let target = self.pushes.load(Ordering::SeqCst) + PUSHES_BETWEEN;
        wait_until("more pushes", PROGRESS, async || {
            let pushes = self.pushes.load(Ordering::SeqCst);
            ensure!(pushes >= target, "{pushes} of {target}");
            Ok(Some(()))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_is_upgraded_node_by_node_under_load() -> Result<()> {
    let previous = std::env::var_os("ENTREPOT_NODE_PREVIOUS").map(PathBuf::from);
    let next = binary("ENTREPOT_NODE", "entrepot-node")?;
    let kind = if previous.is_some() {
        "from the earlier release"
    } else {
        "to the same program: ENTREPOT_NODE_PREVIOUS is not set"
    };
    println!("rolled {kind}");
    let builder = Cluster::builder();
    let builder = match previous {
        // It knows no certificates.
        Some(previous) => builder.program(previous).listed(),
        None => builder,
    };
    let mut cluster = builder.start().await?;
    let nodes = cluster.ids().into_iter().map(|id| cluster.registry(id));
    let nodes: Arc<[Registry]> = nodes.collect::<Result<Vec<_>>>()?.into();
    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for pusher in 0..PUSHERS {
        let (load, nodes) = (Arc::clone(&load), Arc::clone(&nodes));
        clients.spawn(async move { load.push(&nodes, pusher).await });
    }
    for puller in 0..PULLERS {
        let (load, nodes) = (Arc::clone(&load), Arc::clone(&nodes));
        clients.spawn(async move { load.pull(&nodes, puller).await });
    }
    load.progress().await?;
    for id in cluster.ids() {
        step(&format!("node {id}"), async {
            cluster.stop(&[id]).await?;
            cluster.upgrade(id, next.clone())?;
            load.progress().await.context("while it is down")?;
            cluster.start(&[id]).await?;
            caught_up(&cluster, id).await?;
            load.progress().await.context("with it")
        })
        .await?;
    }
    load.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.context("a client panicked")?;
    }
    report(&load)?;
    for pushed in locked(&load.images, std::mem::take) {
        for node in nodes.iter() {
            pushed.work(Work::Pull, node).await?;
        }
    }
    cluster.finish().await
}

fn report(load: &Load) -> Result<()> {
    let (pushes, pulls) = (&load.pushes, &load.pulls);
    let errors = locked(&load.errors, std::mem::take);
    let failures = locked(&load.failures, std::mem::take);
    ensure!(
        failures.is_empty(),
        "{} operations failed on every node, such as: {}",
        failures.len(),
        failures[0]
    );
    let (down, others): (Vec<_>, Vec<_>) = errors
        .into_iter()
        .partition(|error| error.contains(NODE_DOWN));
    println!(
        "  {} pushes and {} pulls, the slowest of which took {:?};\n  \
         {} attempts met a node that was down, {} others failed, none failed on every node",
        pushes.load(Ordering::SeqCst),
        pulls.load(Ordering::SeqCst),
        locked(&load.slowest, |slowest| *slowest),
        down.len(),
        others.len(),
    );
    for error in others.iter().take(5) {
        println!("  such as: {error}");
    }
    Ok(())
}

/// Waits until node `id` has applied what another one has.
async fn caught_up(cluster: &Cluster, id: u64) -> Result<()> {
    let mut others = cluster.ids().into_iter().filter(|other| *other != id);
    let other = others.next().context("another node")?;
    let target = cluster.admin(other)?.applied(US_GROUP).await?;
    let admin = cluster.admin(id)?;
    wait_until(&format!("node {id} to catch up"), PROGRESS, async || {
        let applied = admin.applied(US_GROUP).await?;
        ensure!(applied >= target, "applied {applied} of {target}");
        Ok(Some(()))
    })
    .await
}
