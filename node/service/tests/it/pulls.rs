//! Whoever pulls an image is noted, for the whole region, and nobody who does not
//! count.

use entrepot_oci::Digest;
use entrepot_service::PullTimes;

use crate::cluster::{Cluster, EAST, Node, Plan, app, root};
use crate::content::content;

async fn pulled(node: &Node, digest: &Digest) -> Option<i64> {
    let listed = node.registry.list_images(&root(), &app(), None, None).await;
    let listed = listed.unwrap();
    let image = listed.images.iter().find(|it| it.digest == *digest);
    image.unwrap().pulled_at_ms
}

async fn record(node: &Node) {
    let times = PullTimes::new(node.registry.clone());
    times.record().await.unwrap();
}

async fn with_image() -> (Cluster, Digest) {
    let cluster = Plan::new(&[(EAST, 2)]).start().await;
    let digest = cluster.node(1).push_image("v1", &[content(1, 100)]).await;
    (cluster, digest)
}

#[tokio::test]
async fn a_pull_at_one_node_is_seen_at_the_other() {
    let (cluster, digest) = with_image().await;
    let (node, other) = (cluster.node(1), cluster.node(2));
    record(node).await;
    assert_eq!(pulled(other, &digest).await, None);
    node.registry.pulled(&root(), &app(), &digest);
    record(node).await;
    let first = pulled(other, &digest).await;
    assert!(first.is_some());
    // Once an hour is enough, of whichever node. (An hour may begin meanwhile.)
    other.registry.pulled(&root(), &app(), &digest);
    record(other).await;
    let hour = |at: Option<i64>| at.unwrap().div_euclid(3_600_000);
    let second = pulled(node, &digest).await;
    assert!(second == first || hour(second) > hour(first));
    cluster.check(EAST);
}

#[tokio::test]
async fn who_is_excluded_pulls_without_a_trace() {
    let (cluster, digest) = with_image().await;
    let (node, who) = (cluster.node(1), root());
    let arn = who.principal.policy_arn();
    let registry = &node.registry;
    registry.register_exclusion(&who, &arn).await.unwrap();
    registry.pulled(&who, &app(), &digest);
    record(node).await;
    assert_eq!(pulled(node, &digest).await, None);
    // Counts from the next hour on, or at a node that has not looked yet.
    registry.deregister_exclusion(&who, &arn).await.unwrap();
    let other = cluster.node(2);
    other.registry.pulled(&who, &app(), &digest);
    record(other).await;
    assert!(pulled(other, &digest).await.is_some());
}

#[tokio::test]
async fn what_is_gone_was_not_pulled() {
    let (cluster, digest) = with_image().await;
    let (node, who) = (cluster.node(1), root());
    node.registry.pulled(&who, &app(), &digest);
    let registry = &node.registry;
    registry
        .delete_image(&who, &app(), &digest, None)
        .await
        .unwrap();
    record(node).await;
    node.push_image("v1", &[content(1, 100)]).await;
    assert_eq!(pulled(node, &digest).await, None);
    cluster.check(EAST);
}
