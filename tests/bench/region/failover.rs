//! The leader is killed, again and again: the time until both survivors have
//! acknowledged a write that was sent right after.

use anyhow::{Context as _, Result};
use entrepot_harness::{Blob, Cluster, media, without_leader};

use crate::load::Latencies;
use crate::{GROUP, Sizes};

const REPOSITORY: &str = "bench/failover";

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let mut cluster = Cluster::builder().nodes(3).start().await?;
    let config = Blob::new(media::EMPTY, "{}");
    cluster.registry(1)?.push_blob(REPOSITORY, &config).await?;
    let mut waits = Vec::new();
    for round in 0..sizes.kills {
        let wait = without_leader(&mut cluster, GROUP, REPOSITORY, &config, round).await;
        waits.push(wait.with_context(|| format!("round {round}"))?);
    }
    cluster.finish().await?;
    let waits = Latencies::new(waits);
    let s = |percent| waits.ms(percent) / 1e3;
    Ok(format!(
        "| leaders killed | p50, s | p90, s | p99, s | longest, s |\n\
         |---:|---:|---:|---:|---:|\n\
         | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
        waits.count(),
        s(50),
        s(90),
        s(99),
        s(100)
    ))
}
