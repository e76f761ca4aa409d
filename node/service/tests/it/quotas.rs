//! What does not fit into a repository is refused before it is sent, where that can be
//! told, and in any case before it is the repository's.

use entrepot_oci::Digest;
use entrepot_service::{
    HoldingMetrics, HoldingWatch, QuotasChange, RegistryChange, RepositoryChange, ServiceError,
    UploadState,
};
use prometheus_client::encoding::text::encode;

use crate::cluster::{Cluster, EAST, Node, Plan, app, root};
use crate::content::{KIB, MIB, body, chunk, content, empty, eventually, never, sha256};

async fn allow(node: &Node, bytes: usize) {
    let change = RegistryChange {
        quotas: Some(QuotasChange {
            bytes: Some(bytes as u64),
            ..QuotasChange::default()
        }),
        ..RegistryChange::default()
    };
    let changed = node.registry.put_registry_settings(&root(), change).await;
    changed.unwrap();
}

/// Two nodes of a region, and a blob of 900 KiB where there may be a MiB.
async fn nearly_full() -> (Cluster, Digest) {
    let cluster = Plan::new(&[(EAST, 2)]).start().await.with_account().await;
    let digest = cluster.node(1).push(&content(1, 900 * KIB)).await;
    allow(cluster.node(2), MIB).await;
    (cluster, digest)
}

async fn open(node: &Node) -> Result<UploadState, ServiceError> {
    node.registry.open_upload(&root(), &app(), None).await
}

#[track_caller]
fn is_too_much<T: std::fmt::Debug>(answer: Result<T, ServiceError>) {
    match answer {
        Err(ServiceError::LimitExceeded(text)) => {
            assert!(text.contains("may have at most 1048576 bytes"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bytes_that_do_not_fit_are_not_asked_for() {
    let (cluster, _) = nearly_full().await;
    let (who, app) = (root(), app());
    let large = content(2, 200 * KIB);
    let length = Some(large.len() as u64);
    for node in cluster.nodes() {
        let pushed = node
            .registry
            .push_blob(&who, &app, sha256(&large), length, never());
        is_too_much(pushed.await);
    }
    // Of an upload that is open, at the node that owns it and at another one.
    let session = open(cluster.node(1)).await.unwrap().session;
    for node in cluster.nodes() {
        let all = chunk(Some(0), length, never());
        is_too_much(node.registry.append_upload(&who, &app, &session, all).await);
        let last = chunk(Some(0), length, never());
        let registry = &node.registry;
        is_too_much(
            registry
                .finish_upload(&who, &app, &session, last, sha256(&large))
                .await,
        );
    }
    // Bytes that nobody has counted before are taken as far as they fit.
    let unknown = chunk(Some(0), None, body(&large));
    let registry = &cluster.node(2).registry;
    is_too_much(registry.append_upload(&who, &app, &session, unknown).await);
    let state = registry.upload_state(&who, &app, &session).await.unwrap();
    assert!(state.size <= 124 * KIB as u64, "{state:?}");
    cluster.check(EAST);
}

#[tokio::test]
async fn where_nothing_fits_no_upload_is_begun_until_something_goes() {
    let (cluster, first) = nearly_full().await;
    let (node, who, app) = (cluster.node(1), root(), app());
    let rest = content(3, 124 * KIB);
    node.push(&rest).await;
    for node in cluster.nodes() {
        is_too_much(open(node).await);
        is_too_much(node.registry.open_part_upload(&who, &app).await);
        // What it has already brings no byte.
        node.push(&rest).await;
    }
    let info = node.registry.registry_info(&who).await.unwrap();
    let held = info.quotas.held.unwrap();
    assert_eq!((held.bytes, held.images), (MIB as u64, 0));
    let deleted = cluster.node(2).registry.delete_blob(&who, &app, &first);
    deleted.await.unwrap();
    open(node).await.unwrap();
    node.push(&content(4, 900 * KIB)).await;
    cluster.check(EAST);
}

#[tokio::test]
async fn uploads_that_all_fitted_when_they_began_do_not_come_to_more_than_there_may_be() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await.with_account().await;
    let (who, app) = (root(), app());
    allow(cluster.node(1), MIB).await;
    let mut opened = Vec::new();
    for number in 0..6_u64 {
        let node = cluster.node(1 + number % 2);
        let session = open(node).await.unwrap().session;
        let part = content(10 + number, 300 * KIB);
        let length = Some(part.len() as u64);
        let all = chunk(Some(0), length, body(&part));
        let appended = node.registry.append_upload(&who, &app, &session, all);
        appended.await.unwrap();
        opened.push((node, session, sha256(&part)));
    }
    let finished = opened.iter().map(|(node, session, digest)| {
        let last = chunk(None, Some(0), empty());
        node.registry
            .finish_upload(&who, &app, session, last, *digest)
    });
    let (mut taken, mut refused) = (0, 0);
    for finished in futures::future::join_all(finished).await {
        match finished {
            Ok(_) => taken += 1,
            error @ Err(_) => {
                is_too_much(error);
                refused += 1;
            }
        }
    }
    assert_eq!((taken, refused), (3, 3));
    let info = cluster.node(2).registry.registry_info(&who).await.unwrap();
    assert_eq!(info.quotas.held.unwrap().bytes, 900 * KIB as u64);
    cluster.check(EAST);
}

#[tokio::test]
async fn a_repository_may_have_a_quota_of_its_own() {
    let (cluster, _) = nearly_full().await;
    let (node, who, app) = (cluster.node(1), root(), app());
    let change = RepositoryChange {
        bytes_max: Some(1_000 * KIB as u64),
        ..RepositoryChange::default()
    };
    let changed = node.registry.put_repository_settings(&who, &app, change);
    let changed = changed.await.unwrap();
    assert_eq!(changed.bytes_max, Some(1_000 * KIB as u64));
    assert_eq!(changed.held.unwrap().bytes, 900 * KIB as u64);
    let digest = sha256(b"");
    let pushed = node
        .registry
        .push_blob(&who, &app, digest, Some(110 * KIB as u64), never());
    let refused = pushed.await.unwrap_err();
    assert!(
        refused.to_string().contains("repository with name"),
        "{refused}"
    );
    // Of another one it says nothing.
    let other = "team/other".parse().unwrap();
    let small = content(5, 110 * KIB);
    let length = Some(small.len() as u64);
    let pushed = node
        .registry
        .push_blob(&who, &other, sha256(&small), length, body(&small));
    pushed.await.unwrap();
    let usage = node.registry.usage(&who).await.unwrap();
    assert_eq!(usage.held.unwrap().bytes, 1_010 * KIB as u64);
    assert_eq!(usage.bytes_max, MIB as u64);
}

#[tokio::test]
async fn how_nearly_a_quota_is_reached_is_told_to_monitoring() {
    let (mut cluster, _) = nearly_full().await;
    let metrics = HoldingMetrics::default();
    let watch = HoldingWatch::new(cluster.node(1).registry.clone(), metrics.clone());
    cluster.spawn(watch.run());
    let mut numbers = prometheus_client::registry::Registry::default();
    metrics.register(&mut numbers);
    eventually("both are told", async || {
        let mut text = String::new();
        encode(&mut text, &numbers).unwrap();
        let told = |what: &str, value: usize| {
            let labels = "{region=\"us-east-1\",account=\"123456789012\",registry=\"private\"}";
            text.contains(&format!("registry_{what}_bytes{labels} {value}\n"))
        };
        told("held", 900 * KIB) && told("quota", MIB)
    })
    .await;
}
