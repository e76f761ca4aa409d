//! Lifecycle policies: what is due goes, and nothing else.

use std::sync::Arc;

use entrepot_oci::{Digest, Reference};
use entrepot_service::{
    LifecycleMetrics, LifecycleRun, Lifecycles, PullTimes, Registry, ServiceError,
};
use serde_json::json;

use crate::cluster::{Cluster, EAST, Node, Plan, app, root};
use crate::content::{content, eventually};

/// Leaves the newest of the images with such tags.
fn newest(prefix: &str) -> String {
    json!({"rules": [{"rulePriority": 1, "action": {"type": "expire"}, "selection":
        {"tagStatus": "tagged", "tagPrefixList": [prefix], "countType": "imageCountMoreThan",
            "countNumber": 1}}]})
    .to_string()
}

async fn put(node: &Node, text: &str) {
    let (who, app) = (root(), app());
    let put = node.registry.put_lifecycle_policy(&who, &app, text);
    put.await.unwrap();
}

fn of(registry: Arc<Registry>) -> Lifecycles {
    Lifecycles::new(registry, LifecycleMetrics::default())
}

async fn run(node: &Node) -> Result<LifecycleRun, ServiceError> {
    let account = root().account;
    of(node.registry.clone()).evaluate(&account, &app()).await
}

async fn images(node: &Node) -> Vec<Digest> {
    let listed = node.registry.list_images(&root(), &app(), None, None).await;
    listed.unwrap().images.iter().map(|it| it.digest).collect()
}

async fn push(node: &Node, name: &str, seed: u64) -> Digest {
    node.push_image(name, &[content(seed, 100)]).await
}

fn start(cluster: &mut Cluster) {
    let nodes: Vec<_> = cluster.nodes().map(|node| node.registry.clone()).collect();
    for registry in nodes {
        cluster.spawn(of(registry).run());
    }
}

#[tokio::test]
async fn what_is_due_goes_and_the_rest_stays() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await;
    let (node, other) = (cluster.node(1), cluster.node(2));
    let stays = push(node, "stable", 9).await;
    for seed in 1..4 {
        push(node, &format!("dev-{seed}"), seed).await;
    }
    let early = run(node).await;
    assert!(matches!(early, Err(ServiceError::NotFound(_))), "{early:?}");
    put(node, &newest("dev-")).await;
    let done = run(other).await.unwrap();
    assert_eq!((done.images, done.expired, done.kept), (4, 2, 0));
    assert_eq!(images(node).await.len(), 2);
    assert_eq!(node.tagged("stable").await, Some(stays));
    let policy = node
        .registry
        .lifecycle_policy(&root(), &app())
        .await
        .unwrap();
    assert_eq!(policy.last_run, Some(done));
    let again = run(node).await.unwrap();
    assert_eq!((again.images, again.expired), (2, 0));
    // With the policy goes what is known of its evaluations.
    let registry = &node.registry;
    let deleted = registry.delete_lifecycle_policy(&root(), &app()).await;
    assert_eq!(deleted.unwrap().last_run, Some(again));
    put(node, &newest("dev-")).await;
    let policy = node
        .registry
        .lifecycle_policy(&root(), &app())
        .await
        .unwrap();
    assert_eq!(policy.last_run, None);
    cluster.check(EAST);
}

/// How long can be restored what a policy of such an action has let go.
async fn restorable_ms(action: serde_json::Value) -> Vec<i64> {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let node = cluster.node(1);
    push(node, "dev-1", 1).await;
    push(node, "dev-2", 2).await;
    let text = json!({"rules": [{"rulePriority": 3, "action": action, "selection":
        {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}}]});
    put(node, &text.to_string()).await;
    assert_eq!(run(node).await.unwrap().expired, 1);
    let (who, app) = (root(), app());
    let deleted = node.registry.deleted_images(&who, &app, None, None).await;
    let deleted = deleted.unwrap().images.into_iter();
    cluster.check(EAST);
    deleted.map(|it| it.until_ms - it.deleted_at_ms).collect()
}

#[tokio::test]
async fn a_rule_says_how_long_its_images_can_be_restored() {
    let day_ms = 24 * 60 * 60 * 1_000;
    let of = |window: &str| json!({"type": "expire", "undeleteWindow": window});
    assert_eq!(restorable_ms(of("3d")).await, [3 * day_ms]);
    assert_eq!(restorable_ms(of("0")).await, [0_i64; 0]);
    assert_eq!(restorable_ms(json!({"type": "expire"})).await, [7 * day_ms]);
}

#[tokio::test]
async fn policies_are_carried_out_without_being_asked_to() {
    let mut cluster = Plan::new(&[(EAST, 3)]).start().await.with_account().await;
    cluster.start_health();
    let node = cluster.node(1);
    for seed in 1..4 {
        push(node, &format!("dev-{seed}"), seed).await;
    }
    put(node, &newest("dev-")).await;
    start(&mut cluster);
    let node = cluster.node(1);
    eventually("the old ones go", async || images(node).await.len() == 1).await;
    let registry = &node.registry;
    eventually("the evaluation is noted", async || {
        let policy = registry.lifecycle_policy(&root(), &app()).await.unwrap();
        policy.last_run.is_some_and(|run| run.expired == 2)
    })
    .await;
    cluster.check(EAST);
}

#[tokio::test]
async fn a_preview_says_what_would_go_and_lets_nothing_go() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await;
    let (node, other) = (cluster.node(1), cluster.node(2));
    let (who, app) = (root(), app());
    let started = node
        .registry
        .start_lifecycle_preview(&who, &app, None)
        .await;
    assert!(matches!(started, Err(ServiceError::NameUnknown(_))));
    for seed in 1..4 {
        push(node, &format!("dev-{seed}"), seed).await;
    }
    let started = node
        .registry
        .start_lifecycle_preview(&who, &app, None)
        .await;
    assert!(matches!(started, Err(ServiceError::NotFound(_))));
    let text = newest("dev-");
    let begin = node
        .registry
        .start_lifecycle_preview(&who, &app, Some(&text));
    let kept = begin.await.unwrap();
    for at in [node, other] {
        let preview = at.registry.lifecycle_preview(&who, &app).await.unwrap();
        assert_eq!(preview.text, kept);
        assert_eq!((preview.expiring(), preview.archiving()), (2, 0));
        let known: Vec<Reference> = preview.images.iter().map(|it| it.digest.into()).collect();
        for reference in known {
            let found = at.registry.get_manifest(&who, &app, &reference).await;
            assert!(found.is_ok(), "{reference}");
        }
    }
}

#[tokio::test]
async fn whoever_may_set_a_policy_has_it_carried_out_at_once() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await;
    let (node, who) = (cluster.node(2), root());
    let early = node.registry.run_lifecycle(&who, &app()).await;
    assert!(
        matches!(early, Err(ServiceError::NameUnknown(_))),
        "{early:?}"
    );
    let oldest = push(node, "dev-1", 1).await;
    let newest_one = push(node, "dev-2", 2).await;
    let early = node.registry.run_lifecycle(&who, &app()).await;
    assert!(matches!(early, Err(ServiceError::NotFound(_))), "{early:?}");
    put(node, &newest("dev-")).await;
    let done = node.registry.run_lifecycle(&who, &app()).await.unwrap();
    assert_eq!(
        (done.run.images, done.run.expired, done.run.more),
        (2, 1, false)
    );
    let went: Vec<_> = done
        .images
        .iter()
        .map(|it| (it.digest, it.priority))
        .collect();
    assert_eq!(went, [(oldest, 1)]);
    assert_eq!(done.images[0].tags[0].as_str(), "dev-1");
    assert_eq!(images(node).await, [newest_one]);
    let again = node.registry.run_lifecycle(&who, &app()).await.unwrap();
    assert_eq!(again.images, []);
}

#[tokio::test]
async fn nobody_knows_of_an_image_that_it_was_not_pulled_before_pulls_were_recorded() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let (node, who) = (cluster.node(1), root());
    push(node, "dev-1", 1).await;
    let policy = json!({"rules": [{"rulePriority": 1, "action": {"type": "expire"}, "selection":
        {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days",
            "countNumber": 1}}]});
    put(node, &policy.to_string()).await;
    for _ in 0..2 {
        let done = node.registry.run_lifecycle(&who, &app()).await.unwrap();
        assert_eq!((done.run.images, done.run.expired), (1, 0));
        let times = PullTimes::new(node.registry.clone());
        times.record().await.unwrap();
    }
}
