//! Copies beyond the placement, and nodes that are lost.

use std::time::Duration;

use entrepot_oci::Digest;
use entrepot_replication::{CopyLimits, placement};

use crate::cluster::{Cluster, EAST, Plan};
use crate::content::{KIB, content, eventually};
use crate::network::Link;

const COPIES: usize = 2;

fn limits(cache_bytes: u64) -> CopyLimits {
    CopyLimits {
        copies: COPIES,
        cache_bytes,
        repair_after: Duration::from_secs(1),
        ..CopyLimits::default()
    }
}

fn placed(digest: &Digest, nodes: u64) -> Vec<u64> {
    let mut placed = placement::ranked(digest.to_string().as_bytes(), 1..=nodes);
    placed.truncate(COPIES);
    placed.sort_unstable();
    placed
}

/// A blob with a copy on each node.
async fn everywhere(cluster: &Cluster, seed: u64) -> Digest {
    let content = content(seed, 300 * KIB);
    let digest = cluster.node(1).push(&content).await;
    for node in cluster.nodes() {
        assert!(node.pull(&digest).await.unwrap() == content);
    }
    eventually("each node has a copy", async || {
        cluster.holders(&digest).await.len() == cluster.nodes().count()
    })
    .await;
    digest
}

async fn pass(cluster: &Cluster) {
    for node in cluster.nodes() {
        node.repair().pass().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_needed_goes_once_the_others_have_proved_theirs() {
    let cluster = Plan::new(&[(EAST, 4)]).limits(limits(0)).start().await;
    let mut digests = Vec::new();
    for seed in 0..6 {
        digests.push(everywhere(&cluster, seed).await);
    }
    // The first look sums up, the next ones find that the sums agree.
    pass(&cluster).await;
    pass(&cluster).await;
    for digest in &digests {
        assert_eq!(cluster.holders(digest).await, placed(digest, 4));
    }
    // Again: nothing more.
    pass(&cluster).await;
    for digest in &digests {
        assert_eq!(cluster.holders(digest).await, placed(digest, 4));
    }
}

#[tokio::test]
async fn nothing_goes_while_a_copy_that_should_be_there_is_missing_or_wrong() {
    let cluster = Plan::new(&[(EAST, 4)]).limits(limits(0)).start().await;
    let digest = everywhere(&cluster, 1).await;
    let placed = placed(&digest, 4);
    let others: Vec<u64> = (1..=4).filter(|node| !placed.contains(node)).collect();
    pass_of(&cluster, &placed).await;

    // Damaged where it should be: found when it is asked for, and kept here.
    assert!(cluster.node(placed[0]).memory.damage(&digest, 9));
    pass_of(&cluster, &others).await;
    let holders = cluster.holders(&digest).await;
    assert!(others.iter().all(|node| holders.contains(node)));
    assert!(!holders.contains(&placed[0]), "it was moved aside");

    // Out of reach.
    cluster.network.set(placed[1], Link::Cut);
    pass_of(&cluster, &others).await;
    let holders = cluster.holders(&digest).await;
    assert!(others.iter().all(|node| holders.contains(node)));

    // Restored: now it may go.
    cluster.network.set(placed[1], Link::Up);
    pass_of(&cluster, &placed).await;
    eventually("the others' copies are gone", async || {
        pass_of(&cluster, &others).await;
        cluster.holders(&digest).await == placed
    })
    .await;
}

async fn pass_of(cluster: &Cluster, nodes: &[u64]) {
    for node in nodes {
        // One that is cut off from half of the region may not get through.
        let _ = cluster.node(*node).repair().pass().await;
    }
}

#[tokio::test]
async fn copies_for_readers_are_kept_within_a_budget() {
    let room = 700 * KIB as u64;
    let cluster = Plan::new(&[(EAST, 4)]).limits(limits(room)).start().await;
    let mut digests = Vec::new();
    for seed in 0..8 {
        digests.push(everywhere(&cluster, seed).await);
    }
    pass(&cluster).await;
    pass(&cluster).await;
    for node in cluster.nodes() {
        let mut surplus = 0;
        for digest in &digests {
            let holds = node.holds(digest).await;
            if placed(digest, 4).contains(&node.id) {
                assert!(holds, "a copy that belongs here is never evicted");
            } else if holds {
                surplus += 300 * KIB as u64;
            }
        }
        assert!(surplus <= room, "node {} keeps {surplus}", node.id);
        assert_eq!(
            node.blobs.metrics().cached_bytes.get(),
            i64::try_from(surplus).unwrap()
        );
    }
}

#[tokio::test]
async fn the_copies_of_a_lost_node_are_restored_elsewhere() {
    let mut cluster = Plan::new(&[(EAST, 5)]).limits(limits(0)).start().await;
    let mut digests = Vec::new();
    for seed in 0..8 {
        digests.push(cluster.node(1).push(&content(seed, 300 * KIB)).await);
    }
    pass(&cluster).await;
    cluster.start_health();
    cluster.start_repair();
    let lost = 5;
    cluster.network.set(lost, Link::Cut);
    eventually("every blob has its copies without node 5", async || {
        for digest in &digests {
            let mut holders = cluster.holders(digest).await;
            holders.retain(|node| *node != lost);
            if holders.len() < COPIES {
                return false;
            }
        }
        true
    })
    .await;
}
