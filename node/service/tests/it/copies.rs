//! Copies while an upload is under way: holders that fail, stall or are slow.

use std::time::{Duration, Instant};

use bytes::Bytes;
use entrepot_blobs::{Fault, Operation};
use entrepot_oci::{Algorithm, Digest};
use entrepot_service::{BlobInfo, ServiceError};

use crate::cluster::{Cluster, EAST, Plan, app, root};
use crate::content::{
    MIB, body, chunk, content, empty, eventually, is_unavailable, sha256, written,
};
use crate::network::Link;
use crate::slow::SlowStore;

/// Pushes `content` to node 1; `halfway` happens when about half has been sent.
async fn push_while(
    cluster: &Cluster,
    content: &Bytes,
    halfway: impl FnOnce(),
) -> Result<BlobInfo, ServiceError> {
    let (sender, body) = written();
    let digest = sha256(content);
    let registry = &cluster.node(1).registry;
    let (who, app) = (root(), app());
    let pushing = registry.push_blob(&who, &app, digest, None, body);
    let sending = async {
        let half = content.len() / 2;
        for start in (0..half).step_by(MIB) {
            let chunk = content.slice(start..half.min(start + MIB));
            sender.send(chunk).await.unwrap();
        }
        halfway();
        for start in (half..content.len()).step_by(MIB) {
            let chunk = content.slice(start..content.len().min(start + MIB));
            // The push may have failed already.
            let _ = sender.send(chunk).await;
        }
        drop(sender);
    };
    futures::future::join(pushing, sending).await.0
}

#[tokio::test]
async fn a_push_needs_a_majority_of_the_copies() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    cluster.network.set(3, Link::Cut);
    let content = content(1, 3 * MIB);
    let digest = cluster.node(1).push(&content).await;
    assert_eq!(cluster.node(1).known(&digest).unwrap().holders, [1, 2]);
    assert_eq!(cluster.node(2).pull(&digest).await.unwrap(), content);

    cluster.network.set(2, Link::Cut);
    let content = crate::content::content(2, 3 * MIB);
    let digest = sha256(&content);
    let refused = push_while(&cluster, &content, || {}).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    let stat = cluster
        .node(1)
        .registry
        .stat_blob(&root(), &app(), &digest)
        .await;
    assert_eq!(stat, Err(ServiceError::BlobUnknown(digest)));
    assert_eq!(cluster.node(1).known(&digest), None);

    cluster.network.set(2, Link::Up);
    cluster.node(1).push(&content).await;
    assert_eq!(cluster.node(1).known(&digest).unwrap().holders, [1, 2]);
}

#[tokio::test]
async fn a_holder_that_dies_in_the_middle_is_not_missed() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let content = content(3, 12 * MIB);
    let pushed = push_while(&cluster, &content, || cluster.network.set(3, Link::Cut)).await;
    let digest = pushed.unwrap().digest;
    assert_eq!(cluster.node(1).known(&digest).unwrap().holders, [1, 2]);
    assert_eq!(cluster.node(2).pull(&digest).await.unwrap(), content);
    eventually("the dead holder has dropped its part", async || {
        cluster.node(3).memory.staged() == 0
    })
    .await;
    assert!(!cluster.node(3).holds(&digest).await);
}

#[tokio::test]
async fn when_all_holders_die_in_the_middle_nothing_is_linked() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let content = content(4, 8 * MIB);
    let digest = sha256(&content);
    let cut = || {
        cluster.network.set(2, Link::Cut);
        cluster.network.set(3, Link::Cut);
    };
    let refused = push_while(&cluster, &content, cut).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    assert_eq!(cluster.node(1).known(&digest), None);
    for node in [2, 3] {
        cluster.network.set(node, Link::Up);
    }
    assert_eq!(cluster.node(1).push(&content).await, digest);
    assert_eq!(cluster.node(3).pull(&digest).await.unwrap(), content);
}

#[tokio::test]
async fn other_nodes_stand_in_for_holders_that_die() {
    let cluster = Plan::new(&[(EAST, 5)]).start().await;
    let content = content(5, 8 * MIB);
    let digest = sha256(&content);
    let chosen = &cluster.node(1).sources(&digest)[..2];
    let cut = || {
        for node in chosen {
            cluster.network.set(*node, Link::Cut);
        }
    };
    push_while(&cluster, &content, cut).await.unwrap();
    let holders = cluster.node(1).known(&digest).unwrap().holders;
    assert_eq!(holders.len(), 2, "{holders:?}");
    assert!(
        holders.iter().all(|node| !chosen.contains(node)),
        "{holders:?}"
    );
    assert_eq!(cluster.holders(&digest).await, holders);
}

#[tokio::test]
async fn a_push_whose_digest_is_known_puts_its_copies_in_their_place() {
    let cluster = Plan::new(&[(EAST, 5)]).copies(2).start().await;
    for seed in 10..15 {
        let digest = cluster.node(1).push(&content(seed, 7000)).await;
        let mut expected = vec![1, cluster.node(1).sources(&digest)[0]];
        expected.sort_unstable();
        assert_eq!(cluster.holders(&digest).await, expected);
    }
}

#[tokio::test]
async fn a_holder_whose_disk_fails_is_not_missed() {
    for operation in [Operation::Write, Operation::Sync, Operation::Publish] {
        let cluster = Plan::new(&[(EAST, 3)]).start().await;
        let content = content(6, 3 * MIB);
        cluster.node(2).memory.faults().fail(operation, Fault::Full);
        let digest = cluster.node(1).push(&content).await;
        assert_eq!(cluster.node(1).known(&digest).unwrap().holders, [1, 3]);
        eventually("nothing is staged", async || {
            cluster.nodes().all(|node| node.memory.staged() == 0)
        })
        .await;
        assert_eq!(cluster.holders(&digest).await, [1, 3]);
    }
}

#[tokio::test]
async fn a_holder_that_hangs_costs_a_push_a_few_seconds() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    // Connected, so that nothing but silence tells.
    cluster.node(1).push(&content(7, 1)).await;
    let content = content(8, 24 * MIB);
    let start = Instant::now();
    let pushed = push_while(&cluster, &content, || cluster.network.set(2, Link::Frozen)).await;
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "{:?}",
        start.elapsed()
    );
    let digest = pushed.unwrap().digest;
    assert_eq!(cluster.node(1).known(&digest).unwrap().holders, [1, 3]);
}

#[tokio::test]
async fn a_slow_holder_costs_a_push_a_few_seconds() {
    let slow = SlowStore::pieces(Duration::from_millis(400));
    let cluster = Plan::new(&[(EAST, 3)]).store(2, slow).start().await;
    // It would take node 2 half a minute.
    let content = content(9, 24 * MIB);
    let start = Instant::now();
    let digest = cluster.node(1).push(&content).await;
    assert!(
        start.elapsed() < Duration::from_secs(12),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(cluster.node(1).known(&digest).unwrap().holders, [1, 3]);
}

#[tokio::test]
async fn no_node_names_content_before_it_has_proved_right() {
    // Hashed as sha256 while it came in, so that only the commit can tell.
    let slow = SlowStore::commits(Duration::from_millis(500));
    let cluster = Plan::new(&[(EAST, 3)]).store(1, slow).start().await;
    let registry = &cluster.node(1).registry;
    let opened = registry.open_upload(&root(), &app(), None).await.unwrap();
    let session = &opened.session;
    let first = body(&content(18, MIB));
    registry
        .append_upload(&root(), &app(), session, chunk(None, None, first))
        .await
        .unwrap();
    let wrong = Digest::of(Algorithm::Sha512, b"other");
    let refused = registry
        .finish_upload(&root(), &app(), session, chunk(None, None, empty()), wrong)
        .await;
    assert!(
        matches!(refused, Err(ServiceError::DigestInvalid(_))),
        "{refused:?}"
    );
    cluster.keeps_nothing().await;
}

#[tokio::test]
async fn uploads_of_the_same_content_at_the_same_time_agree() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let content = content(17, 2 * MIB);
    let digest = sha256(&content);
    let (who, app) = (root(), app());
    let pushes = (0..12).map(|push| {
        let node = cluster.node(push % 3 + 1);
        node.registry
            .push_blob(&who, &app, digest, None, body(&content))
    });
    for pushed in futures::future::join_all(pushes).await {
        assert_eq!(pushed.unwrap().digest, digest);
    }
    cluster.check(EAST);
    assert_eq!(cluster.node(2).pull(&digest).await.unwrap(), content);
}
