//! Nodes that are about to leave, and nodes whose disks are full: what a push
//! may rely on, and what repair and readers leave alone.

use bytes::Bytes;
use entrepot_blobs::{Fault, Operation};
use entrepot_metadata::command::{FormCluster, MemberSpec};
use entrepot_metadata::{GroupId, Metadata as _};
use entrepot_oci::{Algorithm, Digest};
use entrepot_proto::peers::{KnownPeer, Standing};
use entrepot_replication::space::Space;
use entrepot_service::{BlobInfo, ServiceError};

use crate::cluster::{Cluster, EAST, Plan, app, root};
use crate::content::{MIB, body, chunk, content, is_unavailable, sha256};
use crate::network::Link;

/// All nodes hear that `leaving` is about to leave.
fn drain(cluster: &Cluster, leaving: u64) {
    for node in cluster.nodes() {
        let list = node.peers.all();
        let known = list.known().iter().map(|peer| KnownPeer {
            standing: Standing {
                takes_copies: peer.info.id != leaving,
                ..peer.standing
            },
            ..peer.clone()
        });
        assert!(node.peers.update(known.collect()).is_empty());
    }
}

fn fill(cluster: &Cluster, id: u64, is_full: bool) {
    for node in cluster.nodes() {
        let space = Space {
            is_full,
            ..Space::default()
        };
        node.health.set_space(id, space);
    }
}

async fn push_to(cluster: &Cluster, id: u64, content: &Bytes) -> Result<BlobInfo, ServiceError> {
    let (digest, length) = (sha256(content), Some(content.len() as u64));
    let registry = &cluster.node(id).registry;
    registry
        .push_blob(&root(), &app(), digest, length, body(content))
        .await
}

#[tokio::test]
async fn no_node_is_denied_before_the_cluster_is_formed() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await;
    let cluster = cluster.with_account().await;
    let registry = &cluster.node(1).registry;
    assert!(is_unavailable(&registry.drain(&root(), 2, false).await));
    assert!(is_unavailable(&registry.departure(&root(), 2, None).await));
    let region = EAST.parse().unwrap();
    let members = [1, 2].map(|id| MemberSpec::new(id, &region, &format!("10.0.0.{id}:6000")));
    let form = FormCluster {
        members: members.to_vec(),
        at_ms: 1,
    };
    let global = GroupId::global();
    let formed = cluster.metadata.propose(&global, form.into());
    formed.await.unwrap().into_result().unwrap();
    let drained = registry.drain(&root(), 2, false).await.unwrap();
    assert_eq!(drained.member.node, 2);
    let unknown = registry.drain(&root(), 3, false).await;
    assert!(
        matches!(unknown, Err(ServiceError::NotFound(_))),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_push_does_not_rely_on_a_node_that_is_about_to_leave() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await;
    drain(&cluster, 2);
    let content = content(1, 3 * MIB);
    // Its own copy would be the only one, and it may be gone the next moment.
    cluster.network.set(1, Link::Cut);
    let refused = push_to(&cluster, 2, &content).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    cluster.network.set(1, Link::Up);
    let digest = push_to(&cluster, 2, &content).await.unwrap().digest;
    assert!(cluster.node(1).holds(&digest).await);
}

#[tokio::test]
async fn one_that_is_about_to_leave_stands_in_where_too_few_answer() {
    let cluster = Plan::new(&[(EAST, 4)]).start().await;
    drain(&cluster, 4);
    for id in [2, 3] {
        cluster.network.set(id, Link::Cut);
    }
    let content = content(2, MIB);
    let digest = push_to(&cluster, 1, &content).await.unwrap().digest;
    assert_eq!(cluster.holders(&digest).await, [1, 4]);
}

#[tokio::test]
async fn a_full_node_serves_what_it_lacks_and_keeps_none_of_it() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    fill(&cluster, 3, true);
    let content = content(3, 2 * MIB);
    let digest = cluster.node(1).push(&content).await;
    assert_eq!(cluster.holders(&digest).await, [1, 2]);
    let repair = cluster.node(3).repair();
    assert_eq!(repair.pass().await.unwrap(), 0);
    assert_eq!(cluster.node(3).pull(&digest).await.unwrap(), content);
    assert_eq!(cluster.holders(&digest).await, [1, 2]);

    fill(&cluster, 3, false);
    assert_eq!(repair.pass().await.unwrap(), 1);
    assert!(cluster.node(3).holds(&digest).await);
}

#[tokio::test]
async fn what_is_pushed_through_a_full_node_goes_to_the_others_alone() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    fill(&cluster, 3, true);
    // Its disk does not take a byte, and need not.
    cluster.node(3).memory.set_capacity_bytes(0);
    let content = content(4, 20 * MIB);
    let digest = push_to(&cluster, 3, &content).await.unwrap().digest;
    assert_eq!(cluster.holders(&digest).await, [1, 2]);
    let mut named = cluster.node(3).known(&digest).unwrap().holders;
    named.sort_unstable();
    assert_eq!(named, [1, 2]);
    assert_eq!(cluster.node(3).pull(&digest).await.unwrap(), content);
    cluster.check(EAST);
}

#[tokio::test]
async fn wrong_content_that_only_passes_by_leaves_nothing_anywhere() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    fill(&cluster, 3, true);
    let content = content(5, 3 * MIB);
    for wrong in [sha256(b"other"), Digest::of(Algorithm::Sha512, b"other")] {
        let registry = &cluster.node(3).registry;
        let opened = registry.open_upload(&root(), &app(), None).await.unwrap();
        let bytes = chunk(None, None, body(&content));
        let refused = registry
            .finish_upload(&root(), &app(), &opened.session, bytes, wrong)
            .await;
        assert!(
            matches!(refused, Err(ServiceError::DigestInvalid(_))),
            "{refused:?}"
        );
    }
    cluster.keeps_nothing().await;
}

#[tokio::test]
async fn a_full_node_without_enough_others_takes_what_its_disk_takes() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    for full in [2, 3] {
        fill(&cluster, full, true);
    }
    let first = content(6, MIB);
    let digest = push_to(&cluster, 3, &first).await.unwrap().digest;
    assert!(cluster.node(3).holds(&digest).await);
    // And says so when that is nothing.
    cluster.node(3).memory.set_capacity_bytes(MIB as u64);
    let refused = push_to(&cluster, 3, &content(7, MIB)).await;
    assert_eq!(refused, Err(ServiceError::Full));
}

#[tokio::test]
async fn a_push_is_told_that_the_disks_of_the_others_are_full() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    for full in [2, 3] {
        fill(&cluster, full, true);
        cluster.node(full).memory.set_capacity_bytes(0);
    }
    let refused = push_to(&cluster, 1, &content(8, MIB)).await;
    assert_eq!(refused, Err(ServiceError::Full));
}

#[tokio::test]
async fn what_passes_by_needs_its_copies_to_arrive() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    fill(&cluster, 3, true);
    // Connected, so that nothing but the disk is to blame.
    push_to(&cluster, 3, &content(9, MIB)).await.unwrap();
    let faults = cluster.node(2).memory.faults();
    faults.fail(Operation::Sync, Fault::Broken);
    let refused = push_to(&cluster, 3, &content(10, MIB)).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    faults.fail(Operation::Sync, Fault::Full);
    let refused = push_to(&cluster, 3, &content(11, MIB)).await;
    assert_eq!(refused, Err(ServiceError::Full));
    assert_eq!(cluster.node(3).memory.staged(), 0);
}
