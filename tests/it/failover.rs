//! How long a region cannot write after its leader was killed.
//!
//! Clients of the survivors send a write right after the kill and wait for its
//! answer: what they see is the time without a leader, and the request's own. The
//! figure of the documentation is the benchmark's: `cargo bench -p entrepot-tests
//! --bench region -- failover`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, media, without_leader};

use crate::soak;
use crate::support::US_GROUP;

const REPOSITORY: &str = "failover/app";
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
        let wait = without_leader(&mut cluster, US_GROUP, REPOSITORY, &config, round).await;
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
