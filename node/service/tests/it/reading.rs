//! Reading from nodes that have no copy, or a bad one.

use entrepot_blobs::{Fault, Operation};
use entrepot_oci::Digest;
use entrepot_service::ServiceError;
use futures::StreamExt;

use crate::cluster::{Cluster, EAST, Node, Plan, app, root};
use crate::content::{
    KIB, MIB, content, eventually, is_unavailable, read, read_until_error, sha256,
};
use crate::network::Link;

/// `content` with copies on these nodes only, which are all known to have one.
async fn on(cluster: &Cluster, nodes: &[u64], content: &bytes::Bytes) -> Digest {
    let digest = cluster.node(1).push(content).await;
    eventually("all copies are there", async || {
        cluster.holders(&digest).await.len() == cluster.nodes().count()
    })
    .await;
    for node in cluster.nodes().filter(|node| !nodes.contains(&node.id)) {
        assert!(node.store.delete(&digest).await.unwrap());
    }
    digest
}

async fn three() -> Cluster {
    Plan::new(&[(EAST, 3)]).start().await
}

/// Bytes and error of a pull that may fail half-way.
async fn pull(node: &Node, digest: &Digest) -> (usize, bool) {
    let opened = node.registry.open_blob(&root(), &app(), digest, None).await;
    let (_, stream) = opened.unwrap();
    let (received, error) = read_until_error(stream).await;
    (received, error.is_none())
}

#[tokio::test]
async fn a_blob_that_passes_through_leaves_a_copy() {
    let cluster = three().await;
    for size in [6 * KIB + 1, 256 * KIB, 3 * MIB + 1] {
        let content = content(size as u64, size);
        let digest = on(&cluster, &[1], &content).await;
        assert_eq!(cluster.node(2).pull(&digest).await.unwrap(), content);
        assert_eq!(cluster.holders(&digest).await, [1, 2]);
        // A copy like any other.
        cluster.network.set(1, Link::Cut);
        assert_eq!(cluster.node(3).pull(&digest).await.unwrap(), content);
        cluster.network.set(1, Link::Up);
    }
}

async fn part(
    node: &Node,
    digest: &Digest,
    range: std::ops::Range<u64>,
) -> Result<bytes::Bytes, String> {
    let opened = node
        .registry
        .open_blob(&root(), &app(), digest, Some(range))
        .await
        .map_err(|error| error.to_string())?;
    let read = read(opened.1).await;
    read.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_part_is_cut_from_a_whole_that_is_fetched_and_kept() {
    let cluster = three().await;
    let content = content(1, 3 * MIB);
    let digest = on(&cluster, &[1], &content).await;
    for range in [
        0..1,
        5..5,
        10..2_000_000,
        3_145_727..3_145_728,
        1..3_145_728,
    ] {
        for node in [1, 2] {
            let got = part(cluster.node(node), &digest, range.clone()).await;
            let start = usize::try_from(range.start).unwrap();
            let end = usize::try_from(range.end).unwrap();
            assert_eq!(got.unwrap(), content.slice(start..end), "{range:?}");
        }
    }
    eventually("the whole is kept", async || {
        cluster.holders(&digest).await == [1, 2]
    })
    .await;
    assert!(part(cluster.node(3), &digest, 0..3_145_729).await.is_err());
    // Once for all who want it at the same time.
    let parts = (0..8).map(|number| part(cluster.node(3), &digest, number..number + 9));
    for (number, got) in futures::future::join_all(parts).await.iter().enumerate() {
        assert_eq!(*got, Ok(content.slice(number..number + 9)));
    }
    eventually("the whole is kept", async || {
        cluster.holders(&digest).await == [1, 2, 3] && cluster.node(3).memory.staged() == 0
    })
    .await;
}

#[tokio::test]
async fn a_part_of_a_large_blob_passes_as_it_comes() {
    let cluster = three().await;
    let content = content(1, 64 * MIB + 1);
    let digest = on(&cluster, &[1], &content).await;
    let got = part(cluster.node(2), &digest, 10..2_000_000).await;
    assert!(got.unwrap() == content.slice(10..2_000_000));
    assert_eq!(cluster.holders(&digest).await, [1]);
}

#[tokio::test]
async fn no_reader_gets_a_part_of_a_wrong_copy() {
    let cluster = three().await;
    let content = content(5, 3 * MIB);
    let digest = on(&cluster, &[1], &content).await;
    assert!(cluster.node(1).memory.damage(&digest, 7));
    // Wherever the damage is.
    for range in [0..10, 100..200, 0..3_000_000] {
        assert!(part(cluster.node(2), &digest, range).await.is_err());
    }
    // Not even from a node without room for the whole.
    cluster.node(2).memory.set_capacity_bytes(MIB as u64);
    assert!(part(cluster.node(2), &digest, 100..200).await.is_err());
    assert!(!cluster.node(2).holds(&digest).await);
    assert!(cluster.node(1).memory.damage(&digest, 7));
    let got = part(cluster.node(2), &digest, 100..2_500_000).await;
    assert!(got.unwrap() == content.slice(100..2_500_000));
    assert!(!cluster.node(2).holds(&digest).await);
}

#[tokio::test]
async fn a_part_from_a_wrong_copy_comes_from_another_source() {
    let cluster = three().await;
    let content = content(6, 3 * MIB);
    let digest = on(&cluster, &[1, 2], &content).await;
    let first = cluster.node(3).sources(&digest)[0];
    assert!(cluster.node(first).memory.damage(&digest, 7));
    let got = part(cluster.node(3), &digest, 0..100).await;
    assert_eq!(got.unwrap(), content.slice(0..100));
    // The own copy too is made good by a part that cannot be read of it.
    let own = cluster.node(3);
    own.memory.faults().fail(Operation::Read, Fault::Broken);
    let got = part(own, &digest, 2_000_000..3_000_000).await;
    assert!(got.unwrap() == content.slice(2_000_000..3_000_000));
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_nothing() {
    let cluster = three().await;
    let content = content(2, 20 * MIB);
    let digest = on(&cluster, &[1], &content).await;
    let opened = cluster
        .node(2)
        .registry
        .open_blob(&root(), &app(), &digest, None)
        .await;
    let (_, mut stream) = opened.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(cluster.node(2).memory.staged(), 1);
    drop(stream);
    eventually("nothing is staged", async || {
        cluster.node(2).memory.staged() == 0
    })
    .await;
    assert_eq!(cluster.holders(&digest).await, [1]);
}

#[tokio::test]
async fn a_source_that_dies_is_replaced_without_the_reader_noticing() {
    let cluster = three().await;
    let content = content(3, 20 * MIB);
    let digest = on(&cluster, &[1, 2], &content).await;
    let first = cluster.node(3).sources(&digest)[0];
    let opened = cluster
        .node(3)
        .registry
        .open_blob(&root(), &app(), &digest, None)
        .await;
    let (_, mut stream) = opened.unwrap();
    let start = stream.next().await.unwrap().unwrap();
    cluster.network.set(first, Link::Cut);
    let rest = read(stream).await.unwrap();
    assert!([start, rest].concat() == content);
    assert!(cluster.node(3).holds(&digest).await);
}

#[tokio::test]
async fn a_source_whose_disk_fails_is_replaced_too() {
    let cluster = three().await;
    let content = content(4, 5 * MIB);
    let digest = on(&cluster, &[1, 2], &content).await;
    let first = cluster.node(3).sources(&digest)[0];
    let faults = cluster.node(first).memory.faults();
    faults.fail_after(Operation::Read, 2, Fault::Broken);
    assert!(cluster.node(3).pull(&digest).await.unwrap() == content);
    // And one of a part.
    cluster.node(3).store.delete(&digest).await.unwrap();
    faults.fail_after(Operation::Read, 2, Fault::Broken);
    let range = 100..(content.len() as u64 - 1);
    let opened = cluster
        .node(3)
        .registry
        .open_blob(&root(), &app(), &digest, Some(range))
        .await;
    let part = read(opened.unwrap().1).await.unwrap();
    assert!(part == content.slice(100..content.len() - 1));
}

#[tokio::test]
async fn no_reader_gets_all_bytes_of_a_wrong_copy() {
    for size in [6 * KIB + 1, 256 * KIB, 256 * KIB + 1, 3 * MIB] {
        let cluster = three().await;
        let content = content(5, size);
        let digest = on(&cluster, &[1], &content).await;
        for offset in [0, size - 1] {
            assert!(cluster.node(1).memory.damage(&digest, offset));
            let (received, whole) = pull(cluster.node(2), &digest).await;
            assert!(!whole && received < size, "{received} of {size}");
            assert!(!cluster.node(2).holds(&digest).await);
            assert_eq!(cluster.node(2).memory.staged(), 0);
            // Right again.
            assert!(cluster.node(1).memory.damage(&digest, offset));
        }
        assert_eq!(cluster.node(2).pull(&digest).await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_wrong_copy_of_something_small_is_made_good_at_once() {
    let cluster = three().await;
    let content = content(6, 7000);
    let digest = on(&cluster, &[1, 2], &content).await;
    let first = cluster.node(3).sources(&digest)[0];
    assert!(cluster.node(first).memory.damage(&digest, 7));
    assert_eq!(cluster.node(3).pull(&digest).await.unwrap(), content);
    assert!(cluster.node(3).holds(&digest).await);
}

#[tokio::test]
async fn after_a_wrong_copy_another_source_is_asked() {
    let cluster = three().await;
    let content = content(7, 4 * MIB);
    let digest = on(&cluster, &[1, 2], &content).await;
    let first = cluster.node(3).sources(&digest)[0];
    assert!(cluster.node(first).memory.damage(&digest, 7));
    assert!(cluster.node(3).pull(&digest).await.unwrap() == content);
}

#[tokio::test]
async fn a_node_without_room_serves_what_it_cannot_keep_and_checks_it() {
    let cluster = three().await;
    let content = content(8, 3 * MIB);
    let digest = on(&cluster, &[1], &content).await;
    cluster.node(2).memory.set_capacity_bytes(MIB as u64);
    assert!(cluster.node(2).pull(&digest).await.unwrap() == content);
    assert!(!cluster.node(2).holds(&digest).await);
    assert!(cluster.node(1).memory.damage(&digest, 7));
    let (received, whole) = pull(cluster.node(2), &digest).await;
    assert!(!whole && received < content.len());
}

#[tokio::test]
async fn an_own_copy_that_fails_half_way_is_replaced() {
    let cluster = three().await;
    let content = content(9, 4 * MIB);
    let digest = on(&cluster, &[1, 2], &content).await;
    let faults = cluster.node(1).memory.faults();
    faults.fail_after(Operation::Read, 2, Fault::Broken);
    assert!(cluster.node(1).pull(&digest).await.unwrap() == content);
    assert!(cluster.node(1).holds(&digest).await);

    // Nobody gets everything when the other one is wrong where it is needed.
    faults.fail_after(Operation::Read, 2, Fault::Broken);
    assert!(cluster.node(2).memory.damage(&digest, 3 * MIB + 7));
    let (received, whole) = pull(cluster.node(1), &digest).await;
    assert!(!whole && received < content.len());
}

#[tokio::test]
async fn what_cannot_be_reached_is_unavailable_and_what_is_lost_is_an_error() {
    let cluster = three().await;
    let content = content(10, MIB);
    let digest = on(&cluster, &[1], &content).await;
    cluster.network.set(1, Link::Cut);
    let registry = &cluster.node(2).registry;
    let opened = registry.open_blob(&root(), &app(), &digest, None).await;
    assert!(is_unavailable(&opened.map(drop)));
    cluster.network.set(1, Link::Up);
    cluster.node(1).store.delete(&digest).await.unwrap();
    let opened = registry.open_blob(&root(), &app(), &digest, None).await;
    assert!(matches!(
        opened.map(drop),
        Err(ServiceError::Internal { .. })
    ));
    // A push brings it back.
    cluster.node(1).push(&content).await;
    assert_eq!(
        cluster.node(3).pull(&sha256(&content)).await.unwrap(),
        content
    );
}

#[tokio::test]
async fn many_readers_of_one_blob_at_the_same_time() {
    let cluster = three().await;
    let content = content(11, 2 * MIB);
    let digest = on(&cluster, &[1], &content).await;
    let pulls = (0..12).map(|reader| cluster.node(reader % 2 + 2).pull(&digest));
    for pulled in futures::future::join_all(pulls).await {
        assert!(pulled.unwrap() == content);
    }
    assert_eq!(cluster.holders(&digest).await, [1, 2, 3]);
    assert!(cluster.nodes().all(|node| node.memory.staged() == 0));
}

#[tokio::test]
async fn a_part_is_cut_at_the_blobs_end_and_cannot_begin_behind_it() {
    let cluster = three().await;
    let content = content(1, 7000);
    let digest = on(&cluster, &[1], &content).await;
    // With a copy and without.
    for node in [cluster.node(1), cluster.node(2)] {
        let part = async |offset, length| {
            let opened = node
                .registry
                .open_blob_from(&root(), &app(), &digest, offset, length)
                .await;
            let (info, stream) = opened?;
            assert_eq!((info.digest, info.size), (digest, 7000));
            Ok(read(stream).await.unwrap())
        };
        for (offset, length, expected) in [
            (0, Some(10), 0..10),
            (6950, Some(100), 6950..7000),
            (1000, Some(u64::MAX), 1000..7000),
            (7, None, 7..7000),
            (7, Some(0), 7..7),
            (7000, None, 7000..7000),
        ] {
            assert_eq!(part(offset, length).await, Ok(content.slice(expected)));
        }
        assert_eq!(
            part(7001, Some(1)).await,
            Err(ServiceError::BeyondEnd { size: 7000 })
        );
    }
}
