//! How long a region cannot write after its leader was killed.
//!
//! Clients of the survivors send a write right after the kill and wait for its
//! answer: what they see is the time without a leader, and the request's own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, Registry, media, wait_until};
use futures::future::try_join_all;
use serde_json::json;

use crate::soak;
use crate::support::US_GROUP;

const REPOSITORY: &str = "failover/app";
const SETTLED: Duration = Duration::from_secs(30);
/// No single one may take longer, on two slow cores that others use too.
const LONGEST: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_replaced_within_seconds() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(3).start().await?;
    let config = Blob::new(media::EMPTY, "{}");
    cluster.registry(1)?.push_blob(REPOSITORY, &config).await?;
    let rounds = soak::rounds(5, 100)?;
    let mut waits = Vec::new();
    for round in 0..rounds {
        let wait = once(&mut cluster, &config, round).await;
        waits.push(wait.with_context(|| format!("round {round}"))?);
    }
    waits.sort();
    let nth = |percent: usize| waits[(waits.len() * percent).div_ceil(100).max(1) - 1];
    println!(
        "  {rounds} leaders killed; until the next write was acknowledged: \
         p50 {:.2} s, p90 {:.2} s, p99 {:.2} s, longest {:.2} s",
        nth(50).as_secs_f64(),
        nth(90).as_secs_f64(),
        nth(99).as_secs_f64(),
        nth(100).as_secs_f64()
    );
    ensure!(
        nth(100) <= LONGEST,
        "a region was without a leader for too long"
    );
    cluster.finish().await
}

/// Kills the leader; the time until each survivor acknowledged a write.
async fn once(cluster: &mut Cluster, config: &Blob, round: usize) -> Result<Duration> {
    let leader = settled(cluster).await?;
    let mut survivors = Vec::new();
    for id in cluster.ids().into_iter().filter(|id| *id != leader) {
        let survivor = cluster.registry(id)?;
        // The connection is there, and the password known.
        survivor.get("/v2/").send().await?.expect(200)?;
        survivors.push((id, survivor));
    }
    cluster.kill9(leader)?;
    let killed = Instant::now();
    let writes = survivors.iter().map(|(id, survivor)| async move {
        write(survivor, config, &format!("round {round}, node {id}")).await?;
        anyhow::Ok(killed.elapsed())
    });
    let waits = try_join_all(writes).await?;
    cluster.start(&[leader]).await?;
    waits.into_iter().max().context("a survivor")
}

async fn write(node: &Registry, config: &Blob, value: &str) -> Result<()> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "artifactType": "application/vnd.entrepot.test",
        "config": config.descriptor(),
        "layers": [config.descriptor()],
        "annotations": {"value": value},
    });
    let manifest = Blob::new(media::MANIFEST, manifest.to_string());
    node.put_manifest(REPOSITORY, "latest", &manifest).await?;
    Ok(())
}

/// Waits until all three name the same leader and have applied as much.
async fn settled(cluster: &Cluster) -> Result<u64> {
    wait_until("a settled region", SETTLED, async || {
        let mut found = Vec::new();
        for id in cluster.ids() {
            let admin = cluster.admin(id)?;
            let leader = admin.leader(US_GROUP).await?;
            found.push((leader, admin.applied(US_GROUP).await?));
        }
        ensure!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
        Ok(found[0].0)
    })
    .await
}
