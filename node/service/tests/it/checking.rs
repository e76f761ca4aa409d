//! What a check finds on disks and among records, what collection would take, and what
//! the deletion of an image would free.

use std::sync::Arc;
use std::time::{Duration, Instant};

use entrepot_blobs::{BlobStore, Expected, Hashing};
use entrepot_oci::{Algorithm, Digest, Reference};
use entrepot_proto::peer::{CheckReply, FileFault};
use entrepot_service::{
    Collectable, Collector, CollectorMetrics, CollectorSettings, ImageDeletionRequest,
    PreviewCursor, RecordsCursor, ServiceError,
};

use crate::cluster::{Cluster, EAST, Node, Plan, app, root, tag};
use crate::content::{KIB, content, eventually, image, index, sha256, variant};
use crate::network::Link;

const DAY: Duration = Duration::from_hours(24);

/// Collection begins.
async fn begin(cluster: &Cluster) {
    for node in cluster.nodes() {
        let (registry, metrics) = (Arc::clone(&node.registry), CollectorMetrics::default());
        let collector = Collector::new(registry, metrics, CollectorSettings::default());
        assert!(!collector.round().await.has_failed);
    }
}

/// What is wrong with a node's files, by digest.
async fn faults(node: &Node, of: u64, repair: bool) -> Vec<(FileFault, String, bool)> {
    let (mut after, mut faults) = (String::new(), Vec::new());
    loop {
        let (who, silent) = (root(), Vec::new());
        let page = node.registry.check_files(&who, of, &after, repair, silent);
        let page = page.await;
        let CheckReply { findings, next, .. } = page.unwrap().expect("an answer");
        let found = findings.into_iter();
        faults.extend(found.map(|it| (it.fault(), it.digest, it.mended)));
        if next.is_empty() {
            return faults;
        }
        after = next;
    }
}

async fn plant(store: &dyn BlobStore, seed: u64) -> Digest {
    let bytes = content(seed, 300 * KIB);
    let digest = sha256(&bytes);
    let hashing = Hashing::Client(Algorithm::Sha256);
    let mut staging = store.stage(hashing).await.unwrap();
    staging.append(vec![bytes]).await.unwrap();
    staging.commit(Expected::Digest(digest)).await.unwrap();
    digest
}

async fn preview(node: &Node, older_than: Duration) -> (Collectable, Collectable) {
    let ms = u64::try_from(older_than.as_millis()).ok();
    let (mut after, mut as_of_ms) = (None::<PreviewCursor>, None);
    let (mut now, mut later) = (Collectable::default(), Collectable::default());
    loop {
        let page = node
            .registry
            .preview_collection(&root(), after, ms, as_of_ms)
            .await
            .unwrap();
        for (sum, part) in [(&mut now, page.now), (&mut later, page.later)] {
            sum.links += part.links;
            sum.blobs += part.blobs;
            sum.bytes += part.bytes;
            sum.file_bytes += part.file_bytes;
        }
        as_of_ms = Some(page.as_of_ms);
        after = page.next;
        if after.is_none() {
            return (now, later);
        }
    }
}

#[tokio::test]
async fn what_is_wrong_on_a_disk_is_found_and_mended_through_any_node() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await.with_account().await;
    begin(&cluster).await;
    let (one, bad) = (cluster.node(1), cluster.node(2));
    let kept = one.push(&content(1, 300 * KIB)).await;
    let lost = one.push(&content(2, 300 * KIB)).await;
    eventually("all copies are there", async || {
        cluster.holders(&kept).await.len() == 3 && cluster.holders(&lost).await.len() == 3
    })
    .await;
    assert_eq!(faults(one, 2, false).await, []);
    bad.store.delete(&lost).await.unwrap();
    let orphan = plant(bad.store.as_ref(), 3).await;
    let mut expected = [
        (FileFault::Missing, lost.to_string(), false),
        (FileFault::Orphan, orphan.to_string(), false),
    ];
    expected.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(faults(one, 2, false).await, expected);
    assert_eq!(faults(one, 1, false).await, []);

    let mended = faults(one, 2, true).await;
    assert_eq!(mended.len(), 2);
    assert!(mended.iter().all(|(_, _, mended)| *mended), "{mended:?}");
    assert!(bad.holds(&lost).await);
    // It is on its way out, and no finding any more.
    assert_eq!(faults(one, 2, false).await, []);
    let who = root();
    let nobody = one.registry.check_files(&who, 9, "", false, Vec::new());
    let nobody = nobody.await;
    assert!(matches!(nobody, Err(ServiceError::NotFound(_))));
}

#[tokio::test]
async fn a_node_that_hangs_is_told_of_within_seconds_and_not_asked_again() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await.with_account().await;
    begin(&cluster).await;
    let (one, bad) = (cluster.node(1), cluster.node(2));
    let mut lost = Vec::new();
    for seed in 0..40 {
        let digest = one.push(&content(seed, 300 * KIB)).await;
        eventually("all copies are there", async || {
            cluster.holders(&digest).await.len() == 3
        })
        .await;
        bad.store.delete(&digest).await.unwrap();
        lost.push(digest);
    }
    cluster.network.set(3, Link::Frozen);
    let ask = async |of: u64, silent: Vec<u64>| {
        let (start, who) = (Instant::now(), root());
        let page = one.registry.check_files(&who, of, "", false, silent);
        (page.await.unwrap(), start.elapsed())
    };
    let told = |page: &CheckReply| -> Vec<_> {
        let missing = page.findings.iter();
        let missing = missing.filter(|it| it.fault() == FileFault::Missing);
        missing.map(|it| (it.copies, it.copies_unknown)).collect()
    };
    let (page, took) = ask(2, Vec::new()).await;
    let page = page.expect("an answer");
    assert_eq!(told(&page), vec![(1, 1); lost.len()]);
    assert_eq!(page.silent, [3]);
    assert!(took < Duration::from_secs(12), "{took:?}");
    let (page, took) = ask(2, vec![3, 9]).await;
    let page = page.expect("an answer");
    assert_eq!(told(&page), vec![(1, 1); lost.len()]);
    assert_eq!(page.silent, [3]);
    // The second look takes three of them.
    assert!(took < Duration::from_secs(6), "{took:?}");
    let (page, took) = ask(3, Vec::new()).await;
    assert_eq!(page, None);
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test]
async fn records_that_hold_together_have_no_findings() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await.with_account().await;
    begin(&cluster).await;
    let node = cluster.node(1);
    node.push_image("v1", &[content(1, 300 * KIB), content(2, KIB)])
        .await;
    node.push(&content(3, 300 * KIB)).await;
    let (mut after, mut looked_at) = (None::<RecordsCursor>, (0, 0, 0));
    loop {
        let page = node.registry.check_records(&root(), after).await.unwrap();
        assert_eq!(page.findings, []);
        looked_at.0 += page.manifests;
        looked_at.1 += page.links;
        looked_at.2 += page.blobs;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(looked_at, (1, 3, 3));
}

#[tokio::test]
async fn what_is_told_to_be_collectable_is_what_is_collected() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await.with_account().await;
    begin(&cluster).await;
    let node = cluster.node(1);
    let named = content(1, 300 * KIB);
    node.push_image("v1", std::slice::from_ref(&named)).await;
    node.push(&content(2, 300 * KIB)).await;
    // So small that the metadata keeps it.
    node.push(&content(3, 100)).await;
    let (now, later) = preview(node, DAY).await;
    assert_eq!(
        (now, later.links, later.blobs),
        (Collectable::default(), 2, 2)
    );
    let (now, later) = preview(node, Duration::ZERO).await;
    assert_eq!(later, Collectable::default());
    let bytes = 300 * KIB as u64;
    let expected = Collectable {
        links: 2,
        blobs: 2,
        bytes: bytes + 100,
        file_bytes: bytes,
    };
    assert_eq!(now, expected);
    let who = root();
    let step = node.registry.collect_now(&who, Some(Duration::ZERO));
    let step = step.await.unwrap();
    assert_eq!((step.links, step.blobs, step.bytes), (2, 2, bytes + 100));
    assert!(!step.more);
    let step = node.registry.collect_now(&who, Some(Duration::ZERO));
    let step = step.await.unwrap();
    assert_eq!((step.links, step.blobs, step.more), (0, 0, false));
    assert!(node.known(&sha256(&named)).is_some());
    let standing = node.registry.collection_standing(&root()).await.unwrap();
    assert_eq!(standing.waiting.links, 0);
    assert_eq!(standing.nodes[0].files_pending, 1);
}

#[tokio::test]
async fn a_look_at_a_deletion_deletes_nothing_and_tells_what_goes() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await.with_account().await;
    begin(&cluster).await;
    let (node, who) = (cluster.node(1), root());
    let (own, shared) = (content(1, 300 * KIB), content(2, 200 * KIB));
    let digest = node.push_image("v1", &[own.clone(), shared.clone()]).await;
    node.put_manifest(
        "v2",
        &image(&[(sha256(&own), own.len()), (sha256(&shared), shared.len())]),
    )
    .await;
    let other = node
        .push_image("other", &[shared.clone(), content(3, KIB)])
        .await;
    let request = |reference: Reference, dry_run| ImageDeletionRequest {
        repository: app(),
        reference,
        with_children: false,
        dry_run,
    };
    // Another tag keeps it.
    let by_tag = request(tag("v1"), true);
    let by_tag = node.registry.remove_image(&who, &by_tag).await.unwrap();
    assert_eq!((by_tag.manifests.len(), by_tag.tags.len()), (0, 1));
    let by_digest = request(tag(&digest.to_string()), true);
    let told = node.registry.remove_image(&who, &by_digest).await.unwrap();
    assert_eq!((told.manifests.len(), told.tags.len()), (1, 2));
    // The other image names the shared one.
    assert_eq!((told.blobs, told.blob_bytes), (1, own.len() as u64));
    assert_eq!(told.unique_bytes, own.len() as u64);
    assert_eq!(node.tagged("v1").await, Some(digest));

    let by_digest = request(tag(&digest.to_string()), false);
    let gone = node.registry.remove_image(&who, &by_digest).await.unwrap();
    assert_eq!(gone.manifests, told.manifests);
    assert_eq!(node.tagged("v1").await, None);
    assert_eq!(node.tagged("other").await, Some(other));

    // The one that has gone still has the shared one, and is none that others count.
    let other = request(tag("other"), true);
    let told = node.registry.remove_image(&who, &other).await.unwrap();
    assert_eq!((told.blobs, told.blob_bytes), (2, 201 * KIB as u64));
    // A week in which it can be restored, and the day after.
    assert_eq!(told.unreferenced_after_ms, 8 * 24 * 60 * 60 * 1_000);
}

#[tokio::test]
async fn more_children_than_go_at_once_are_refused() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await.with_account().await;
    let (node, who) = (cluster.node(1), root());
    let layer = sha256(&content(1, KIB));
    node.push(&content(1, KIB)).await;
    let children: Vec<_> = (0..1_001).map(|n| variant((layer, KIB), n)).collect();
    for child in &children {
        node.put_manifest(&sha256(child).to_string(), child).await;
    }
    let digest = node.put_manifest("all", &index(&children)).await;
    let request = |with_children| ImageDeletionRequest {
        repository: app(),
        reference: tag("all"),
        with_children,
        dry_run: false,
    };
    let refused = node.registry.remove_image(&who, &request(true)).await;
    assert!(matches!(refused, Err(ServiceError::Invalid(_))));
    assert_eq!(node.tagged("all").await, Some(digest));
    let gone = node.registry.remove_image(&who, &request(false)).await;
    assert_eq!(gone.unwrap().children_left, 1_000);
}
