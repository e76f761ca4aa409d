//! Attacks by those who have something: a user's key, another account, an address
//! that was given out, a session. What they do is written in Python, with boto3 and
//! without (`tests/aws/walk_attacks.py`).

use anyhow::Result;
use entrepot_harness::{AwsAccount, Cluster, aws_walk};

use crate::support::{EU, US};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_something_gets_no_more_of_it() -> Result<()> {
    let cluster = Cluster::builder()
        .regions([US, EU])
        .nodes(2)
        .start()
        .await?;
    let accounts = [
        AwsAccount::create(&cluster, "111122223333").await?,
        AwsAccount::create(&cluster, "444455556666").await?,
    ];
    aws_walk(&cluster, "attacks", &accounts).await?;
    cluster.finish().await
}
