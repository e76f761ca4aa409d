//! Joins that are raced for, killed and tried again, and folders that are
//! somebody else's.

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, wait_until};

use super::{SETTLED, one_line, push_and_pull, wait_voters};
use crate::support::{US, US_GROUP, step};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_is_killed_is_finished_by_the_same_command() -> Result<()> {
    let mut cluster = Cluster::builder()
        .regions([US])
        .nodes(1)
        .spare(US)
        .spare(US)
        .start()
        .await?;
    step("it is killed when it has its key", async {
        let key = cluster.node(2)?.data().join("trust/node.key");
        killed_join(&cluster, 2, async || Ok(key.exists())).await
    })
    .await?;
    step("it is killed when the cluster has taken it", async {
        let admin = cluster.admin(1)?;
        killed_join(&cluster, 3, async || {
            let nodes = admin.list(&["node", "list"], "nodes").await?;
            Ok(nodes.iter().any(|node| node["id"] == 3))
        })
        .await
    })
    .await?;
    step("each is one node of the cluster", async {
        cluster.start(&[2, 3]).await?;
        wait_voters(&cluster, US_GROUP, &[1, 2, 3]).await?;
        let nodes = cluster.admin(1)?.list(&["node", "list"], "nodes").await?;
        ensure!(nodes.len() == 3, "{nodes:?}");
        push_and_pull(&cluster, "joined", &[2, 3, 1]).await
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_machines_with_one_token_one_gets_in() -> Result<()> {
    let cluster = Cluster::builder()
        .regions([US])
        .nodes(1)
        .spare(US)
        .spare(US)
        .start()
        .await?;
    let token = cluster.token(&["--region", US]).await?;
    let arguments = ["join", "--token", &token];
    let (second, third) = (cluster.node(2)?, cluster.node(3)?);
    let (one, other) = tokio::join!(second.command(&arguments), third.command(&arguments));
    let (won, lost) = match (one?, other?) {
        (won, lost) if won.code == Some(0) => (won, lost),
        (lost, won) => (won, lost),
    };
    won.success()?;
    one_line(&lost.failure()?.stderr, "used by node 2")?;
    let nodes = cluster.admin(1)?.list(&["node", "list"], "nodes").await?;
    ensure!(nodes.len() == 2, "{nodes:?}");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_another_cluster_is_refused() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(1).start().await?;
    let other = Cluster::builder()
        .regions([US])
        .nodes(1)
        .spare(US)
        .start()
        .await?;
    step("a join into a folder that is a node's", async {
        let token = other.token(&["--region", US]).await?;
        let spare = other.node(2)?;
        spare
            .command(&["join", "--token", &token])
            .await?
            .success()?;
        let again = spare.command(&["join", "--token", &token]).await?;
        one_line(&again.failure()?.stderr, "node 2 of cluster")
    })
    .await?;
    step("a folder `trust` among another cluster's data", async {
        cluster.stop(&[1]).await?;
        let (ours, theirs) = (cluster.node(1)?.data(), other.node(2)?.data());
        for file in std::fs::read_dir(theirs.join("trust"))? {
            let file = file?;
            std::fs::copy(file.path(), ours.join("trust").join(file.file_name()))?;
        }
        let refused = cluster.node(1)?.command(&["run"]).await?;
        let said = refused.failure()?.stderr;
        let said = said.lines().last().context("nothing was said")?;
        one_line(said, "belongs to a cluster whose")
    })
    .await?;
    other.finish().await?;
    cluster.finish().await
}

/// Starts a join of the spare `id`, kills it once `moment` has come, and
/// repeats the command.
async fn killed_join(
    cluster: &Cluster,
    id: u64,
    moment: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    let token = cluster.token(&["--region", US]).await?;
    let arguments = ["join", "--token", &token];
    let node = cluster.node(id)?;
    let moment = wait_until("the moment to kill", SETTLED, async || {
        Ok(moment().await?.then_some(()))
    });
    tokio::select! {
        // Dropped while it runs, the command gets SIGKILL.
        came = moment => came?,
        // It was faster.
        ended = node.command(&arguments) => drop(ended?.success()?),
    }
    let has_joined = node.data().join("trust/node.crt").exists();
    let again = node.command(&arguments).await?;
    if has_joined {
        one_line(&again.failure()?.stderr, "already")
    } else {
        again.success().map(drop)
    }
}
