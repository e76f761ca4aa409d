//! What a node says of itself when it is pinged.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use entrepot_proto::peer::PingRequest;
use entrepot_proto::peer::node_client::NodeClient;

use crate::cluster::{EAST, Plan};
use crate::content::eventually;

/// Its copy of the records may be built anew, and be empty meanwhile: that is no
/// reason to make a cluster with a node that may have lost its disk.
#[tokio::test]
async fn a_node_that_has_been_in_a_cluster_offers_to_found_none() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let channel = cluster.node(3).peers.channel(1).unwrap();
    let request = PingRequest {
        node: 3,
        folder: Bytes::from_static(&[7; 16]),
    };
    let reply = NodeClient::new(channel).ping(request).await.unwrap();
    let reply = reply.into_inner();
    assert!(!reply.is_formed, "{reply:?}");
    assert_eq!(reply.founders, [0_u64; 0], "{reply:?}");
}

#[tokio::test]
async fn nodes_know_what_the_clocks_of_the_others_say() {
    let mut cluster = Plan::new(&[(EAST, 3)]).start().await;
    assert!(cluster.node(1).health.clocks().is_empty());
    cluster.start_health();
    eventually("both others have told", async || {
        cluster.node(1).health.clocks().len() == 2
    })
    .await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_ms = i64::try_from(now.as_millis()).unwrap();
    for clock in cluster.node(1).health.clocks() {
        assert!(clock.abs_diff(now_ms) < 30_000, "{clock} at {now_ms}");
    }
}
