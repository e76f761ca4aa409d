//! Copies that go bad where nobody looks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_blobs::Note;
use entrepot_oci::Digest;
use entrepot_replication::scrub::{Scrub, ScrubSettings};

use crate::cluster::{Cluster, EAST, Node, Plan, clock, root};
use crate::content::{KIB, MIB, content, eventually};

const SETTINGS: ScrubSettings = ScrubSettings {
    every: Duration::from_hours(24),
    bytes_per_s: 1 << 30,
};

fn scrub(node: &Node, kept: Option<Note>) -> Scrub {
    Scrub::new(
        Arc::clone(&node.blobs),
        Arc::clone(&node.metadata),
        clock(),
        SETTINGS,
        kept,
    )
}

async fn pushed(cluster: &Cluster) -> Vec<(Digest, Bytes)> {
    let mut pushed = Vec::new();
    for (seed, size) in [(1, 7 * KIB), (2, 300 * KIB), (3, 3 * MIB), (4, 9 * MIB)] {
        let content = content(seed, size);
        pushed.push((cluster.node(1).push(&content).await, content));
    }
    for (digest, _) in &pushed {
        eventually("all copies are there", async || {
            cluster.holders(digest).await.len() == cluster.nodes().count()
        })
        .await;
    }
    pushed
}

#[tokio::test]
async fn a_scrub_replaces_what_is_damaged_and_nothing_else() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await.with_account().await;
    let pushed = pushed(&cluster).await;
    let node = cluster.node(2);
    for (digest, content) in &pushed[1..3] {
        assert!(node.memory.damage(digest, content.len() - 1));
    }
    scrub(node, None).pass().await;
    let states = cluster.node(1).registry.upkeep(&root()).await.unwrap();
    let state = states[1].upkeep.clone().unwrap().scrub.unwrap();
    assert!(!state.running);
    assert_eq!(state.last_damaged, 2);
    assert!(state.last_ended_at_ms > 0);
    let metrics = node.blobs.metrics();
    assert_eq!(metrics.scrub_damaged.get(), 2);
    assert_eq!(metrics.repaired.get(), 2);
    assert_eq!(metrics.scrubbed_blobs.get(), 2);
    for (digest, content) in &pushed {
        assert!(node.pull(digest).await.unwrap() == *content);
    }
    // All of them are right now.
    scrub(node, None).pass().await;
    assert_eq!(metrics.scrub_damaged.get(), 2);
    assert_eq!(metrics.scrubbed_blobs.get(), 6);
}

#[tokio::test]
async fn a_damaged_copy_that_nobody_can_replace_is_not_served() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let content = content(5, MIB);
    let node = cluster.node(1);
    let digest = node.push(&content).await;
    assert!(node.memory.damage(&digest, 5));
    scrub(node, None).pass().await;
    assert!(node.pull(&digest).await.is_err());
    node.push(&content).await;
    assert!(node.pull(&digest).await.unwrap() == content);
}

#[tokio::test]
async fn a_scrub_goes_on_where_the_process_before_has_stopped() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let node = cluster.node(1);
    let mut digests = Vec::new();
    for seed in 0..10 {
        digests.push(node.push(&content(seed, 7 * KIB)).await);
    }
    digests.sort();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scrub");
    let text = format!(
        "entrepot-scrub 1\nstarted_at_ms 5\nafter {}\nblobs 7\nbytes 70\ndamaged 1\nrepaired 0\n",
        digests[6]
    );
    std::fs::write(&path, text).unwrap();
    let scrub = scrub(node, Some(Note::new(&path)));
    scrub.recall().await;
    scrub.pass().await;
    assert_eq!(node.blobs.metrics().scrubbed_blobs.get(), 3);
    let noted = std::fs::read_to_string(&path).unwrap();
    assert!(noted.contains("last_started_at_ms 5\n"), "{noted}");
    assert!(noted.contains("last_damaged 1\n"), "{noted}");
    // What cannot be read is no progress.
    std::fs::write(&path, "nonsense").unwrap();
    scrub.recall().await;
    scrub.pass().await;
    assert_eq!(node.blobs.metrics().scrubbed_blobs.get(), 13);
}

#[tokio::test]
async fn a_scrub_is_begun_by_whoever_asks_any_node() {
    let mut cluster = Plan::new(&[(EAST, 3)]).start().await.with_account().await;
    let pushed = pushed(&cluster).await;
    for node in [1, 2, 3] {
        let scrub = scrub(cluster.node(node), None);
        cluster.spawn(scrub.run());
    }
    let (digest, _) = &pushed[3];
    assert!(cluster.node(3).memory.damage(digest, 0));
    let registry = &cluster.node(1).registry;
    let started = registry.start_scrub(&root(), None).await.unwrap();
    let started = started
        .iter()
        .map(|node| node.upkeep.as_ref().unwrap().scrub_started);
    assert_eq!(started.collect::<Vec<_>>(), [true, true, true]);
    eventually("the damage is found and mended", async || {
        cluster.node(3).blobs.metrics().repaired.get() == 1
    })
    .await;
    assert!(registry.start_scrub(&root(), Some(9)).await.is_err());
}
