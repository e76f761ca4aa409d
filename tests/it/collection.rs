//! Nothing that is needed is ever collected, and nothing else stays: images are
//! pushed, mounted, deleted, pushed again, expired and copied from another region
//! while the collector is at work with windows of seconds and nodes are killed and
//! paused.
//!
//! All draw their layers from one small pool, so that what is just being collected
//! is often just being pushed. Readers pull what was acknowledged the whole time. In
//! the end the disks of all nodes are held against what the clients were told: each
//! blob of each image is on so many nodes, byte for byte, and there is no other.
//!
//! What is done, and what befalls when, is drawn from a seed, which is printed. The
//! same seed means the same pushes and the same troubles, not the same interleaving.

mod audit;
mod books;
mod clients;
mod pool;
mod pushes;
mod readers;
mod troubles;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use entrepot_harness::{Cluster, Registry};

use self::books::Books;
use self::clients::Clients;
use self::pool::Pool;
use self::readers::Readers;
use self::troubles::Troubles;
use crate::soak;
use crate::support::{EU, REPLICATED, US, step};

const NODES: usize = 3;
const COPIES: usize = 2;
/// How long the troubles last, unless [`MINUTES`] or a soak says otherwise.
const TROUBLES: Duration = Duration::from_secs(100);
/// A blob that no image names goes after so long.
const UNREFERENCED_AFTER_S: u64 = 4;
/// What was deleted can be restored for so long.
const UNDELETE_WINDOW: &str = "2s";
/// A file that nobody knows.
const ORPHAN_AFTER_S: u64 = 6;
/// An upload that nobody goes on with.
const UPLOAD_EXPIRY_S: u64 = 20;
/// A node that is away for longer is taken for lost.
const LOST_AFTER_S: u64 = 5;
/// Files that have to be collected for this to prove anything, a minute.
const FILES_A_MINUTE_MIN: u64 = 30;
/// Likewise, images that are pushed.
const IMAGES_A_MINUTE_MIN: u64 = 30;
const SEED: &str = "ENTREPOT_SEED";
const MINUTES: &str = "ENTREPOT_MINUTES";

/// What a node says of each file that it deletes.
const FILE_GONE: &str = "the file of a collected blob was deleted";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_needed_goes_and_nothing_else_stays() -> Result<()> {
    let seed = soak::number(SEED)?.unwrap_or_else(soak::new_seed);
    println!("- seed {seed}; again by: {SEED}={seed} ./tests/run collection::");
    let length = match soak::number(MINUTES)? {
        Some(minutes) => Duration::from_secs(60 * minutes),
        None => soak::deadline()?.map_or(TROUBLES, |until| until - Instant::now()),
    };
    let case = case(seed, length).await;
    case.with_context(|| format!("{SEED}={seed}"))
}

async fn case(seed: u64, length: Duration) -> Result<()> {
    let mut cluster = cluster().await?;
    let (pool, books) = (Arc::new(Pool::new(seed)), Arc::new(Books::default()));
    let here = registries(&cluster, US)?;
    let mut clients = Clients::new(seed, &pool, &books, &cluster)?;
    step("policies and a rule are set", async {
        clients.begin(&cluster.admin(1)?).await?;
        let abroad = cluster.ids_in(EU)[0];
        for node in [1, abroad] {
            let window = ["registry", "set", "--undelete-window", UNDELETE_WINDOW];
            cluster.admin(node)?.run(&window).await?;
        }
        let rule = ["rule", "put", "all", "--to", US, "--prefix", "copied/"];
        let rule = [&rule[..], &["--deletions"]].concat();
        cluster.admin(abroad)?.run(&rule).await?;
        Ok(())
    })
    .await?;
    let mut troubles = Troubles::new(seed);
    step("all at once, with troubles", async {
        let readers = Readers::start(seed, &books, &here);
        let until = Instant::now() + length;
        clients.start();
        while Instant::now() < until && clients.are_running() && readers.are_running() {
            troubles.next(&mut cluster).await?;
        }
        let ended = clients.stop().await;
        println!("  {troubles}");
        println!("  pulls: {}", readers.stop().await?);
        ended?;
        println!("  {}", clients.summary());
        Ok(())
    })
    .await?;
    let files = cluster.ids().into_iter().try_fold(0, |sum, id| {
        anyhow::Ok(sum + cluster.node(id)?.log_count(FILE_GONE)?)
    })?;
    println!("  {files} files were collected meanwhile");
    let seconds = length.as_secs();
    ensure!(
        files * 60 >= FILES_A_MINUTE_MIN * seconds
            && clients.pushed() * 60 >= IMAGES_A_MINUTE_MIN * seconds,
        "too little happened to prove anything"
    );
    step("what was pushed abroad arrives", async {
        let abroad = cluster.admin(cluster.ids_in(EU)[0])?;
        abroad.wait_replicated(None, 1, REPLICATED).await?;
        Ok(())
    })
    .await?;
    step("what the policies keep is all that is left", async {
        for repository in clients.expired() {
            let run = ["lifecycle", "run", &repository, "--yes"];
            cluster.admin(1)?.run(&run).await?;
        }
        Ok(())
    })
    .await?;
    step("the disks hold what they shall, and nothing else", async {
        audit::region(&cluster, US, COPIES, &books).await?;
        audit::region(&cluster, EU, 1, &books).await
    })
    .await?;
    step(
        "each node serves each image, to the byte",
        audit::pulls(&here, &books),
    )
    .await?;
    cluster.finish().await
}

/// A region of three nodes that does everything, and one of a single node whose
/// images come to it.
async fn cluster() -> Result<Cluster> {
    let builder = Cluster::builder()
        .regions([US])
        .nodes(NODES)
        .spare(EU)
        .copies(COPIES)
        .upload_expiry_s(UPLOAD_EXPIRY_S)
        .storage("unreferenced_after_s", UNREFERENCED_AFTER_S)
        .storage("orphan_after_s", ORPHAN_AFTER_S)
        .storage("repair_after_s", LOST_AFTER_S)
        .storage("cache_mib", 1);
    let mut cluster = builder.start().await?;
    let abroad = cluster.ids_in(EU);
    cluster.start(&abroad).await?;
    Ok(cluster)
}

fn registries(cluster: &Cluster, region: &str) -> Result<Vec<Registry>> {
    let ids = cluster.ids_in(region).into_iter();
    ids.map(|id| cluster.registry(id)).collect()
}
