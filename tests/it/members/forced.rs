//! Removals by force: what they are for works, and what would end a group is
//! refused.

use anyhow::{Result, ensure};
use entrepot_harness::{Admin, Cluster, Image, wait_until};

use super::{SETTLED, wait_states, wait_voters};
use crate::support::{EU, US, step};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_that_is_removed_by_force_leaves_a_group_that_decides() -> Result<()> {
    let mut cluster = Cluster::builder()
        .regions([US, EU])
        .nodes(1)
        .start()
        .await?;
    let admin = cluster.admin(1)?;
    wait_states(&admin, &[(1, "active"), (2, "active")]).await?;
    step("one of two voters of the global group goes", async {
        let removed = admin.json(&["node", "remove", "2", "--force", "--yes"]);
        ensure!(removed.await?["removed"] == 2);
        wait_voters(&admin, "global/0", &[1]).await
    })
    .await?;
    step("the other one decides alone", async {
        admin.run(&["region", "remove", EU, "--yes"]).await?;
        let image = Image::random(1, 1, 10_000);
        cluster.registry(1)?.push_image("app", "v1", &image).await
    })
    .await?;
    step("the one that went has ended, and says why", async {
        wait_until("node 2 to end", SETTLED, async || {
            let ended = cluster.node_mut(2)?.expect_alive().is_err();
            Ok(ended.then_some(()))
        })
        .await?;
        let node = cluster.node(2)?;
        ensure!(
            node.log_contains("was removed from its cluster"),
            "{}",
            node.log_tail()
        );
        Ok(())
    })
    .await?;
    cluster.kill9(2)?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_is_gone_for_good_can_be_removed() -> Result<()> {
    let mut cluster = Cluster::builder()
        .regions([US, EU])
        .nodes(2)
        .spare(US)
        .start()
        .await?;
    let admin = cluster.admin(1)?;
    // With it, the voters of the first region are a majority.
    cluster.start(&[5]).await?;
    wait_voters(&admin, "global/0", &[1, 2, 3, 4, 5]).await?;
    for id in [3, 4] {
        cluster.kill9(id)?;
    }
    for id in [3, 4] {
        wait_silent(&admin, id).await?;
    }
    step("one more would cost the global group its majority", async {
        let refused = admin.try_run(&["node", "remove", "2", "--force", "--yes"]);
        let refused = refused.await?.failure()?.stderr;
        ensure!(refused.contains("without a majority"), "{refused}");
        ensure!(refused.trim().lines().count() == 1, "{refused}");
        wait_states(&admin, &[(2, "active")]).await
    })
    .await?;
    step("not by chance", async {
        let refused = admin.try_run(&["node", "remove", "4", "--yes"]).await?;
        let refused = refused.failure()?.stderr;
        ensure!(
            refused.contains("no node of region eu-west-1 answers"),
            "{refused}"
        );
        Ok(())
    })
    .await?;
    step("but by force", async {
        for id in ["3", "4"] {
            admin
                .run(&["node", "remove", id, "--force", "--yes"])
                .await?;
        }
        admin.run(&["region", "remove", EU, "--yes"]).await?;
        wait_voters(&admin, "global/0", &[1, 2, 5]).await
    })
    .await?;
    cluster.finish().await
}

async fn wait_silent(admin: &Admin, id: u64) -> Result<()> {
    wait_until("a node to be missed", SETTLED, async || {
        let nodes = admin.list(&["node", "list"], "nodes").await?;
        let silent = |node: &serde_json::Value| node["id"] == id && node["alive"] == false;
        Ok(nodes.iter().any(silent).then_some(()))
    })
    .await
}
