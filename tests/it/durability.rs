//! What was acknowledged is there after any end: SIGKILL, and power cut under
//! the disk in the middle of its writes.
//!
//! Writers push blobs of many sizes, manifests and tags, and note every 201. At
//! a random moment everything ends at once. After a restart, as after a reboot
//! where power was cut, all that was noted has to be there and verify. Power is
//! cut under ext4 on loop devices, which needs root.

mod ledger;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, Random, Registry, wait_until};

use self::ledger::Ledger;
use self::writer::Writers;
use crate::soak;

/// The image files take what is written, no more.
const DISK_BYTES: u64 = 8 << 30;
const WRITERS: usize = 6;
/// When the end comes, after the first acknowledgement.
const END_MS: (u64, u64) = (100, 2_500);
const FIRST_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    PowerCut,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_that_is_killed_loses_nothing() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    rounds(cluster, End::Kill, soak::rounds(3, 30)?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_without_power_loses_nothing() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).disks(DISK_BYTES);
    let cluster = cluster.start().await?;
    rounds(cluster, End::PowerCut, soak::rounds(3, 30)?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_killed_loses_nothing() -> Result<()> {
    let cluster = Cluster::builder().nodes(3).start().await?;
    rounds(cluster, End::Kill, soak::rounds(2, 10)?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_without_power_loses_nothing() -> Result<()> {
    let cluster = Cluster::builder().nodes(3).disks(DISK_BYTES);
    let cluster = cluster.start().await?;
    rounds(cluster, End::PowerCut, soak::rounds(2, 10)?).await
}

async fn rounds(mut cluster: Cluster, end: End, count: usize) -> Result<()> {
    let seed = soak::new_seed();
    let mut random = Random::new(seed);
    let mut all = Ledger::default();
    for round in 1..=count {
        let what = format!("{end:?}, round {round} of {count}, seed {seed}");
        let ledger = once(&mut cluster, end, round, &mut random).await;
        let ledger = ledger.with_context(|| what.clone())?;
        println!("- {what}: {ledger}");
        all.merge(ledger);
    }
    let verified = all.verify(&nodes(&cluster)?).await;
    verified.context("everything of all rounds, once more")?;
    println!("  {count} rounds, nothing lost: {all}");
    cluster.finish().await
}

/// One end, and all that was acknowledged before it.
async fn once(
    cluster: &mut Cluster,
    end: End,
    round: usize,
    random: &mut Random,
) -> Result<Ledger> {
    let ids = cluster.ids();
    let writers = nodes(cluster)?.into_iter().cycle().take(WRITERS);
    let writers = Writers::start(random.next_u64(), round, writers.collect());
    let progress = Arc::clone(&writers.ledger);
    wait_until("a first acknowledgement", FIRST_WITHIN, async || {
        let ledger = progress.lock().await;
        Ok((!ledger.is_empty()).then_some(()))
    })
    .await?;
    let (least, most) = END_MS;
    let span = usize::try_from(most - least)?;
    let wait = Duration::from_millis(least + random.below(span) as u64);
    tokio::time::sleep(wait).await;
    match end {
        End::Kill => {
            ids.iter().try_for_each(|id| cluster.kill9(*id))?;
            let ledger = writers.stop().await?;
            cluster.start(&ids).await?;
            check(cluster, ledger).await
        }
        End::PowerCut => {
            cluster.cut_power(&ids).await?;
            let ledger = writers.stop().await?;
            cluster.start_rebuilt(&ids).await?;
            check(cluster, ledger).await
        }
    }
}

async fn check(cluster: &Cluster, ledger: Ledger) -> Result<Ledger> {
    ensure!(!ledger.is_empty(), "nothing was acknowledged");
    ledger.verify(&nodes(cluster)?).await?;
    Ok(ledger)
}

fn nodes(cluster: &Cluster) -> Result<Vec<Registry>> {
    let ids = cluster.ids().into_iter();
    ids.map(|id| cluster.registry(id)).collect()
}
