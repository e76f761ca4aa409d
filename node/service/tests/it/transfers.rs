//! Bytes on their way between nodes: verified piece by piece, from several
//! sources, and fetched once for all who want them.

use entrepot_oci::Digest;
use futures::StreamExt;

use crate::cluster::{Cluster, EAST, Node, Plan, app, root};
use crate::content::{KIB, MIB, content, eventually, read, read_until_error};
use crate::network::Link;

const LARGE: usize = 12 * MIB + 77;

/// `content` with copies on these nodes only.
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

fn refused(node: &Node) -> u64 {
    node.blobs.metrics().peer_bytes_refused.get()
}

/// Wherever the damage is: nobody gets a wrong byte, and nobody notices.
#[tokio::test]
async fn wrong_bytes_of_one_source_come_from_another() {
    let cluster = three().await;
    let mut seed = 20;
    for size in [100 * KIB, 700 * KIB, LARGE] {
        for place in [0, size / 2, size - 1] {
            // Who has lied about a blob is asked last for it from then on.
            seed += 1;
            let content = content(seed, size);
            let digest = on(&cluster, &[1, 2], &content).await;
            let first = cluster.node(3).sources(&digest)[0];
            assert!(cluster.node(first).memory.damage(&digest, place));
            assert!(cluster.node(3).pull(&digest).await.unwrap() == content);
            assert!(cluster.node(3).holds(&digest).await, "{size} {place}");
        }
    }
    // Not always: known holders are asked before others.
    assert!(refused(cluster.node(3)) > 0);
}

/// What comes before the damage is right, and what is wrong never comes.
#[tokio::test]
async fn a_reader_of_one_wrong_copy_gets_the_right_part_of_it() {
    let cluster = three().await;
    let content = content(4, LARGE);
    let digest = on(&cluster, &[1], &content).await;
    assert!(cluster.node(1).memory.damage(&digest, 5 * MIB + 3));
    let registry = &cluster.node(2).registry;
    let opened = registry.open_blob(&root(), &app(), &digest, None).await;
    let (_, mut stream) = opened.unwrap();
    let mut received = Vec::new();
    while let Some(Ok(piece)) = stream.next().await {
        received.extend_from_slice(&piece);
    }
    assert_eq!(received.len(), 5 * MIB);
    assert!(received == content[..received.len()]);
    assert!(!cluster.node(2).holds(&digest).await);
    assert_eq!(cluster.node(2).memory.staged(), 0);
}

/// Larger than what is fetched as a whole for a part.
#[tokio::test]
async fn parts_of_a_large_blob_are_verified() {
    const SIZE: usize = 64 * MIB + 100 * KIB;
    let cluster = three().await;
    let content = content(5, SIZE);
    let digest = on(&cluster, &[1, 2], &content).await;
    let first = cluster.node(3).sources(&digest)[0];
    let place = 40 * MIB;
    assert!(cluster.node(first).memory.damage(&digest, place));
    for range in [
        0..1,
        place - 3 * MIB..place + 3 * MIB,
        place..place + 1,
        SIZE - 1..SIZE,
    ] {
        let wanted = range.start as u64..range.end as u64;
        let registry = &cluster.node(3).registry;
        let opened = registry
            .open_blob(&root(), &app(), &digest, Some(wanted))
            .await;
        assert!(read(opened.unwrap().1).await.unwrap() == content.slice(range));
    }
    assert!(refused(cluster.node(3)) <= 1, "who lied once is asked last");
    assert!(!cluster.node(3).holds(&digest).await);
}

#[tokio::test]
async fn many_readers_share_one_transfer() {
    const READERS: u64 = 8;
    let cluster = three().await;
    let content = content(6, LARGE);
    let digest = on(&cluster, &[1], &content).await;
    let node = cluster.node(2);
    let pulls = (0..READERS).map(|_| node.pull(&digest));
    for pulled in futures::future::join_all(pulls).await {
        assert!(pulled.unwrap() == content);
    }
    let metrics = node.blobs.metrics();
    assert_eq!(metrics.read_through.get(), READERS);
    // They all began before the first had found a source; one entered.
    eventually("the copy is kept", async || node.holds(&digest).await).await;
    assert_eq!(node.memory.staged(), 0);
}

/// A reader that comes when most is here, and one that takes its time.
#[tokio::test]
async fn who_comes_late_or_is_slow_gets_everything() {
    let cluster = three().await;
    let content = content(7, LARGE);
    let digest = on(&cluster, &[1], &content).await;
    let node = cluster.node(2);
    let open = async || {
        let (who, name) = (root(), app());
        let opened = node.registry.open_blob(&who, &name, &digest, None);
        opened.await.unwrap().1
    };
    let mut slow = open().await;
    let first = slow.next().await.unwrap().unwrap();
    let late = open().await;
    assert_eq!(node.blobs.metrics().read_through_shared.get(), 1);
    // The slow one does not hold up the other.
    assert!(read(late).await.unwrap() == content);
    let rest = read(slow).await.unwrap();
    assert!([first, rest].concat() == content);
    assert!(node.holds(&digest).await);
    assert_eq!(node.memory.staged(), 0);
}

#[tokio::test]
async fn a_transfer_that_nobody_waits_for_ends() {
    let cluster = three().await;
    let content = content(8, 40 * MIB);
    let digest = on(&cluster, &[1], &content).await;
    let node = cluster.node(2);
    let opened = node
        .registry
        .open_blob(&root(), &app(), &digest, None)
        .await;
    let mut stream = opened.unwrap().1;
    stream.next().await.unwrap().unwrap();
    drop(stream);
    eventually("nothing is staged", async || node.memory.staged() == 0).await;
    // The next one begins anew.
    assert!(node.pull(&digest).await.unwrap() == content);
}

/// The disk of the node that passes a blob on takes only the first part of it.
#[tokio::test]
async fn readers_go_on_by_themselves_when_the_disk_is_full() {
    let cluster = three().await;
    let content = content(9, LARGE);
    let digest = on(&cluster, &[1], &content).await;
    let node = cluster.node(2);
    node.memory.set_capacity_bytes(3 * MIB as u64);
    let pulls = (0..3).map(|_| node.pull(&digest));
    for pulled in futures::future::join_all(pulls).await {
        assert!(pulled.unwrap() == content);
    }
    assert!(!node.holds(&digest).await);
    assert_eq!(node.memory.staged(), 0);
}

/// Every source fails in the middle, and one comes back.
#[tokio::test]
async fn a_transfer_goes_on_where_it_stopped() {
    let cluster = three().await;
    let content = content(10, 24 * MIB);
    let digest = on(&cluster, &[1], &content).await;
    let node = cluster.node(2);
    let opened = node
        .registry
        .open_blob(&root(), &app(), &digest, None)
        .await;
    let mut stream = opened.unwrap().1;
    let first = stream.next().await.unwrap().unwrap();
    cluster.network.set(1, Link::Cut);
    cluster.network.set(1, Link::Up);
    let (received, error) = read_until_error(stream).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(first.len() + received, content.len());
    assert!(node.pull(&digest).await.unwrap() == content);
}
