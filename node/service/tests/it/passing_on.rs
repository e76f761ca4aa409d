//! Blobs that one region passes on to another one near it, so that the source sends
//! them once.

use std::slice::from_ref;

use bytes::Bytes;
use entrepot_oci::Digest;
use entrepot_proto::peer::PassOnRequest;
use entrepot_proto::peer::replication_client::ReplicationClient;
use entrepot_service::{Destination, NearRegions, RuleInfo, RuleOptions, TaskState};
use tonic::Code;

use crate::cluster::{Cluster, EAST, Plan, SOUTH, WEST, app, region, root};
use crate::content::{MIB, content, eventually, sha256};
use crate::network::Link;

/// Of the one node of each region.
const SOURCE: u64 = 1;
const FIRST: u64 = 2;
const SECOND: u64 = 3;

/// A rule from the east to the west and the south, which are near each other.
async fn three_regions(tags: &[&str]) -> Cluster {
    let cluster = Plan::new(&[(EAST, 1), (WEST, 1), (SOUTH, 1)]).start().await;
    let to = |name: &str| Destination::new(&region(name), &root().principal.account);
    let near = NearRegions {
        regions: vec![SOUTH.to_owned(), WEST.to_owned()],
    };
    let rule = RuleInfo {
        options: RuleOptions {
            near: vec![near],
            tags: tags.iter().map(ToString::to_string).collect(),
            ..RuleOptions::default()
        },
        ..RuleInfo::new("both", vec![to(WEST), to(SOUTH)])
    };
    let registry = &cluster.node(SOURCE).registry;
    registry.put_rule(&root(), &rule).await.unwrap();
    cluster
}

async fn arrived(cluster: &Cluster, blob: &Bytes) {
    eventually("both tasks are complete", async || {
        let tasks = cluster.tasks(EAST).await;
        tasks.len() == 2 && tasks.iter().all(|task| task.state == TaskState::Complete)
    })
    .await;
    for node in [FIRST, SECOND] {
        assert!(cluster.node(node).pull(&sha256(blob)).await.unwrap() == *blob);
    }
    cluster.check(WEST);
    cluster.check(SOUTH);
}

fn passed_on(cluster: &Cluster) -> u64 {
    let nodes = [SOURCE, FIRST, SECOND].into_iter();
    nodes
        .map(|id| cluster.node(id).blobs.metrics().passed_on_bytes.get())
        .sum()
}

#[tokio::test]
async fn a_layer_that_goes_along_with_its_upload_is_passed_on() {
    let mut cluster = three_regions(&[]).await;
    cluster.start_outbox();
    let blob = content(1, 3 * MIB);
    cluster.node(SOURCE).push_image("v1", from_ref(&blob)).await;
    arrived(&cluster, &blob).await;
    assert_eq!(passed_on(&cluster), blob.len() as u64);
}

#[tokio::test]
async fn a_layer_that_its_task_brings_is_passed_on() {
    let mut cluster = three_regions(&["v*"]).await;
    let blob = content(2, 3 * MIB);
    cluster.node(SOURCE).push_image("v1", from_ref(&blob)).await;
    cluster.start_outbox();
    arrived(&cluster, &blob).await;
    assert_eq!(passed_on(&cluster), blob.len() as u64);
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_sent_by_the_source() {
    let mut cluster = three_regions(&[]).await;
    cluster.network.set_between(FIRST, SECOND, Link::Cut);
    cluster.start_outbox();
    let blob = content(3, 3 * MIB);
    cluster.node(SOURCE).push_image("v1", from_ref(&blob)).await;
    arrived(&cluster, &blob).await;
    assert_eq!(passed_on(&cluster), 0);
}

#[tokio::test]
async fn what_the_source_did_not_bring_is_not_passed_on() {
    let cluster = three_regions(&[]).await;
    let blob = content(4, MIB);
    // Of the region itself: no source has brought it.
    cluster.node(FIRST).push_image("own", from_ref(&blob)).await;
    let ask = async |digest: Digest| {
        let account = root().account.to_string();
        let request = PassOnRequest {
            source_region: EAST.to_owned(),
            source_account: account.clone(),
            source_repository: app().to_string(),
            account: account.clone(),
            repository: app().to_string(),
            digest: digest.to_string(),
            to_region: SOUTH.to_owned(),
            to_account: account,
            to_repository: app().to_string(),
            ..PassOnRequest::default()
        };
        let channel = cluster.node(SOURCE).peers.channel(FIRST).unwrap();
        ReplicationClient::new(channel).pass_on(request).await
    };
    let refused = ask(sha256(&blob)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(passed_on(&cluster), 0);
    assert_eq!(cluster.node(SECOND).known(&sha256(&blob)), None);
}

#[tokio::test]
async fn what_is_passed_on_keeps_to_the_limit_of_the_sources_rule() {
    let mut cluster = three_regions(&["v*"]).await;
    let registry = &cluster.node(SOURCE).registry;
    let rules = registry.list_rules(&root()).await.unwrap();
    let mut rule = rules.into_iter().next().unwrap();
    rule.options.bandwidth_bytes_per_second = MIB as u64;
    registry.put_rule(&root(), &rule).await.unwrap();
    let blob = content(5, 3 * MIB);
    cluster.node(SOURCE).push_image("v1", from_ref(&blob)).await;
    let start = std::time::Instant::now();
    cluster.start_outbox();
    arrived(&cluster, &blob).await;
    assert_eq!(passed_on(&cluster), blob.len() as u64);
    // Three seconds to the first, of which one is saved up before any byte is sent;
    // then as long to the second.
    let took = start.elapsed();
    assert!(took >= std::time::Duration::from_secs(4), "{took:?}");
}
