//! The real clients of Amazon ECR, IAM and STS against a cluster, by one changed
//! URL: boto3, and the `aws` programs of `PyPI` and of Debian.
//!
//! The walks are written in Python (`tests/aws`); each has two accounts of its own.
//! What came of each operation is the table of `docs/ecr-compatibility.md`.

mod table;

use anyhow::{Context, Result};
use entrepot_harness::{AwsAccount, Cluster, aws_walk};

use self::table::Table;
use crate::support::{EU, US, step};

/// All of them; a walk is `tests/aws/walk_NAME.py`.
const WALKS: [&str; 6] = [
    "images",
    "repositories",
    "registry",
    "regions",
    "access",
    "cli",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_of_aws_work_unchanged() -> Result<()> {
    let cluster = Cluster::builder()
        .regions([US, EU])
        .nodes(2)
        .start()
        .await?;
    let mut table = Table::default();
    for (nth, walk) in WALKS.into_iter().enumerate() {
        step(walk, async {
            let accounts = [
                AwsAccount::create(&cluster, &format!("{:012}", 111_122_220_000 + nth)).await?,
                AwsAccount::create(&cluster, &format!("{:012}", 444_455_550_000 + nth)).await?,
            ];
            let calls = aws_walk(&cluster, walk, &accounts).await?;
            table.add(calls);
            Ok(())
        })
        .await?;
    }
    cluster.finish().await?;
    table.check().context("the table of operations")
}
