//! Blobs that nothing refers to go, with their files, and come back when they are
//! pushed again.

use std::time::Duration;

use entrepot_metadata::command::MountBlob;
use entrepot_replication::collection::{RemovalMetrics, Removals};
use entrepot_service::{Collector, CollectorMetrics, CollectorSettings};

use crate::cluster::{Cluster, EAST, Node, Plan, app, clock, group, root};
use crate::content::{MIB, content, eventually};

/// Has everything go that nothing refers to.
async fn collect(cluster: &Cluster) {
    collect_after(cluster, Duration::ZERO).await;
}

/// Has everything go that nothing has referred to for so long.
async fn collect_after(cluster: &Cluster, unreferenced_after: Duration) {
    let settings = CollectorSettings {
        unreferenced_after,
        ..CollectorSettings::default()
    };
    // Links first, then blobs.
    for _ in 0..2 {
        for node in cluster.nodes() {
            let registry = std::sync::Arc::clone(&node.registry);
            let collector = Collector::new(registry, CollectorMetrics::default(), settings);
            collector.round().await.unwrap();
        }
    }
    for node in cluster.nodes() {
        removals(node).batch().await.unwrap();
    }
}

fn removals(node: &Node) -> Removals {
    let (blobs, metadata) = (&node.blobs, &node.metadata);
    Removals::new(
        std::sync::Arc::clone(blobs),
        std::sync::Arc::clone(metadata),
        RemovalMetrics::default(),
    )
}

#[tokio::test]
async fn an_unnamed_blob_goes_everywhere_and_may_come_back() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let (bytes, who, app) = (content(1, MIB), root(), app());
    for _ in 0..3 {
        let digest = cluster.node(1).push(&bytes).await;
        // One that comes later goes as an orphan.
        eventually("all copies are there", async || {
            cluster.holders(&digest).await.len() == 3
        })
        .await;
        let known = cluster.node(2).registry.stat_blob(&who, &app, &digest);
        known.await.unwrap();
        collect(&cluster).await;
        assert_eq!(cluster.holders(&digest).await, [0_u64; 0]);
        let known = cluster.node(2).registry.stat_blob(&who, &app, &digest);
        known.await.unwrap_err();
    }
}

/// A client that is told that a blob is there does not send it.
#[tokio::test]
async fn who_asks_before_a_push_finds_the_blob_when_its_manifest_comes() {
    const TWO_HOURS_MS: i64 = 2 * 60 * 60 * 1_000;
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let (who, app) = (root(), app());
    let node = cluster.node(1);
    let digest = node.push(&content(2, MIB)).await;
    let [asked, forgotten] = ["asked", "forgotten"].map(|name| name.parse().unwrap());
    // Collection begins.
    collect_after(&cluster, Duration::from_hours(1)).await;
    let east = group(EAST);
    let long_ago_ms = clock().now_ms() - TWO_HOURS_MS;
    for repository in [&asked, &forgotten] {
        let mount = MountBlob {
            create_repository: true,
            ..MountBlob::new(&who.account, &app, repository, &digest, long_ago_ms)
        };
        let mounted = node.metadata.propose(&east, mount.into()).await;
        mounted.unwrap().into_result().unwrap();
    }
    let found = cluster.node(2).registry.stat_blob(&who, &asked, &digest);
    assert_eq!(found.await.unwrap().size, MIB as u64);

    collect_after(&cluster, Duration::from_hours(1)).await;

    let found = node.registry.stat_blob(&who, &asked, &digest);
    found.await.unwrap();
    let found = node.registry.stat_blob(&who, &forgotten, &digest);
    found.await.unwrap_err();
}
