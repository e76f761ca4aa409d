//! Copies that are missing or damaged come back.

use entrepot_oci::Digest;

use crate::cluster::{Cluster, EAST, Plan};
use crate::content::{MIB, content, eventually};
use crate::network::Link;

async fn everywhere(cluster: &Cluster, digest: &Digest) {
    eventually("all copies are there", async || {
        cluster.holders(digest).await.len() == cluster.nodes().count()
    })
    .await;
}

#[tokio::test]
async fn a_node_fetches_what_it_has_missed() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    cluster.network.set(3, Link::Cut);
    let mut pushed = Vec::new();
    for seed in 0..5 {
        pushed.push(cluster.node(1).push(&content(seed, MIB)).await);
    }
    cluster.network.set(3, Link::Up);
    let repair = cluster.node(3).repair();
    assert_eq!(repair.pass().await.unwrap(), 5);
    for digest in &pushed {
        assert!(cluster.node(3).holds(digest).await);
    }
    assert_eq!(repair.pass().await.unwrap(), 0);
}

#[tokio::test]
async fn a_node_fetches_what_is_its_own_and_nothing_else() {
    let cluster = Plan::new(&[(EAST, 5)]).copies(2).start().await;
    let mut pushed = Vec::new();
    for seed in 0..8 {
        let digest = cluster.node(1).push(&content(seed, 7000)).await;
        // Far from where they belong.
        let keeper = cluster.node(1).sources(&digest)[0];
        for node in cluster.nodes().filter(|node| node.id != keeper) {
            node.store.delete(&digest).await.unwrap();
        }
        pushed.push(digest);
    }
    for node in cluster.nodes() {
        node.repair().pass().await.unwrap();
    }
    for digest in &pushed {
        let all = cluster.nodes().map(|node| node.id);
        let ranked = entrepot_replication::placement::ranked(digest.to_string().as_bytes(), all);
        let mut expected = vec![cluster.node(1).sources(digest)[0]];
        expected.extend(&ranked[..2]);
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(cluster.holders(digest).await, expected);
    }
}

#[tokio::test]
async fn a_wrong_copy_is_never_fetched() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let content = content(1, 2 * MIB);
    let digest = cluster.node(1).push(&content).await;
    everywhere(&cluster, &digest).await;
    cluster.node(3).store.delete(&digest).await.unwrap();
    let sources = cluster.node(3).sources(&digest);
    for node in &sources {
        assert!(cluster.node(*node).memory.damage(&digest, 100));
    }
    let repair = cluster.node(3).repair();
    assert_eq!(repair.pass().await.unwrap(), 0);
    assert!(!cluster.node(3).holds(&digest).await);
    assert_eq!(cluster.node(3).memory.staged(), 0);
    // One right copy is enough, even when it is not asked first.
    assert!(cluster.node(sources[1]).memory.damage(&digest, 100));
    assert_eq!(repair.pass().await.unwrap(), 1);
    assert!(cluster.node(3).pull(&digest).await.unwrap() == content);
}

#[tokio::test]
async fn what_cannot_be_fetched_does_not_keep_the_rest_from_it() {
    let cluster = Plan::new(&[(EAST, 2)]).copies(1).start().await;
    let mut belongs = Vec::new();
    for seed in 0..20 {
        let digest = cluster.node(1).push(&content(seed, 7000)).await;
        let ranked = entrepot_replication::placement::ranked(digest.to_string().as_bytes(), 1..=2);
        if ranked[0] == 2 {
            belongs.push(digest);
        }
    }
    belongs.sort();
    cluster.node(1).store.delete(&belongs[0]).await.unwrap();
    let fetched = cluster.node(2).repair().pass().await.unwrap();
    assert_eq!(fetched, belongs.len() as u64 - 1);
}

#[tokio::test]
async fn a_node_that_comes_back_is_repaired_by_itself() {
    let mut cluster = Plan::new(&[(EAST, 3)]).start().await;
    cluster.start_health();
    cluster.start_repair();
    cluster.network.set(3, Link::Cut);
    let digest = cluster.node(1).push(&content(1, MIB)).await;
    // Not before the node was missed, or a pass could have been under way.
    eventually("node 3 is alone", async || {
        [1, 2]
            .iter()
            .all(|node| !cluster.node(3).health.is_alive(*node))
    })
    .await;
    cluster.network.set(3, Link::Up);
    everywhere(&cluster, &digest).await;
}
