//! Nodes that are to leave: what is found out before, however long that takes, and
//! what is refused.

use std::time::Duration;

use entrepot_metadata::GroupId;
use entrepot_metadata::command::{FormCluster, MemberSpec};
use entrepot_service::{Counted, Departure, Progress, Removal, ServiceError};

use crate::cluster::{Cluster, EAST, Plan, WEST, root};
use crate::content::{MIB, content, eventually};
use crate::network::Link;

/// Much less than a node that hangs is waited for.
const PATIENCE: Duration = Duration::from_millis(50);

/// Nodes 1 to 3 in one region and 4 in another; each blob is on one node, or on
/// two of more than two.
async fn formed(copies: usize) -> Cluster {
    let plan = Plan::new(&[(EAST, 3), (WEST, 1)]).copies(copies);
    let cluster = plan.start().await.with_account().await;
    let members = cluster.nodes().map(|node| node.peers.own().clone());
    let form = FormCluster {
        members: members
            .map(|own| MemberSpec::new(own.id, &own.region, &own.address))
            .collect(),
        at_ms: 1,
    };
    let metadata = &cluster.node(1).metadata;
    let formed = metadata.propose(&GroupId::global(), form.into()).await;
    formed.unwrap().into_result().unwrap();
    cluster
}

async fn look(cluster: &Cluster, through: u64, patience: Option<Duration>) -> Counted {
    let registry = &cluster.node(through).registry;
    let looked = registry.departure(&root(), 2, patience).await;
    looked.unwrap().1
}

async fn all(cluster: &Cluster, through: u64) -> Departure {
    match look(cluster, through, None).await {
        Counted::All(departure) => departure,
        Counted::Some(progress) => panic!("{progress:?} of all that was waited for"),
    }
}

async fn remove(cluster: &Cluster, removal: Removal) -> Result<Departure, ServiceError> {
    let registry = &cluster.node(1).registry;
    match registry.remove_member(&root(), &removal, None).await? {
        Counted::All(departure) => Ok(departure),
        Counted::Some(progress) => panic!("{progress:?} of all that was waited for"),
    }
}

/// Pushes through node 2 until it has the only copy of something.
async fn only_on_two(cluster: &Cluster) {
    for seed in 0..50 {
        let digest = cluster.node(2).push(&content(seed, 7_000)).await;
        if cluster.holders(&digest).await == [2] {
            return;
        }
    }
    panic!("no blob is on node 2 alone");
}

/// Node 1 has noticed that node 2 is gone.
async fn lose_two(cluster: &mut Cluster) {
    cluster.start_health();
    cluster.network.set(2, Link::Cut);
    eventually("node 2 is missed", async || {
        !cluster.node(1).health.is_alive(2)
    })
    .await;
}

fn conflict(refused: &Result<Departure, ServiceError>) -> &str {
    match refused {
        Err(ServiceError::Conflict(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_count_is_told_of_before_it_ends_and_its_result_once() {
    let cluster = formed(3).await;
    for seed in 0..3 {
        cluster.node(1).push(&content(seed, MIB)).await;
    }
    // Connected, so that it is waited for; from its region and from another.
    for (through, blobs) in [(1, 3), (4, 4)] {
        cluster.network.set(3, Link::Frozen);
        let counting = look(&cluster, through, Some(PATIENCE)).await;
        assert_eq!(counting, Counted::Some(Progress::default()), "{through}");
        // The same count: it goes on.
        let again = look(&cluster, through, Some(PATIENCE)).await;
        assert_eq!(again, counting, "{through}");
        cluster.network.set(3, Link::Up);
        assert_eq!(all(&cluster, through).await.blobs, blobs);
        // What came since is in the next one.
        cluster.node(1).push(&content(9 + through, MIB)).await;
        assert_eq!(all(&cluster, through).await.blobs, blobs + 1);
    }
}

#[tokio::test]
async fn a_node_is_not_replaced_while_it_answers_or_by_one_that_cannot() {
    let mut cluster = formed(3).await;
    let replace = |successor| Removal {
        node: 2,
        force: true,
        successor: Some(successor),
    };
    let refused = remove(&cluster, replace(3)).await;
    assert!(conflict(&refused).contains("not lost"), "{refused:?}");
    lose_two(&mut cluster).await;
    for successor in [2, 4] {
        let refused = remove(&cluster, replace(successor)).await;
        assert!(conflict(&refused).contains("cannot take the place"));
    }
    let refused = remove(&cluster, replace(9)).await;
    assert!(
        matches!(refused, Err(ServiceError::NotFound(_))),
        "{refused:?}"
    );
    remove(&cluster, replace(3)).await.unwrap();
}

#[tokio::test]
async fn the_last_copies_of_a_lost_node_are_given_up_by_force_alone() {
    let mut cluster = formed(1).await;
    cluster.node(1).push(&content(100, 7_000)).await;
    only_on_two(&cluster).await;
    lose_two(&mut cluster).await;
    let replace = |force| Removal {
        node: 2,
        force,
        successor: Some(3),
    };
    // Whatever the caller has looked at before.
    let refused = remove(&cluster, replace(false)).await;
    let reason = conflict(&refused);
    assert!(reason.contains("node 2 has the last copy of"), "{reason}");
    assert!(reason.contains("start it again"), "{reason}");
    let lost = remove(&cluster, replace(true)).await.unwrap();
    assert!(lost.blobs_last > 0, "{lost:?}");
    assert!(lost.silent.contains(&2), "{lost:?}");
    let gone = remove(&cluster, replace(true)).await;
    assert!(matches!(gone, Err(ServiceError::NotFound(_))), "{gone:?}");
}

#[tokio::test]
async fn what_is_lost_and_has_no_last_copy_is_replaced_without_force() {
    let mut cluster = formed(3).await;
    let digest = cluster.node(1).push(&content(7, MIB)).await;
    eventually("three copies", async || {
        cluster.holders(&digest).await == [1, 2, 3]
    })
    .await;
    lose_two(&mut cluster).await;
    let replace = Removal {
        node: 2,
        force: false,
        successor: Some(3),
    };
    let removed = remove(&cluster, replace).await.unwrap();
    assert_eq!((removed.blobs, removed.blobs_last), (1, 0));
}
