//! Pulls of what another region has and has not sent yet.

use bytes::Bytes;
use entrepot_blobs::{Expected, Hashing};
use entrepot_metadata::command::{LinkBlob, PutManifest};
use entrepot_metadata::query::Blob;
use entrepot_metadata::{GroupId, Metadata};
use entrepot_oci::{Digest, Manifest, RepositoryName, media_type};
use entrepot_proto::peer::replication_client::ReplicationClient;
use entrepot_proto::peer::{ReplicaImage, ReplicaImageManifest, ReplicaImages};
use entrepot_service::{
    Destination, ManifestPush, PrefixMapping, RuleInfo, RuleOptions, ServiceError, TaskState,
};
use futures::future::{join_all, try_join_all};

use crate::cluster::{Cluster, EAST, Node, Plan, SOUTH, WEST, app, group, region, root, tag};
use crate::content::{MIB, content, eventually, image, read, sha256};
use crate::network::Link;
use crate::slow::SlowStore;

/// Nothing goes along with uploads where a rule takes some tags only, and no
/// outbox runs unless a test starts it.
fn by_tag() -> RuleOptions {
    RuleOptions {
        tags: vec!["v*".to_owned()],
        read_through: true,
        ..RuleOptions::default()
    }
}

async fn rule(cluster: &Cluster, options: RuleOptions) {
    let there = Destination::new(&region(WEST), &root().principal.account);
    let rule = RuleInfo {
        options,
        ..RuleInfo::new("west", vec![there])
    };
    let registry = &cluster.node(1).registry;
    registry.put_rule(&root(), &rule).await.unwrap();
    offered(cluster).await;
}

/// Every node knows what the regions offer.
async fn offered(cluster: &Cluster) {
    join_all(cluster.nodes().map(|node| node.through.refresh())).await;
}

/// Node 1 in the east; 2, 3 and 4 in the west.
async fn two_regions(options: RuleOptions) -> Cluster {
    let cluster = Plan::new(&[(EAST, 1), (WEST, 3)]).start().await;
    rule(&cluster, options).await;
    cluster
}

fn west(cluster: &Cluster) -> impl Iterator<Item = &Node> {
    (2..=4).map(|id| cluster.node(id))
}

/// Whether anything of the repository shows in the west.
fn is_made(cluster: &Cluster) -> bool {
    let view = cluster.node(2).metadata.view(&group(WEST)).unwrap();
    let found =
        entrepot_metadata::query::repository(view.as_ref(), &root().principal.account, &app());
    found.unwrap().is_some()
}

async fn status(node: &Node, digest: &Digest) -> Result<u64, ServiceError> {
    let registry = &node.registry;
    let found = registry.stat_for_download(&root(), &app(), digest).await;
    found.map(|found| found.size)
}

async fn manifest(node: &Node, name: &str) -> Result<Digest, ServiceError> {
    let registry = &node.registry;
    let found = registry.get_manifest(&root(), &app(), &tag(name)).await;
    found.map(|found| found.digest)
}

#[tokio::test]
async fn an_image_that_has_not_been_sent_is_pulled_and_kept() {
    let mut cluster = two_regions(by_tag()).await;
    let (large, small) = (content(1, 9 * MIB), content(2, 900));
    let pushed = [large.clone(), small.clone()];
    let digest = cluster.node(1).push_image("v1", &pushed).await;
    for node in west(&cluster) {
        assert_eq!(manifest(node, "v1").await, Ok(digest));
        assert_eq!(manifest(node, &digest.to_string()).await, Ok(digest));
        assert_eq!(status(node, &sha256(&large)).await, Ok(9 * MIB as u64));
    }
    // Whoever looks leaves nothing.
    assert!(!is_made(&cluster));
    // Many pull it at the same time, through every node.
    let pulls = (0..12).map(|nth| {
        let node = cluster.node(2 + nth % 3);
        let digest = sha256(&large);
        async move { node.pull(&digest).await }
    });
    for pulled in try_join_all(pulls).await.unwrap() {
        assert!(pulled == large);
    }
    let sent = cluster.node(1).blobs.metrics().offered_bytes.get();
    assert_eq!(sent, large.len() as u64, "it was sent once");
    let node = cluster.node(3);
    assert!(node.pull(&sha256(&small)).await.unwrap() == small);
    // It is kept, as it would be had it been sent.
    assert!(cluster.holders(&sha256(&large)).await.len() >= 2);
    for content in &pushed {
        assert!(cluster.node(2).known(&sha256(content)).is_some());
    }
    cluster.check(WEST);
    cluster.start_outbox();
    eventually("the image is there", async || {
        let tasks = cluster.tasks(EAST).await;
        tasks.iter().all(|task| task.state == TaskState::Complete)
    })
    .await;
    assert_eq!(cluster.node(4).tagged("v1").await, Some(digest));
    let sent = cluster.node(1).blobs.metrics().offered_bytes.get();
    assert_eq!(sent, (large.len() + small.len()) as u64);
    cluster.check(WEST);
}

#[tokio::test]
async fn a_part_of_a_blob_is_served_while_the_whole_arrives() {
    let cluster = two_regions(by_tag()).await;
    let whole = content(3, 5 * MIB);
    cluster
        .node(1)
        .push_image("v1", std::slice::from_ref(&whole))
        .await;
    for (node, start) in [(2, 0), (3, 3 * MIB), (4, 5 * MIB - 10)] {
        let registry = &cluster.node(node).registry;
        let range = Some(start as u64..start as u64 + 10);
        let (who, repository) = (root(), app());
        let digest = sha256(&whole);
        let opened = registry.open_blob(&who, &repository, &digest, range).await;
        let (info, bytes) = opened.unwrap();
        assert_eq!(info.size, whole.len() as u64);
        let bytes = read(bytes).await.unwrap();
        assert_eq!(bytes, whole.slice(start..start + 10));
    }
}

#[tokio::test]
async fn what_a_rule_does_not_take_is_not_here() {
    let options = RuleOptions {
        repositories_excluded: vec!["old/*".to_owned()],
        ..by_tag()
    };
    let cluster = two_regions(options.clone()).await;
    let (east, west) = (cluster.node(1), cluster.node(2));
    let other = content(4, 2 * MIB);
    let digest = east
        .push_image("nightly", std::slice::from_ref(&other))
        .await;
    let unnamed = east.push(&content(5, 2 * MIB)).await;
    let absent = |found: &Result<_, ServiceError>| {
        matches!(
            found,
            Err(ServiceError::NameUnknown(_)
                | ServiceError::ManifestUnknown(_)
                | ServiceError::BlobUnknown(_))
        )
    };
    for name in ["nightly", "v9", &digest.to_string()] {
        let found = manifest(west, name).await;
        assert!(absent(&found), "{name}: {found:?}");
    }
    for blob in [sha256(&other), unnamed] {
        let found = status(west, &blob).await;
        assert!(
            matches!(found, Err(ServiceError::NameUnknown(_))),
            "{found:?}"
        );
        assert!(west.pull(&blob).await.is_err());
    }
    // Under another tag it takes the same image, and so its blobs.
    let content = image(&[(sha256(&other), other.len())]);
    east.put_manifest("v1", &content).await;
    assert_eq!(manifest(west, "v1").await, Ok(digest));
    assert!(west.pull(&sha256(&other)).await.unwrap() == other);
    // A rule that does not say so lets nobody read through.
    east.push_image("v2", &[self::content(6, 9_000)]).await;
    let silent = RuleOptions {
        read_through: false,
        ..options
    };
    rule(&cluster, silent).await;
    assert!(absent(&manifest(west, "v2").await));
    assert!(!is_made(&cluster) || manifest(west, "v1").await.is_err());
}

#[tokio::test]
async fn names_lead_back_to_where_they_come_from() {
    let options = RuleOptions {
        mapping: Some(PrefixMapping {
            from: "team/".to_owned(),
            to: "mirror/".to_owned(),
        }),
        ..by_tag()
    };
    let cluster = two_regions(options).await;
    let whole = content(7, 2 * MIB);
    let digest = cluster
        .node(1)
        .push_image("v1", std::slice::from_ref(&whole))
        .await;
    let there: RepositoryName = "mirror/app".parse().unwrap();
    let registry = &cluster.node(3).registry;
    let found = registry.get_manifest(&root(), &there, &tag("v1")).await;
    assert_eq!(found.unwrap().digest, digest);
    let blob = sha256(&whole);
    let opened = registry.open_blob(&root(), &there, &blob, None).await;
    assert!(read(opened.unwrap().1).await.unwrap() == whole);
    assert!(manifest(cluster.node(3), "v1").await.is_err());
}

#[tokio::test]
async fn while_a_source_is_away_nobody_is_told_that_there_is_nothing() {
    let cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    rule(&cluster, by_tag()).await;
    let whole = content(8, 2 * MIB);
    let digest = cluster
        .node(1)
        .push_image("v1", std::slice::from_ref(&whole))
        .await;
    let there = cluster.node(2);
    cluster.network.set(1, Link::Cut);
    for found in [manifest(there, "v1").await, manifest(there, "v7").await] {
        assert!(
            matches!(found, Err(ServiceError::Unavailable { .. })),
            "{found:?}"
        );
    }
    let found = status(there, &sha256(&whole)).await;
    assert!(
        matches!(found, Err(ServiceError::Unavailable { .. })),
        "{found:?}"
    );
    // Who pushes here is not kept from it: here it is not.
    let registry = &there.registry;
    let found = registry.stat_blob(&root(), &app(), &sha256(&whole)).await;
    assert!(
        matches!(found, Err(ServiceError::NameUnknown(_))),
        "{found:?}"
    );
    there.push_image("w1", &[content(9, 9_000)]).await;
    cluster.network.set(1, Link::Up);
    eventually("it can be asked again", async || {
        manifest(there, "v1").await == Ok(digest)
    })
    .await;
    assert!(
        manifest(there, "v7")
            .await
            .is_err_and(|error| { matches!(error, ServiceError::ManifestUnknown(_)) })
    );
}

#[tokio::test]
async fn what_was_deleted_here_stays_deleted() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    rule(&cluster, by_tag()).await;
    let digest = cluster
        .node(1)
        .push_image("v1", &[content(10, 9_000)])
        .await;
    cluster.start_outbox();
    let there = cluster.node(2);
    eventually("the image is there", async || {
        let tasks = cluster.tasks(EAST).await;
        tasks.iter().all(|task| task.state == TaskState::Complete)
    })
    .await;
    assert_eq!(there.tagged("v1").await, Some(digest));
    let none = entrepot_service::TagCondition::None;
    let reference = tag(&digest.to_string());
    let registry = &there.registry;
    let (who, repository) = (root(), app());
    let deleted = registry.delete_manifest(&who, &repository, &reference, none);
    deleted.await.unwrap();
    assert!(manifest(there, "v1").await.is_err());
    assert!(manifest(there, &digest.to_string()).await.is_err());
}

#[tokio::test]
async fn a_tag_that_was_read_through_does_not_go_back() {
    let cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    rule(&cluster, by_tag()).await;
    let (east, there) = (cluster.node(1), cluster.node(2));
    let blob = content(11, 900);
    let older = image(&[(sha256(&blob), blob.len())]);
    east.push(&blob).await;
    east.put_manifest("v1", &older).await;
    let newer = east.push_image("v1", &[content(12, 900)]).await;
    assert_eq!(manifest(there, "v1").await, Ok(newer));
    // What was sent before arrives late.
    let sent = ReplicaImage {
        account: root().account.to_string(),
        source_account: root().account.to_string(),
        repository: app().to_string(),
        tag: "v1".to_owned(),
        source_sequence: 1,
        manifests: vec![ReplicaImageManifest {
            digest: sha256(&older).to_string(),
            media_type: media_type::OCI_MANIFEST.to_owned(),
            content: older.clone(),
            absent: Vec::new(),
        }],
        blobs: vec![sha256(&blob).to_string()],
        contents: vec![entrepot_proto::peer::ReplicaImageBlob {
            digest: sha256(&blob).to_string(),
            content: blob,
        }],
        ..ReplicaImage::default()
    };
    let images = ReplicaImages {
        source_region: EAST.to_owned(),
        images: vec![sent],
    };
    let mut client = ReplicationClient::new(east.peers.channel(2).unwrap());
    let mut replies = client.put_images(images).await.unwrap().into_inner();
    replies.message().await.unwrap().unwrap();
    let is_here = manifest(there, &sha256(&older).to_string()).await;
    assert_eq!(is_here, Ok(sha256(&older)));
    assert_eq!(manifest(there, "v1").await, Ok(newer));
    cluster.check(WEST);
}

#[tokio::test]
async fn whoever_was_told_of_a_blob_may_push_an_image_of_it() {
    let cluster = two_regions(by_tag()).await;
    let whole = content(13, 2 * MIB);
    cluster
        .node(1)
        .push_image("v1", std::slice::from_ref(&whole))
        .await;
    let (there, digest) = (cluster.node(3), sha256(&whole));
    let registry = &there.registry;
    let found = registry.stat_blob(&root(), &app(), &digest).await;
    assert_eq!(found.unwrap().size, whole.len() as u64);
    let config = content(14, 500);
    there.push(&config).await;
    let named = [(sha256(&config), 500), (digest, whole.len())];
    there.put_manifest("own", &image(&named)).await;
    assert!(cluster.node(2).pull(&digest).await.unwrap() == whole);
    cluster.check(WEST);
}

#[tokio::test]
async fn what_a_rule_brought_is_not_passed_on() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1), (SOUTH, 1)]).start().await;
    cluster.replicate(EAST, WEST).await;
    let south = Destination::new(&region(SOUTH), &root().principal.account);
    let rule = RuleInfo {
        options: RuleOptions {
            read_through: true,
            ..RuleOptions::default()
        },
        ..RuleInfo::new("south", vec![south])
    };
    let registry = &cluster.node(2).registry;
    registry.put_rule(&root(), &rule).await.unwrap();
    let whole = content(15, 9_000);
    let digest = cluster
        .node(1)
        .push_image("v1", std::slice::from_ref(&whole))
        .await;
    cluster.start_outbox();
    eventually("the image is in the west", async || {
        cluster.node(2).tagged("v1").await == Some(digest)
    })
    .await;
    offered(&cluster).await;
    let there = cluster.node(3);
    assert!(manifest(there, "v1").await.is_err());
    assert!(manifest(there, &digest.to_string()).await.is_err());
    assert!(there.pull(&sha256(&whole)).await.is_err());
}

/// Lets node 1 have `wrong` bytes for a blob or a manifest, and believe in them.
async fn lie(cluster: &Cluster, digest: &Digest, wrong: &Bytes) {
    let east = cluster.node(1);
    let mut staging = east.store.stage(Hashing::Root).await.unwrap();
    staging.append(vec![wrong.clone()]).await.unwrap();
    let (size, root_of) = (staging.size(), staging.root());
    let expected = Expected::Root {
        digest: *digest,
        size,
        root: root_of,
    };
    staging.commit(expected).await.unwrap();
    let blob = Blob {
        digest: *digest,
        size,
        root: root_of,
        holders: vec![1],
        content: None,
    };
    let command = LinkBlob {
        create_repository: true,
        ..LinkBlob::new(&root().account, &app(), &blob, 1)
    };
    let east: GroupId = group(EAST);
    let linked = cluster.metadata.propose(&east, command.into()).await;
    linked.unwrap().into_result().unwrap();
}

#[tokio::test]
async fn a_source_that_lies_is_not_believed() {
    let cluster = two_regions(by_tag()).await;
    let (right, wrong) = (content(16, 3 * MIB), content(17, 3 * MIB));
    let digest = sha256(&right);
    lie(&cluster, &digest, &wrong).await;
    let manifest_of = image(&[(digest, right.len())]);
    cluster.node(1).put_manifest("v1", &manifest_of).await;
    for node in west(&cluster) {
        assert_eq!(manifest(node, "v1").await, Ok(sha256(&manifest_of)));
        // Never a whole.
        let pulled = node.pull(&digest).await;
        assert!(pulled.is_err(), "{} bytes", pulled.unwrap().len());
        assert_eq!(node.known(&digest), None);
        assert!(!node.holds(&digest).await);
    }
    eventually("nothing of it is left", async || {
        west(&cluster).all(|node| node.memory.staged() == 0)
    })
    .await;
    // A manifest that is not the one of its digest.
    let right = image(&[(digest, 7)]);
    let parsed = Manifest::parse(&manifest_of, None).unwrap();
    let digest = sha256(&right);
    let (account, repository) = (root().account, app());
    let put = PutManifest {
        tags: vec!["v2".to_owned()],
        ..PutManifest::new(&account, &repository, &digest, &parsed, manifest_of, 2)
    };
    let put = cluster.metadata.propose(&group(EAST), put.into()).await;
    put.unwrap().into_result().unwrap();
    for name in ["v2", &digest.to_string()] {
        let found = manifest(cluster.node(2), name).await;
        assert!(
            matches!(found, Err(ServiceError::Unavailable { .. })),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn a_line_that_breaks_is_gone_on_with() {
    let slow = SlowStore::pieces(std::time::Duration::from_millis(40));
    let plan = Plan::new(&[(EAST, 1), (WEST, 1)]).store(2, slow);
    let cluster = plan.start().await;
    rule(&cluster, by_tag()).await;
    let whole = content(18, 12 * MIB);
    cluster
        .node(1)
        .push_image("v1", std::slice::from_ref(&whole))
        .await;
    let (there, digest) = (cluster.node(2), sha256(&whole));
    let (who, repository) = (root(), app());
    let opened = there.registry.open_blob(&who, &repository, &digest, None);
    let (_, mut stream) = opened.await.unwrap();
    let first = futures::StreamExt::next(&mut stream)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first, whole.slice(..first.len()));
    cluster.network.set(1, Link::Cut);
    cluster.network.set(1, Link::Up);
    let rest = read(stream).await.unwrap();
    assert!([&first[..], &rest[..]].concat() == whole);
    let sent = cluster.node(1).blobs.metrics().offered_bytes.get();
    assert!(sent < whole.len() as u64 * 3 / 2, "{sent} bytes were sent");
}

#[tokio::test]
async fn a_push_here_wins_over_what_may_come() {
    let cluster = two_regions(by_tag()).await;
    cluster
        .node(1)
        .push_image("v1", &[content(19, 9_000)])
        .await;
    let there = cluster.node(2);
    let own = content(20, 9_000);
    let digest = there.push(&own).await;
    let content = image(&[(digest, own.len())]);
    let push = ManifestPush::new(&tag("v1"), content.clone());
    let put = there.registry.put_manifest(&root(), &app(), push).await;
    put.unwrap();
    for node in west(&cluster) {
        assert_eq!(manifest(node, "v1").await, Ok(sha256(&content)));
    }
}
