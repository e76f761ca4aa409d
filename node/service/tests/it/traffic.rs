//! Blob bytes that nobody takes must not hold up what nodes say to each other.

use std::pin::pin;
use std::time::Duration;

use entrepot_proto::peer::PingRequest;
use entrepot_proto::peer::node_client::NodeClient;
use futures::StreamExt;

use crate::cluster::{Cluster, EAST, Plan, app, root};
use crate::content::{MIB, content, eventually};
use crate::slow::SlowStore;

/// While nothing else is under way.
const PINGS: usize = 100;

async fn ping(cluster: &Cluster, from: u64, to: u64) {
    let channel = cluster.node(from).peers.channel(to).unwrap();
    let mut client = NodeClient::new(channel);
    let ping =
        tokio::time::timeout(Duration::from_secs(3), client.ping(PingRequest::default())).await;
    assert!(matches!(ping, Ok(Ok(_))), "{ping:?}");
}

#[tokio::test]
async fn readers_that_pause_hold_up_nobody() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let digest = cluster.node(1).push(&content(1, 24 * MIB)).await;
    eventually("all copies are there", async || {
        cluster.holders(&digest).await.len() == 3
    })
    .await;
    for node in [2, 3] {
        cluster.node(node).store.delete(&digest).await.unwrap();
    }
    let mut paused = Vec::new();
    for _ in 0..8 {
        let registry = &cluster.node(2).registry;
        let opened = registry.open_blob(&root(), &app(), &digest, None).await;
        let (_, mut stream) = opened.unwrap();
        let first = stream.next().await.unwrap().unwrap();
        paused.push((first.len(), stream));
        // Time enough for whatever the windows take.
        for _ in 0..50 {
            ping(&cluster, 2, 1).await;
            ping(&cluster, 1, 2).await;
        }
    }
    for (first, stream) in paused {
        let rest = crate::content::read(stream).await.unwrap().len();
        assert_eq!(first + rest, 24 * MIB);
    }
}

#[tokio::test]
async fn a_holder_whose_disk_hangs_holds_up_nobody() {
    let hanging = SlowStore::pieces(Duration::from_mins(1));
    let cluster = Plan::new(&[(EAST, 3)]).store(2, hanging).start().await;
    let content = content(2, 10 * MIB);
    let pushes = futures::future::join_all((0..8).map(|_| cluster.node(1).push(&content)));
    let mut pushes = pin!(pushes);
    loop {
        tokio::select! {
            _ = &mut pushes => break,
            () = ping(&cluster, 1, 2) => {}
        }
    }
    // What the pushes still have to bring there waits for the disk.
    for _ in 0..PINGS {
        ping(&cluster, 1, 2).await;
    }
}
