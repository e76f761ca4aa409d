//! Changes of the members whose leader dies, and the drain of whoever leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use entrepot_harness::{Admin, Cluster, Image, Registry, wait_until};
use tokio::task::JoinSet;

use super::{SETTLED, images, push, verify, wait_voters};
use crate::support::{US, US_GROUP, step};

const GLOBAL: &str = "global/0";
/// Restarts until one node leads both groups.
const LEADS_TRIES_MAX: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_finishes_a_growth_and_a_drain() -> Result<()> {
    let mut cluster = Cluster::builder()
        .regions([US])
        .nodes(3)
        .spare(US)
        .spare(US)
        .start()
        .await?;
    let before = images(1, 4);
    push(&cluster, "before", &before).await?;

    step("the leader dies while three grow to five", async {
        cluster.start(&[4]).await?;
        cluster.start(&[5]).await?;
        // Both learn now, and are about to vote.
        let killed = kill_leader(&mut cluster, GLOBAL).await?;
        cluster.start(&[killed]).await?;
        let admin = cluster.admin(4)?;
        wait_voters(&admin, GLOBAL, &[1, 2, 3, 4, 5]).await?;
        wait_voters(&admin, US_GROUP, &[1, 2, 3, 4, 5]).await
    })
    .await?;

    let drained = one_leads_both(&mut cluster).await?;
    let others: Vec<u64> = (1..=5).filter(|id| *id != drained).collect();
    let reads = Reads::start(&cluster, &before, &[1, 2, 3, 4, 5])?;
    step(
        "who leads both groups drains, and the next leader dies",
        async {
            let admin = cluster.admin(drained)?;
            let id = drained.to_string();
            admin.run(&["node", "drain", &id, "--no-wait"]).await?;
            let next = wait_until("the next leader", SETTLED, async || {
                let leader = admin.leader(GLOBAL).await?;
                Ok(leader.filter(|leader| *leader != drained))
            })
            .await?;
            reads.killed.store(next, Ordering::SeqCst);
            cluster.kill9(next)?;
            cluster.start(&[next]).await?;
            wait_drained(&admin, drained).await?;
            for group in [GLOBAL, US_GROUP] {
                let leader = admin.leader(group).await?.context("nobody leads")?;
                ensure!(leader != drained, "it still leads {group}");
            }
            Ok(())
        },
    )
    .await?;
    step("no read has failed, and nothing is missing", async {
        let count = reads.stop().await?;
        println!("  {count} reads meanwhile");
        ensure!(count > 0, "nothing was read: this proves nothing");
        cluster.stop(&[drained]).await?;
        verify(&cluster, "before", &before, &others).await
    })
    .await?;
    cluster.finish().await
}

/// Until it is safe to stop.
async fn wait_drained(admin: &Admin, node: u64) -> Result<()> {
    let node = node.to_string();
    wait_until("the drain", SETTLED, async || {
        let seen = admin.json(&["node", "drain", &node, "--no-wait"]).await?;
        ensure!(seen["safe_to_stop"] == true, "{seen}");
        Ok(Some(()))
    })
    .await
}

async fn kill_leader(cluster: &mut Cluster, group: &str) -> Result<u64> {
    let leader = cluster.admin(5)?.leader(group).await?;
    let leader = leader.context("nobody leads")?;
    cluster.kill9(leader)?;
    Ok(leader)
}

/// Restarts who leads one of the groups until one node leads both.
async fn one_leads_both(cluster: &mut Cluster) -> Result<u64> {
    for _ in 0..LEADS_TRIES_MAX {
        let admin = cluster.admin(5)?;
        let leader = |group| {
            let admin = &admin;
            wait_until("a leader", SETTLED, async move || admin.leader(group).await)
        };
        let (global, region) = (leader(GLOBAL).await?, leader(US_GROUP).await?);
        if global == region {
            return Ok(global);
        }
        let other = if region == 5 { global } else { region };
        cluster.stop(&[other]).await?;
        cluster.start(&[other]).await?;
    }
    bail!("no node came to lead both groups")
}

/// Clients that read every blob again and again, and try nothing twice.
struct Reads {
    /// The node that was killed: who reads there ends. 0: none.
    killed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

// === impl Reads ===

impl Reads {
    fn start(cluster: &Cluster, images: &[Image], ids: &[u64]) -> Result<Self> {
        let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let killed = Arc::<AtomicU64>::default();
        let mut tasks = JoinSet::new();
        for id in ids {
            let node: Registry = cluster.registry(*id)?;
            let images = images.to_vec();
            let (id, stop, count) = (*id, Arc::clone(&stop), Arc::clone(&count));
            let killed = Arc::clone(&killed);
            tasks.spawn(async move {
                let layers = super::layers(&images);
                for layer in layers.cycle() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let read = node.verify_blob("before", layer).await;
                    if killed.load(Ordering::SeqCst) == id {
                        break;
                    }
                    read.with_context(|| format!("node {id}"))?;
                    count.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            });
        }
        Ok(Self {
            killed,
            stop,
            count,
            tasks,
        })
    }

    async fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a reader panicked")??;
        }
        Ok(self.count.load(Ordering::SeqCst))
    }
}
