//! Tags of a region are linearizable, whatever befalls its nodes and the
//! network between them.
//!
//! Clients push, move, delete and read a few tags through all three nodes while
//! these are killed, stopped, paused and cut off; then the recorded history of
//! every tag is checked. What befalls when is drawn from a seed, which is
//! printed. The same seed means the same blows, not the same interleaving.

mod clients;
mod faults;
mod record;
mod schedule;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, ClusterBuilder, Registry, binary};

use self::clients::{Clients, REPOSITORY};
use self::faults::Faults;
use self::record::{Checked, Record};
use crate::soak;

const NODES: usize = 3;
const CLIENTS: usize = 16;
const ROUND_MS: u64 = 40_000;
/// Rounds without a seed and without a soak.
const ROUNDS: usize = 1;
/// The clients go on for this long after everything is whole again.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// Fewer prove nothing.
const OPERATIONS_MIN: usize = 1_000;
/// Stale reads are found with the first blow, or without any.
const BROKEN_MS: u64 = 8_000;
const SEED: &str = "ENTREPOT_CHAOS_SEED";

fn region(seed: u64) -> ClusterBuilder {
    Cluster::builder().nodes(NODES).links(seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_linearizable_whatever_happens() -> Result<()> {
    let given = soak::number(SEED)?;
    let first = given.unwrap_or_else(soak::new_seed);
    let until = soak::deadline()?;
    let mut cluster = region(first).start().await?;
    let (started, mut all, mut rounds) = (Instant::now(), Checked::default(), 0);
    for seed in first.. {
        println!(
            "- round {}, seed {seed}; again by: {SEED}={seed} ./tests/run chaos::tags",
            rounds + 1
        );
        let round = round(&mut cluster, seed, ROUND_MS).await;
        all.add(round.with_context(|| format!("{SEED}={seed}"))?);
        rounds += 1;
        let enough = match until {
            Some(until) => Instant::now() >= until,
            None => rounds >= ROUNDS,
        };
        if enough || given.is_some() {
            break;
        }
    }
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    println!("  {rounds} rounds in {minutes:.1} min, no violation: {all}");
    ensure!(
        all.operations >= OPERATIONS_MIN,
        "too few operations to prove anything: {all}"
    );
    cluster.finish().await
}

/// The test of the test: a node that reads its own copy without asking whether
/// it is up to date has to be found out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_reads_without_asking_is_caught() -> Result<()> {
    let program = binary("ENTREPOT_NODE_BROKEN_READS", "entrepot-node-broken-reads")?;
    let seed = soak::number(SEED)?.unwrap_or_else(soak::new_seed);
    println!("- the broken build, seed {seed}");
    let mut cluster = region(seed).program(program).start().await?;
    let found = round(&mut cluster, seed, BROKEN_MS).await;
    let error = match found {
        Ok(checked) => anyhow::bail!("stale reads were not found: {checked}"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(error.contains("is not linearizable"), "{error}");
    println!("  found: {error}");
    cluster.finish().await
}

/// Has the clients work while the blows fall, and checks what they saw.
async fn round(cluster: &mut Cluster, seed: u64, length_ms: u64) -> Result<Checked> {
    let blows = schedule::draw(seed, length_ms);
    let record = Arc::new(Record::new(seed));
    let nodes = nodes(cluster)?;
    let (_, first) = nodes.first().context("a node")?;
    first.push_blob(REPOSITORY, &clients::config()).await?;
    let connections: Result<Vec<_>> = (0..CLIENTS).map(|_| self::nodes(cluster)).collect();
    let folder = cluster.scratch("histories")?;
    let clients = Clients::start(Arc::clone(&record), seed, connections?);
    let mut faults = Faults::new(cluster);
    let befell = faults.carry_out(&blows).await;
    let healed = faults.heal().await;
    tokio::time::sleep(AFTERWARDS).await;
    clients.stop().await?;
    let context = || {
        let blows: Vec<String> = blows.iter().map(ToString::to_string).collect();
        format!("after these blows:\n  {}", blows.join("\n  "))
    };
    befell.and(healed).with_context(context)?;
    clients::read_all(&record, &nodes).await?;
    let checking = Arc::clone(&record);
    let checked = tokio::task::spawn_blocking(move || checking.check(&folder)).await?;
    let checked = checked.with_context(context)?;
    println!(
        "  {} blows; {checked}; answers: {}",
        blows.len(),
        record.answers()
    );
    Ok(checked)
}

fn nodes(cluster: &Cluster) -> Result<Vec<(u64, Registry)>> {
    let ids = cluster.ids().into_iter();
    ids.map(|id| Ok((id, cluster.registry(id)?))).collect()
}
