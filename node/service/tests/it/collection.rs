//! Blobs that nothing refers to go, with their files, and come back when they are
//! pushed again.

use std::time::Duration;

use entrepot_replication::collection::{RemovalMetrics, Removals};
use entrepot_service::{Collector, CollectorMetrics, CollectorSettings};

use crate::cluster::{Cluster, EAST, Node, Plan, app, root};
use crate::content::{MIB, content, eventually};

/// Has everything that is due go.
async fn collect(cluster: &Cluster) {
    let settings = CollectorSettings {
        unreferenced_after: Duration::ZERO,
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
