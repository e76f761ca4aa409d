//! A node whose whole disk is lost: it is not taken back as itself, and a new
//! one takes its place. It is listed in its configuration: one that joined by a
//! token has lost its certificate too, and with it everything it could claim.

use std::fs;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, Image, wait_until};
use serde_json::Value;

use super::{SETTLED, images, push, verify, wait_states, wait_voters};
use crate::support::{US, US_GROUP, step};

/// Starts of the node with an empty folder: each could be taken back by mistake.
const STARTS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_comes_back_under_a_new_number() -> Result<()> {
    let mut cluster = Cluster::builder()
        .regions([US])
        .nodes(3)
        .spare(US)
        .listed()
        .start()
        .await?;
    let admin = cluster.admin(1)?;
    let before = images(1, 6);
    push(&cluster, "before", &before).await?;
    wait_folders(&cluster).await?;

    step("with an empty folder it is not itself any more", async {
        cluster.kill9(3)?;
        for _ in 0..STARTS {
            fs::remove_dir_all(cluster.node(3)?.data()).context("lose a disk")?;
            let refused = cluster.start(&[3]).await.err();
            let refused = format!("{:#}", refused.context("node 3 was taken back")?);
            ensure!(
                refused.contains("the cluster has a node 3 with another data folder"),
                "{refused}"
            );
            for id in [1, 2] {
                cluster.node_mut(id)?.expect_alive()?;
            }
            let image = Image::random(900, 1, 10_000);
            cluster
                .registry(2)?
                .push_image("after", "a", &image)
                .await?;
        }
        Ok(())
    })
    .await?;

    step("a new one joins and takes its place", async {
        cluster.start(&[4]).await?;
        wait_states(&admin, &[(4, "active")]).await?;
        let replaced = admin.json(&["node", "replace", "3", "--with", "4", "--yes"]);
        let replaced = replaced.await?;
        ensure!(replaced["removed"] == 3, "{replaced}");
        ensure!(replaced["blobs_lost"] == 0, "{replaced}");
        wait_voters(&admin, US_GROUP, &[1, 2, 4]).await?;
        wait_voters(&admin, "global/0", &[1, 2, 4]).await
    })
    .await?;
    step("it serves all, and gets its copies", async {
        verify(&cluster, "before", &before, &[4]).await?;
        wait_until("the copies of the new node", SETTLED, async || {
            let held = super::layers(&before);
            for layer in held {
                let file = cluster.node(4)?.blob_file(&layer.digest)?;
                ensure!(file.exists(), "{} is not there", layer.digest);
            }
            Ok(Some(()))
        })
        .await
    })
    .await?;
    cluster.finish().await
}

/// Until every node has told the cluster which folder it has.
async fn wait_folders(cluster: &Cluster) -> Result<()> {
    let admin = cluster.admin(1)?;
    wait_until("all nodes' reports", SETTLED, async || {
        let nodes = admin.list(&["node", "list"], "nodes").await?;
        let told = |node: &Value| node["capacity_bytes"].as_u64().is_some_and(|it| it > 0);
        ensure!(nodes.len() == 3 && nodes.iter().all(told), "{nodes:?}");
        Ok(Some(()))
    })
    .await
}
