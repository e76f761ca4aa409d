//! What several tests share: the names of the regions, the usual cluster, and
//! a step that names itself when it fails.

use std::time::Duration;

use anyhow::{Context, Result};
use entrepot_harness::Cluster;

pub(crate) const US: &str = "us-east-1";
pub(crate) const EU: &str = "eu-west-1";
/// The Raft group of the first region.
pub(crate) const US_GROUP: &str = "region/us-east-1/0";
/// Replication that has nothing to wait for takes a second or two; a region
/// that has just come back may first elect leaders and wait out a backoff.
pub(crate) const REPLICATED: Duration = Duration::from_mins(1);

/// Two regions of three nodes: 1 to 3 in `US`, 4 to 6 in `EU`.
pub(crate) async fn two_regions() -> Result<Cluster> {
    Cluster::builder()
        .regions([US, EU])
        .nodes(3)
        .start()
        .await
        .context("start two regions")
}

/// Runs one step of a test and says which one it was when it fails.
pub(crate) async fn step(what: &str, step: impl Future<Output = Result<()>>) -> Result<()> {
    println!("- {what}");
    step.await.with_context(|| format!("step: {what}"))
}
