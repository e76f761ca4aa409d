//! The real clients of Amazon ECR, IAM and STS against a cluster, by one changed
//! URL: boto3, and the `aws` programs of `PyPI` and of Debian.
//!
//! The walks are written in Python (`tests/aws`); each has two accounts of its own.

use anyhow::{Result, ensure};
use entrepot_harness::{AwsAccount, AwsCall, Cluster, aws_walk};

use crate::support::{EU, US};

/// A walk that has to pass, in regions of two nodes each.
async fn walk(name: &str, regions: &[&str]) -> Result<Vec<AwsCall>> {
    let cluster = Cluster::builder()
        .regions(regions.iter().copied())
        .nodes(2)
        .start()
        .await?;
    let accounts = [
        AwsAccount::create(&cluster, "111122223333").await?,
        AwsAccount::create(&cluster, "444455556666").await?,
    ];
    let calls = aws_walk(&cluster, name, &accounts).await?;
    ensure!(!calls.is_empty(), "the walk {name} called nothing");
    cluster.finish().await?;
    Ok(calls)
}

#[tokio::test]
async fn images_and_layers() -> Result<()> {
    walk("images", &[US]).await.map(drop)
}

#[tokio::test]
async fn regions() -> Result<()> {
    walk("regions", &[US, EU]).await.map(drop)
}

#[tokio::test]
async fn repositories() -> Result<()> {
    walk("repositories", &[US]).await.map(drop)
}

#[tokio::test]
async fn registry() -> Result<()> {
    walk("registry", &[US, EU]).await.map(drop)
}
