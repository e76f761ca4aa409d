//! A thousand images go to another region while the line between the two breaks
//! and nodes on both sides are killed; then all is quiet, and both regions hold
//! exactly what the rules say, digest for digest and tag for tag.
//!
//! Clients push images that share layers, indexes and what refers to images, move
//! tags and delete, through all nodes of the source. What they push, and what
//! befalls when, is drawn from a seed, which is printed. The same seed means the
//! same pushes and the same order of troubles, not the same interleaving.

mod books;
mod clients;
mod compared;
mod plan;
mod troubles;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use entrepot_harness::{Cluster, Wan};

use self::books::Books;
use self::clients::Clients;
use self::plan::Plan;
use self::troubles::Troubles;
use crate::soak;
use crate::support::{EU, US, step};

const IMAGES: usize = 1_000;
/// Of these, those that go before the first trouble: to see what the line carries
/// when nothing happens to it.
const CALM: usize = 120;
const NODES: usize = 3;
const COPIES: usize = 2;
const ROUND_TRIP: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_mins(2);
/// What the nodes say to each other whether anything is copied or not is measured
/// for so long.
const IDLE: Duration = Duration::from_secs(3);
const SEED: &str = "ENTREPOT_CHAOS_SEED";

/// What the line may carry for a hundred bytes of different blobs and manifests: TLS,
/// HTTP/2, what the calls say besides (names and digests: of images as small as these
/// that is much), and layers that two clients uploaded at the same time. Measured:
/// 109 to 115.
const PERCENT_MAX: u64 = 125;
/// And for each trouble: what was under way when a connection or a node went is sent
/// anew. Of a small blob that is all of it, and each client may have one under way.
/// Measured: a quarter of it.
const AGAIN_BYTES_MAX: u64 = (plan::CLIENTS * plan::LAYER_BYTES.1) as u64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_hold_what_the_rules_say_after_cuts_and_kills() -> Result<()> {
    let seed = soak::number(SEED)?.unwrap_or_else(soak::new_seed);
    println!("- seed {seed}; again by: {SEED}={seed} ./tests/run convergence::");
    let case = case(seed).await;
    case.with_context(|| format!("{SEED}={seed}"))
}

async fn case(seed: u64) -> Result<()> {
    let builder = Cluster::builder()
        .regions([US, EU])
        .nodes(NODES)
        .copies(COPIES);
    let mut cluster = builder.links(seed).start().await?;
    for rule in plan::RULES {
        cluster.admin(1)?.run(rule).await?;
    }
    let wan = Wan::between(&cluster, (US, EU), ROUND_TRIP, None)?;
    let line = Counted::new(wan).await;
    let mut plan = Plan::new(seed);
    let ids = cluster.ids_in(US).into_iter();
    let registries: Result<Vec<_>> = ids.map(|id| cluster.registry(id)).collect();
    let mut clients = Clients::new(&registries?);
    step("some go without troubles", async {
        clients.start(plan.draw(CALM));
        clients.ended().await?;
        let books = clients.books();
        arrived(&cluster, &books).await?;
        line.carried_once(&books, 0)
    })
    .await?;
    let mut troubles = Troubles::new(seed);
    step("the rest goes with troubles", async {
        clients.start(plan.draw(IMAGES - CALM));
        while !clients.are_done() {
            troubles.next(&mut cluster).await?;
        }
        println!("  {troubles}");
        clients.ended().await
    })
    .await?;
    let books = clients.books();
    ensure!(books.pushed() == IMAGES, "{} images", books.pushed());
    step("every task ends COMPLETE", arrived(&cluster, &books)).await?;
    step("the line carried it about once", async {
        line.carried_once(&books, troubles.count())
    })
    .await?;
    step(
        "both regions hold what they shall",
        compared::all(&cluster, &books),
    )
    .await?;
    cluster.finish().await
}

/// Waits until all that a rule takes has been copied.
async fn arrived(cluster: &Cluster, books: &Books) -> Result<()> {
    let admin = cluster.admin(1)?;
    let started = Instant::now();
    let tasks = admin.wait_replicated(None, books.tasks_min(), QUIET);
    let count = tasks.await?.len();
    println!(
        "  {count} tasks, after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A line, and what it carries for other reasons than copies.
struct Counted {
    wan: Wan,
    since: Instant,
    before: u64,
    /// In [`IDLE`], while nothing is copied.
    idle_bytes: u64,
}

impl Counted {
    async fn new(wan: Wan) -> Self {
        let at_first = wan.there_bytes();
        tokio::time::sleep(IDLE).await;
        let before = wan.there_bytes();
        Self {
            wan,
            since: Instant::now(),
            before,
            idle_bytes: before - at_first,
        }
    }

    fn carried_once(&self, books: &Books, troubles: u64) -> Result<()> {
        let carried = self.wan.there_bytes() - self.before;
        let idle = self.idle_bytes * millis(self.since.elapsed()) / millis(IDLE);
        let copies = carried.saturating_sub(idle);
        let unique = books.unique_bytes();
        println!(
            "  {carried} bytes went into the line, {idle} of them for other things: \
             {} % of {unique} different bytes",
            copies * 100 / unique.max(1)
        );
        let most = unique * PERCENT_MAX / 100 + troubles * AGAIN_BYTES_MAX;
        ensure!(
            copies <= most,
            "{copies} bytes went into the line for {unique}, after {troubles} troubles"
        );
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
