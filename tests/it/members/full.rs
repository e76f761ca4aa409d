//! A node whose disk is full: it says so, and gets nothing more; and what blobs
//! leave free on every disk, for the metadata.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use entrepot_harness::{Blob, Cluster, Random, wait_until};

use super::{SETTLED, images, verify, wait_states};
use crate::support::{US, step};

/// Of each node's disk.
const DISK_BYTES: u64 = 128 * 1024 * 1024;
/// What is left when it is full: less than 2 %, and enough for the metadata.
const LEFT_BYTES: u64 = 2 * 1024 * 1024;
/// Of a blob that fills a disk.
const PUSHED_BYTES: usize = 8 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_takes_no_new_copies() -> Result<()> {
    let mut cluster = Cluster::builder()
        .regions([US])
        .nodes(3)
        .disks(DISK_BYTES)
        .start()
        .await?;
    let admin = cluster.admin(1)?;
    wait_states(&admin, &[(1, "active"), (2, "active"), (3, "active")]).await?;
    let filler = cluster.node(3)?.data().join("filler");
    fill(&filler)?;
    step("it says so", async {
        // Each node hears it by itself.
        for asked in [1, 2] {
            let admin = cluster.admin(asked)?;
            wait_until("node 3 to be full", SETTLED, async || {
                let nodes = admin.list(&["node", "list"], "nodes").await?;
                let full = |id: u64| nodes.iter().any(|it| it["id"] == id && it["full"] == true);
                ensure!(full(3) && !full(1) && !full(2), "{nodes:?}");
                Ok(Some(()))
            })
            .await?;
        }
        let shown = admin.run(&["node", "list"]).await?;
        ensure!(shown.contains("active, full"), "{shown}");
        Ok(())
    })
    .await?;
    let new = images(1, 4);
    step("new blobs go to the others, and it serves them", async {
        for (nth, image) in new.iter().enumerate() {
            // Through the full one too.
            let node = cluster.registry(1 + nth as u64 % 3)?;
            node.push_image("new", &format!("n{nth}"), image).await?;
        }
        verify(&cluster, "new", &new, &[1, 2, 3]).await?;
        ensure!(copies(&cluster, &new)? == 0, "it has copies");
        Ok(())
    })
    .await?;
    step("repair does not fill it either", async {
        restart_before(&mut cluster, 3).await?;
        wait_until("a look by node 3", SETTLED, async || {
            let status = admin.json(&["repair", "status"]).await?;
            let nodes = status["nodes"].as_array().context("no nodes")?;
            let node = nodes.iter().find(|node| node["node"] == 3);
            let node = node.context("node 3 is not listed")?;
            ensure!(node["missing_blobs"].as_u64() > Some(0), "{node}");
            Ok(Some(()))
        })
        .await?;
        ensure!(copies(&cluster, &new)? == 0, "it took copies");
        Ok(())
    })
    .await?;
    step("with room again it gets what it lacks", async {
        std::fs::remove_file(&filler)?;
        restart_before(&mut cluster, 3).await?;
        wait_until("the copies", SETTLED, async || {
            let held = copies(&cluster, &new)?;
            let all: usize = super::layers(&new).count();
            ensure!(held == all, "{held} of {all}");
            Ok(Some(()))
        })
        .await
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_filled_by_pushes_keeps_room_for_the_metadata() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(1)
        .disks(DISK_BYTES)
        .start()
        .await?;
    let node = cluster.registry(1)?;
    let kept = &images(1, 1)[0];
    node.push_image("kept", "v1", kept).await?;
    step("pushes are refused before the disk is full", async {
        for seed in 0..=DISK_BYTES / PUSHED_BYTES as u64 {
            let content = Random::new(seed).bytes(PUSHED_BYTES);
            let blob = Blob::new("application/octet-stream", content);
            let upload = node.open_upload("filling").await?;
            let reply = node.put(&upload.end(&blob.digest)).body(blob.content);
            let reply = reply.send().await?;
            if reply.status == 507 {
                reply.expect_error(507, "DENIED")?;
                return Ok(());
            }
            reply.expect(201)?;
        }
        bail!("the disk took more than it has")
    })
    .await?;
    step("nothing of it is left, and a reserve is free", async {
        let staged = cluster.node(1)?.staging_files()?;
        ensure!(staged.is_empty(), "{staged:?}");
        let free = free_bytes(cluster.node(1)?.data())?;
        ensure!(free > DISK_BYTES / 40, "{free} bytes are free");
        Ok(())
    })
    .await?;
    step("reads go on, and so does what is metadata alone", async {
        node.verify_image("kept", "v1", kept).await?;
        for nth in 0..50 {
            node.put_manifest("kept", &format!("t{nth}"), &kept.manifest)
                .await?;
        }
        node.verify_image("kept", "t49", kept).await
    })
    .await?;
    cluster.finish().await
}

/// Restarts node 2, and not before `witness` has seen that it was away: a peer
/// that comes back begins a look at all copies at once.
async fn restart_before(cluster: &mut Cluster, witness: u64) -> Result<()> {
    cluster.stop(&[2]).await?;
    let admin = cluster.admin(witness)?;
    wait_until("node 2 to be missed", SETTLED, async || {
        let nodes = admin.list(&["node", "list"], "nodes").await?;
        let missed = nodes.iter().any(|it| it["id"] == 2 && it["alive"] == false);
        ensure!(missed, "{nodes:?}");
        Ok(Some(()))
    })
    .await?;
    cluster.start(&[2]).await
}

/// How many of the layers node 3 has.
fn copies(cluster: &Cluster, images: &[entrepot_harness::Image]) -> Result<usize> {
    let mut held = 0;
    for layer in super::layers(images) {
        let file = cluster.node(3)?.blob_file(&layer.digest)?;
        held += usize::from(file.exists());
    }
    Ok(held)
}

fn fill(filler: &Path) -> Result<()> {
    let folder = filler.parent().context("it is in no folder")?;
    let free = free_bytes(folder)?;
    let size = free.saturating_sub(LEFT_BYTES).to_string();
    let made = Command::new("fallocate")
        .args(["-l", &size])
        .arg(filler)
        .status()
        .context("run fallocate")?;
    ensure!(made.success(), "fallocate: {made}");
    Ok(())
}

/// What is left on the disk of `folder`.
fn free_bytes(folder: &Path) -> Result<u64> {
    let df = Command::new("df")
        .args(["-B1", "--output=avail"])
        .arg(folder)
        .output()
        .context("run df")?;
    let text = String::from_utf8_lossy(&df.stdout).into_owned();
    Ok(text.lines().last().context("df")?.trim().parse()?)
}
