//! The same with files on a disk.

use std::path::{Path, PathBuf};

use entrepot_oci::Digest;
use tempfile::TempDir;

use crate::cluster::{Cluster, EAST, Plan, app, files, root};
use crate::content::{MIB, body, content, eventually, sha256, torn};

/// Three nodes on disks; `directory` has one folder for each.
async fn on_disks(directory: &Path) -> Cluster {
    let mut plan = Plan::new(&[(EAST, 3)]);
    for node in 1..=3 {
        plan = plan.store(node, files(&directory.join(node.to_string())).await);
    }
    plan.start().await
}

fn file(directory: &Path, node: u64, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    directory
        .join(node.to_string())
        .join("sha256")
        .join(&hex[..2])
        .join(hex)
}

#[tokio::test]
async fn pushes_and_pulls_go_to_files_and_come_from_them() {
    let directory = TempDir::new().unwrap();
    let cluster = on_disks(directory.path()).await;
    let content = content(1, 7 * MIB + 3);
    let digest = cluster.node(1).push(&content).await;
    eventually("all copies are there", async || {
        cluster.holders(&digest).await == [1, 2, 3]
    })
    .await;
    for node in cluster.nodes() {
        assert!(node.pull(&digest).await.unwrap() == content);
        assert!(std::fs::read(file(directory.path(), node.id, &digest)).unwrap() == content);
    }
    let registry = &cluster.node(2).registry;
    let other = sha256(b"other");
    for body in [body(&content), torn(&content)] {
        let refused = registry.push_blob(&root(), &app(), other, None, body).await;
        assert!(refused.is_err());
    }
    eventually("nothing is staged", async || {
        (1..=3).all(|node| {
            let staging = directory.path().join(node.to_string()).join("staging");
            std::fs::read_dir(staging).unwrap().next().is_none()
        })
    })
    .await;
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_replaced() {
    let directory = TempDir::new().unwrap();
    let cluster = on_disks(directory.path()).await;
    let content = content(2, 3 * MIB);
    let digest = cluster.node(1).push(&content).await;
    let path = file(directory.path(), 1, &digest);
    let cut = || std::fs::write(&path, &content[..MIB]).unwrap();
    cut();
    assert!(cluster.node(1).pull(&digest).await.unwrap() == content);
    assert!(std::fs::read(&path).unwrap() == content);
    cut();
    assert_eq!(cluster.node(1).repair().pass().await.unwrap(), 1);
    assert!(std::fs::read(&path).unwrap() == content);
}
