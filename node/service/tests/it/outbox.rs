//! Images on their way to other regions.

use std::time::{Duration, Instant};

use entrepot_metadata::Metadata;
use entrepot_metadata::command::PutManifest;
use entrepot_oci::{Digest, Manifest};
use entrepot_service::{RepositoryChange, TagCondition, Task, TaskState};

use crate::cluster::{Cluster, EAST, Node, Plan, SOUTH, WEST, app, group, root, tag};
use crate::content::{DEADLINE, MIB, content, eventually, image, index, sha256, variant};
use crate::network::Link;

/// Of a task, before what it waits for comes back.
const FAILURES: u64 = 3;

/// Two regions, all pushes to the first copied to the second, nobody at work
/// yet.
async fn two_regions(east: u64, west: u64) -> Cluster {
    let cluster = Plan::new(&[(EAST, east), (WEST, west)]).start().await;
    cluster.replicate(EAST, WEST).await;
    cluster
}

/// Waits until no task of the region is in progress, and returns them all.
async fn ended(cluster: &Cluster, region: &str) -> Vec<Task> {
    eventually("all tasks have ended", async || {
        let tasks = cluster.tasks(region).await;
        tasks.iter().all(|task| task.state != TaskState::InProgress)
    })
    .await;
    cluster.check(EAST);
    cluster.tasks(region).await
}

async fn complete(cluster: &Cluster, region: &str) {
    for task in ended(cluster, region).await {
        assert_eq!(task.state, TaskState::Complete, "{task:?}");
    }
}

async fn waiting(cluster: &Cluster, region: &str) -> usize {
    let tasks = cluster.tasks(region).await;
    let waits = |task: &&Task| task.state == TaskState::InProgress;
    tasks.iter().filter(waits).count()
}

fn blobs(seed: u64) -> [bytes::Bytes; 3] {
    [
        content(seed, 300),
        content(seed + 1, 3 * MIB),
        content(seed + 2, 100_000),
    ]
}

#[tokio::test]
async fn an_image_arrives_with_its_tag_and_goes_no_further() {
    let mut cluster = two_regions(3, 3).await;
    cluster.replicate(WEST, EAST).await;
    cluster.start_outbox();
    let blobs = blobs(1);
    let digest = cluster.node(1).push_image("v1", &blobs).await;
    complete(&cluster, EAST).await;
    for node in 4..=6 {
        let node = cluster.node(node);
        assert_eq!(node.tagged("v1").await, Some(digest));
        for content in &blobs {
            assert!(node.pull(&sha256(content)).await.unwrap() == *content);
        }
        let known = node.known(&sha256(&blobs[1])).unwrap();
        assert!(known.holders.iter().all(|holder| *holder > 3), "{known:?}");
        assert!(known.holders.len() >= 2);
    }
    assert_eq!(cluster.tasks(WEST).await, []);
    cluster.check(WEST);

    // The other way round, the same blobs: nothing but the manifest travels.
    let named: Vec<_> = blobs
        .iter()
        .map(|blob| (sha256(blob), blob.len()))
        .collect();
    let other = image(&named[..2]);
    let digest = cluster.node(4).put_manifest("v2", &other).await;
    complete(&cluster, WEST).await;
    assert_eq!(cluster.node(2).tagged("v2").await, Some(digest));
}

/// As large as indexes get that somebody really builds, and more.
#[tokio::test]
async fn an_index_of_more_than_a_thousand_manifests_arrives() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let node = cluster.node(1);
    let config = content(1, 10);
    node.push(&config).await;
    let platforms: Vec<_> = (0..1_001)
        .map(|number| variant((sha256(&config), 10), number))
        .collect();
    for manifest in &platforms {
        node.put_manifest(&sha256(manifest).to_string(), manifest)
            .await;
    }
    cluster.replicate(EAST, WEST).await;
    let whole = index(&platforms);
    cluster.node(1).put_manifest("all", &whole).await;
    cluster.start_outbox();
    complete(&cluster, EAST).await;
    assert_eq!(cluster.node(2).tagged("all").await, Some(sha256(&whole)));
}

#[tokio::test]
async fn an_index_arrives_after_all_that_it_names() {
    let mut cluster = Plan::new(&[(EAST, 2), (WEST, 1)]).start().await;
    let node = cluster.node(1);
    let mut platforms = Vec::new();
    for seed in [10, 20, 30] {
        let blobs = blobs(seed);
        let mut named = Vec::new();
        for content in &blobs {
            named.push((node.push(content).await, content.len()));
        }
        platforms.push(image(&named));
    }
    for manifest in &platforms {
        node.put_manifest(&sha256(manifest).to_string(), manifest)
            .await;
    }
    let inner = index(&platforms[..2]);
    node.put_manifest(&sha256(&inner).to_string(), &inner).await;
    // From here on: nothing but the whole has a task.
    cluster.replicate(EAST, WEST).await;
    let outer = index(&[inner.clone(), platforms[2].clone()]);
    node.put_manifest("all", &outer).await;
    cluster.start_outbox();
    complete(&cluster, EAST).await;
    let there = cluster.node(3);
    assert_eq!(there.tagged("all").await, Some(sha256(&outer)));
    for manifest in platforms.iter().chain([&inner, &outer]) {
        let digest = sha256(manifest).to_string();
        let found = there
            .registry
            .get_manifest(&root(), &app(), &tag(&digest))
            .await;
        assert_eq!(found.unwrap().content, *manifest);
    }
    assert!(there.pull(&sha256(&blobs(30)[1])).await.is_ok());
    cluster.check(WEST);
}

#[tokio::test]
async fn a_sparse_index_arrives_with_what_there_is_of_it() {
    let mut cluster = two_regions(2, 1).await;
    let node = cluster.node(1);
    let config = node.push(&content(1, 100)).await;
    let [present, late, absent] = [1, 2, 3].map(|number| variant((config, 100), number));
    let put = async |node: &Node, manifest: &bytes::Bytes| {
        node.put_manifest(&sha256(manifest).to_string(), manifest)
            .await
    };
    put(node, &present).await;
    let change = RepositoryChange {
        sparse_indexes: Some(true),
        ..RepositoryChange::default()
    };
    node.registry
        .put_repository_settings(&root(), &app(), change)
        .await
        .unwrap();
    // One inside the other, so that both are sparse.
    let inner = index(&[present.clone(), absent.clone()]);
    put(node, &inner).await;
    let outer = index(&[inner.clone(), late.clone(), absent.clone()]);
    node.put_manifest("all", &outer).await;
    cluster.start_outbox();
    complete(&cluster, EAST).await;
    let there = cluster.node(3);
    let has = async |manifest: &bytes::Bytes| {
        let reference = tag(&sha256(manifest).to_string());
        let (who, app) = (root(), app());
        let found = there.registry.get_manifest(&who, &app, &reference).await;
        found.is_ok_and(|found| found.content == *manifest)
    };
    assert_eq!(there.tagged("all").await, Some(sha256(&outer)));
    assert!(has(&present).await && has(&inner).await);
    assert!(!has(&late).await && !has(&absent).await);

    // What comes later follows, by itself and with the index.
    put(cluster.node(2), &late).await;
    cluster.node(2).put_manifest("again", &outer).await;
    complete(&cluster, EAST).await;
    assert!(has(&late).await && !has(&absent).await);
    assert_eq!(there.tagged("again").await, Some(sha256(&outer)));
    cluster.check(WEST);
}

#[tokio::test]
async fn what_waited_for_a_region_that_was_down_arrives() {
    for pings in [false, true] {
        let mut cluster = two_regions(3, 2).await;
        for node in [4, 5] {
            cluster.network.set(node, Link::Cut);
        }
        if pings {
            cluster.start_health();
        }
        cluster.start_outbox();
        let mut pushed = Vec::new();
        for seed in 0..4 {
            let name = format!("v{seed}");
            let digest = cluster.node(1).push_image(&name, &blobs(seed * 10)).await;
            pushed.push((name, digest));
        }
        eventually("each has failed a few times", async || {
            cluster.network.refused() >= 4 * FAILURES
        })
        .await;
        assert_eq!(waiting(&cluster, EAST).await, 4);
        for node in [4, 5] {
            cluster.network.set(node, Link::Up);
        }
        complete(&cluster, EAST).await;
        for (name, digest) in pushed {
            assert_eq!(cluster.node(5).tagged(&name).await, Some(digest));
        }
    }
}

#[tokio::test]
async fn a_region_that_is_down_holds_up_nobody_else() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1), (SOUTH, 1)]).start().await;
    cluster.replicate(EAST, WEST).await;
    cluster.replicate(EAST, SOUTH).await;
    // It takes connections and never answers.
    cluster.network.set(3, Link::Frozen);
    cluster.start_outbox();
    for seed in 0..20 {
        let name = format!("v{seed}");
        cluster
            .node(1)
            .push_image(&name, &[content(seed, 10)])
            .await;
    }
    let arrived = eventually("the other region has everything", async || {
        cluster.node(2).tagged("v19").await.is_some() && waiting(&cluster, EAST).await == 20
    });
    tokio::time::timeout(Duration::from_secs(4), arrived)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_push_travels_at_once() {
    let mut cluster = two_regions(2, 1).await;
    cluster.start_outbox();
    let start = Instant::now();
    for seed in 0..12 {
        let name = format!("v{seed}");
        cluster
            .node(1)
            .push_image(&name, &[content(seed, 10)])
            .await;
        complete(&cluster, EAST).await;
    }
    // Not with the next sweep, a second later.
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn the_newest_push_of_a_tag_wins() {
    let mut cluster = two_regions(3, 1).await;
    cluster.start_outbox();
    let mut last = None;
    for seed in 0..30 {
        let blob = content(seed, usize::try_from(30 - seed).unwrap() * 20_000);
        last = Some(
            cluster
                .node(seed % 3 + 1)
                .push_image("latest", &[blob])
                .await,
        );
    }
    complete(&cluster, EAST).await;
    assert_eq!(cluster.node(4).tagged("latest").await, last);
    // Of all of them, each is there.
    assert_eq!(cluster.tasks(EAST).await.len(), 30);
    let images = cluster
        .node(4)
        .registry
        .list_images(&root(), &app(), None, None)
        .await;
    assert_eq!(images.unwrap().images.len(), 30);
}

#[tokio::test]
async fn what_can_never_be_copied_fails_with_a_reason() {
    let mut cluster = two_regions(1, 1).await;
    let config = content(1, 10);
    cluster.node(1).push_image("good", &[config]).await;
    // Content that no node would have taken, as of a release with other rules.
    let nonsense = bytes::Bytes::from_static(b"nonsense");
    let manifest = Manifest::parse(&image(&[(sha256(b"config"), 6)]), None).unwrap();
    let push = PutManifest {
        tags: vec!["bad".to_owned()],
        blobs: Vec::new(),
        ..PutManifest::new(
            &root().account,
            &app(),
            &sha256(&nonsense),
            &manifest,
            nonsense,
            1,
        )
    };
    let pushed = cluster.metadata.propose(&group(EAST), push.into()).await;
    pushed.unwrap().into_result().unwrap();
    cluster.start_outbox();
    let mut tasks = ended(&cluster, EAST).await;
    tasks.retain(|task| task.state != TaskState::Complete);
    let [failed] = &tasks[..] else {
        panic!("{tasks:?}")
    };
    assert_eq!(failed.state, TaskState::Failed);
    assert_eq!(failed.key.tag, Some("bad".parse().unwrap()));
    let reason = failed.reason.as_deref().unwrap_or_default();
    // The other region's words.
    assert!(reason.contains("line 1 column"), "{reason}");
    assert!(cluster.node(2).tagged("good").await.is_some());
    assert_eq!(cluster.node(2).tagged("bad").await, None);
}

#[tokio::test]
async fn an_image_that_was_deleted_meanwhile_is_not_copied() {
    let mut cluster = two_regions(2, 1).await;
    cluster.network.set(3, Link::Cut);
    cluster.start_outbox();
    let gone = cluster.node(1).push_image("gone", &blobs(1)).await;
    let kept = cluster.node(1).push_image("kept", &blobs(4)).await;
    let reference = tag(&gone.to_string());
    let registry = &cluster.node(2).registry;
    registry
        .delete_manifest(&root(), &app(), &reference, TagCondition::None)
        .await
        .unwrap();
    cluster.network.set(3, Link::Up);
    complete(&cluster, EAST).await;
    assert_eq!(cluster.tasks(EAST).await.len(), 1);
    assert_eq!(cluster.node(3).tagged("kept").await, Some(kept));
    assert_eq!(cluster.node(3).tagged("gone").await, None);
}

#[tokio::test]
async fn two_nodes_may_do_the_same_task() {
    let mut cluster = two_regions(2, 2).await;
    let mut pushed = Vec::new();
    for seed in 0..6 {
        let name = format!("v{seed}");
        let digest = cluster.node(1).push_image(&name, &blobs(seed * 10)).await;
        pushed.push((name, digest));
    }
    // Each thinks that it is the only one left.
    cluster.network.set_between(1, 2, Link::Cut);
    cluster.start_health();
    eventually("they have lost each other", async || {
        !cluster.node(1).health.is_alive(2) && !cluster.node(2).health.is_alive(1)
    })
    .await;
    cluster.start_outbox();
    complete(&cluster, EAST).await;
    for (name, digest) in pushed {
        assert_eq!(cluster.node(4).tagged(&name).await, Some(digest));
    }
    cluster.check(WEST);
}

#[tokio::test]
async fn the_tasks_of_a_node_that_dies_are_done_by_another() {
    let mut cluster = two_regions(3, 1).await;
    let mut pushed = Vec::new();
    for seed in 0..9 {
        let name = format!("v{seed}");
        pushed.push(
            cluster
                .node(1)
                .push_image(&name, &[content(seed, 1000)])
                .await,
        );
    }
    let first = |digest: &Digest| {
        entrepot_replication::placement::first(digest.to_string().as_bytes(), 1..=3)
    };
    assert!(pushed.iter().any(|digest| first(digest) == Some(3)));
    cluster.network.set(3, Link::Cut);
    cluster.start_health();
    cluster.start_outbox();
    complete(&cluster, EAST).await;
    assert!(cluster.node(4).tagged("v8").await.is_some());
}

#[tokio::test]
async fn a_destination_node_that_cannot_is_passed_over() {
    let mut cluster = two_regions(1, 3).await;
    let digest = cluster.node(1).push_image("v1", &blobs(1)).await;
    let first = entrepot_replication::placement::first(digest.to_string().as_bytes(), 2..=4);
    let first = first.unwrap();
    cluster.node(first).memory.set_capacity_bytes(MIB as u64);
    cluster.start_outbox();
    complete(&cluster, EAST).await;
    let other = cluster.nodes().find(|node| node.id > 1 && node.id != first);
    assert_eq!(other.unwrap().tagged("v1").await, Some(digest));
}

#[tokio::test]
async fn a_damaged_copy_at_the_source_is_replaced_and_never_travels() {
    let mut cluster = Plan::new(&[(EAST, 2), (WEST, 1)]).start().await;
    let blobs = blobs(1);
    let mut named = Vec::new();
    for content in &blobs {
        named.push((cluster.node(1).push(content).await, content.len()));
    }
    // With a rule, they would have been on their way before anything is damaged.
    cluster.replicate(EAST, WEST).await;
    let digest = cluster.node(1).put_manifest("v1", &image(&named)).await;
    let large = sha256(&blobs[1]);
    let worker = entrepot_replication::placement::first(digest.to_string().as_bytes(), 1..=2);
    let worker = cluster.node(worker.unwrap());
    eventually("both have a copy", async || {
        cluster.holders(&large).await.len() == 2
    })
    .await;
    assert!(worker.memory.damage(&large, 1_000_000));
    let worker = worker.id;
    cluster.start_outbox();
    complete(&cluster, EAST).await;
    assert!(cluster.node(3).pull(&large).await.unwrap() == blobs[1]);
    assert!(cluster.node(worker).pull(&large).await.unwrap() == blobs[1]);
}

#[tokio::test]
async fn a_worker_without_a_copy_gets_the_bytes_from_its_region() {
    let mut cluster = Plan::new(&[(EAST, 3), (WEST, 1)]).copies(1).start().await;
    cluster.replicate(EAST, WEST).await;
    let blobs = blobs(1);
    let digest = cluster.node(1).push_image("v1", &blobs).await;
    let worker = entrepot_replication::placement::first(digest.to_string().as_bytes(), 1..=3);
    let elsewhere = worker.unwrap() % 3 + 1;
    for content in &blobs {
        for node in 1..=3 {
            cluster
                .node(node)
                .store
                .delete(&sha256(content))
                .await
                .unwrap();
        }
        cluster.node(elsewhere).push(content).await;
    }
    cluster.start_outbox();
    complete(&cluster, EAST).await;
    assert!(cluster.node(4).pull(&sha256(&blobs[1])).await.unwrap() == blobs[1]);
}

#[tokio::test]
async fn the_destinations_metadata_may_be_away_for_a_while() {
    let mut cluster = two_regions(2, 1).await;
    let west = crate::cluster::group(WEST);
    cluster.metadata.set_available(&west, false);
    cluster.start_outbox();
    let digest = cluster.node(1).push_image("v1", &blobs(1)).await;
    eventually("it has failed a few times", async || {
        cluster.metadata.refused(&west) >= FAILURES
    })
    .await;
    assert_eq!(waiting(&cluster, EAST).await, 1);
    cluster.metadata.set_available(&west, true);
    complete(&cluster, EAST).await;
    assert_eq!(cluster.node(3).tagged("v1").await, Some(digest));
}

#[tokio::test]
async fn many_tasks_drain() {
    let mut cluster = two_regions(2, 2).await;
    let config = content(1, 10);
    let pushed = cluster.node(1).push(&config).await;
    for number in 0..600 {
        let manifest = variant((pushed, 10), number);
        cluster
            .node(1)
            .put_manifest(&format!("v{number}"), &manifest)
            .await;
    }
    cluster.start_outbox();
    tokio::time::timeout(DEADLINE, complete(&cluster, EAST))
        .await
        .unwrap();
    let tags = cluster
        .node(3)
        .registry
        .list_tags(&root(), &app(), None, 1000)
        .await;
    assert_eq!(tags.unwrap().tags.len(), 600);
}
