//! Blobs that nothing refers to go, with their files, and come back when they are
//! pushed again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_blobs::{BlobStore, Expected, Hashing, MemoryStore};
use entrepot_metadata::command::{Command, MountBlob};
use entrepot_metadata::response::Response;
use entrepot_metadata::{GroupId, KeyValue, LocalMetadata, Metadata, MetadataError};
use entrepot_oci::{Algorithm, Digest};
use entrepot_proto::environment::Clock;
use entrepot_replication::collection::{Orphans, RemovalMetrics, Removals};
use entrepot_service::{Collector, CollectorMetrics, CollectorSettings, TagCondition};

use crate::cluster::{Cluster, EAST, Node, Plan, app, clock, group, root, tag};
use crate::content::{KIB, MIB, content, eventually, sha256};
use crate::slow::SlowStore;

/// A machine whose clock was never set.
#[derive(Debug)]
struct DaysBehind;

impl Clock for DaysBehind {
    fn now_ms(&self) -> i64 {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        clock().now_ms() - 3 * DAY_MS
    }
}

/// Metadata in which no link can be collected.
#[derive(Debug)]
struct NoLinks(Arc<LocalMetadata>);

#[async_trait]
impl Metadata for NoLinks {
    async fn propose(&self, group: &GroupId, command: Command) -> Result<Response, MetadataError> {
        if matches!(command, Command::CollectLinks(_)) {
            return Err(MetadataError::Unavailable {
                group: group.clone(),
                reason: "it is a test".to_owned(),
            });
        }
        self.0.propose(group, command).await
    }

    async fn linearize(&self, group: &GroupId) -> Result<(), MetadataError> {
        self.0.linearize(group).await
    }

    fn view(&self, group: &GroupId) -> Result<Arc<dyn KeyValue>, MetadataError> {
        self.0.view(group)
    }

    fn understands(&self, level: u32) -> Result<bool, MetadataError> {
        self.0.understands(level)
    }

    fn understands_or_unknown(&self, level: u32) -> Result<Option<bool>, MetadataError> {
        self.0.understands_or_unknown(level)
    }

    fn applied(&self, group: &GroupId) -> Result<u64, MetadataError> {
        self.0.applied(group)
    }

    async fn applied_after(&self, group: &GroupId, after: u64) -> Result<u64, MetadataError> {
        self.0.applied_after(group, after).await
    }
}

/// Has everything go that nothing refers to.
async fn collect(cluster: &Cluster) {
    collect_after(cluster, Duration::ZERO).await;
}

/// Has everything go that nothing has referred to for so long.
async fn collect_after(cluster: &Cluster, unreferenced_after: Duration) {
    let settings = CollectorSettings {
        unreferenced_after,
        ..CollectorSettings::default()
    };
    // Links first, then blobs.
    for _ in 0..2 {
        for node in cluster.nodes() {
            let registry = Arc::clone(&node.registry);
            let collector = Collector::new(registry, CollectorMetrics::default(), settings);
            assert!(!collector.round().await.has_failed);
        }
    }
    for node in cluster.nodes() {
        removals(node).batch().await.unwrap();
    }
}

fn removals(node: &Node) -> Removals {
    let (blobs, metadata) = (&node.blobs, &node.metadata);
    Removals::new(
        Arc::clone(blobs),
        Arc::clone(metadata),
        RemovalMetrics::default(),
    )
}

#[tokio::test]
async fn an_unnamed_blob_goes_everywhere_and_may_come_back() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let (bytes, who, app) = (content(1, MIB), root(), app());
    for _ in 0..3 {
        let digest = cluster.node(1).push(&bytes).await;
        // One that comes later goes as an orphan.
        eventually("all copies are there", async || {
            cluster.holders(&digest).await.len() == 3
        })
        .await;
        let known = cluster.node(2).registry.stat_blob(&who, &app, &digest);
        known.await.unwrap();
        collect(&cluster).await;
        assert_eq!(cluster.holders(&digest).await, [0_u64; 0]);
        let known = cluster.node(2).registry.stat_blob(&who, &app, &digest);
        known.await.unwrap_err();
    }
}

/// A client that is told that a blob is there does not send it.
#[tokio::test]
async fn who_asks_before_a_push_finds_the_blob_when_its_manifest_comes() {
    const TWO_HOURS_MS: i64 = 2 * 60 * 60 * 1_000;
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let (who, app) = (root(), app());
    let node = cluster.node(1);
    let digest = node.push(&content(2, MIB)).await;
    let [asked, forgotten] = ["asked", "forgotten"].map(|name| name.parse().unwrap());
    // Collection begins.
    collect_after(&cluster, Duration::from_hours(1)).await;
    let east = group(EAST);
    let long_ago_ms = clock().now_ms() - TWO_HOURS_MS;
    for repository in [&asked, &forgotten] {
        let mount = MountBlob {
            create_repository: true,
            ..MountBlob::new(&who.account, &app, repository, &digest, long_ago_ms)
        };
        let mounted = node.metadata.propose(&east, mount.into()).await;
        mounted.unwrap().into_result().unwrap();
    }
    let found = cluster.node(2).registry.stat_blob(&who, &asked, &digest);
    assert_eq!(found.await.unwrap().size, MIB as u64);

    collect_after(&cluster, Duration::from_hours(1)).await;

    let found = node.registry.stat_blob(&who, &asked, &digest);
    found.await.unwrap();
    let found = node.registry.stat_blob(&who, &forgotten, &digest);
    found.await.unwrap_err();
}

fn orphans(node: &Node, patience: Duration) -> Orphans {
    let (blobs, metadata) = (Arc::clone(&node.blobs), Arc::clone(&node.metadata));
    Orphans::new(blobs, metadata, clock()).after(patience)
}

/// A file that nobody was told of.
async fn plant(store: &dyn BlobStore, bytes: &Bytes) -> Digest {
    let digest = sha256(bytes);
    let mut staging = store
        .stage(Hashing::Client(Algorithm::Sha256))
        .await
        .unwrap();
    staging.append(vec![bytes.clone()]).await.unwrap();
    staging.commit(Expected::Digest(digest)).await.unwrap();
    digest
}

#[tokio::test]
async fn files_that_nobody_knows_go_after_a_while_and_no_others() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let node = cluster.node(1);
    let known = node.push(&content(1, 300 * KIB)).await;
    let unknown = plant(node.store.as_ref(), &content(2, 300 * KIB)).await;
    let mut at_once = orphans(node, Duration::ZERO);
    assert_eq!(at_once.look().await.unwrap(), 0, "collection has not begun");

    collect_after(&cluster, Duration::from_hours(1)).await;
    let mut later = orphans(node, Duration::from_hours(1));
    assert_eq!(later.look().await.unwrap(), 0);
    assert_eq!(at_once.look().await.unwrap(), 1);
    assert_eq!(at_once.look().await.unwrap(), 0, "it is on its way out");
    removals(node).batch().await.unwrap();
    assert!(!node.holds(&unknown).await);
    assert!(node.holds(&known).await);

    // One that is pushed before its time is up is known then.
    let pushed = content(3, 300 * KIB);
    let digest = plant(node.store.as_ref(), &pushed).await;
    assert_eq!(later.look().await.unwrap(), 0);
    node.push(&pushed).await;
    assert_eq!(at_once.look().await.unwrap(), 0);
    assert!(node.holds(&digest).await);
}

#[tokio::test]
async fn a_link_has_its_time_whatever_the_machines_clock_says() {
    let plan = Plan::new(&[(EAST, 1)]).own_clock(DaysBehind);
    let cluster = plan.start().await;
    let (node, day) = (cluster.node(1), Duration::from_hours(24));
    collect_after(&cluster, day).await;
    let named = content(1, 300 * KIB);
    let unnamed = node.push(&content(2, 300 * KIB)).await;
    let image = node.push_image("v1", std::slice::from_ref(&named)).await;
    collect_after(&cluster, day).await;
    assert!(node.known(&unnamed).is_some());

    let (who, app, named_by) = (root(), app(), tag(&image.to_string()));
    let deleted = node
        .registry
        .delete_manifest(&who, &app, &named_by, TagCondition::None);
    deleted.await.unwrap();
    // Until then it can be restored, and holds its blobs.
    node.registry.purge_image(&who, &app, &image).await.unwrap();
    collect_after(&cluster, day).await;
    assert!(node.known(&sha256(&named)).is_some());
    collect(&cluster).await;
    assert!(node.known(&sha256(&named)).is_none());
    assert!(node.known(&unnamed).is_none());
}

#[tokio::test]
async fn a_step_that_fails_keeps_none_of_the_others() {
    let plan = Plan::new(&[(EAST, 1)]).view(1, |metadata| Arc::new(NoLinks(metadata)));
    let cluster = plan.start().await;
    let node = cluster.node(1);
    let settings = CollectorSettings {
        unreferenced_after: Duration::ZERO,
        ..CollectorSettings::default()
    };
    let metrics = CollectorMetrics::default();
    let collector = Collector::new(Arc::clone(&node.registry), metrics.clone(), settings);
    assert!(!collector.round().await.has_failed);
    let (who, app) = (root(), app());
    let taken_out = node.push(&content(1, 300 * KIB)).await;
    let unnamed = node.push(&content(2, 300 * KIB)).await;
    let deleted = node.registry.delete_blob(&who, &app, &taken_out).await;
    deleted.unwrap();
    let round = collector.round().await;
    assert!(round.has_failed);
    assert_eq!(metrics.failures.get(), 1);
    assert!(node.known(&taken_out).is_none());
    assert!(node.known(&unnamed).is_some());
}

#[tokio::test]
async fn a_deletion_that_nobody_waits_for_takes_no_file_that_comes_after_it() {
    let (store, gate) = SlowStore::deletes(MemoryStore::new());
    let cluster = Plan::new(&[(EAST, 1)]).store(1, store).start().await;
    let (node, bytes) = (cluster.node(1), content(1, 300 * KIB));
    let digest = node.push(&bytes).await;
    let who = root();
    collect_after(&cluster, Duration::from_hours(1)).await;
    let deleted = node.registry.delete_blob(&who, &app(), &digest).await;
    deleted.unwrap();
    let settings = CollectorSettings::default();
    let registry = Arc::clone(&node.registry);
    let collector = Collector::new(registry, CollectorMetrics::default(), settings);
    assert!(!collector.round().await.has_failed);

    let removals = removals(node);
    let batch = tokio::spawn(async move { removals.batch().await });
    gate.reached().await;
    batch.abort();
    assert!(batch.await.unwrap_err().is_cancelled());
    let push = async {
        // It waits for the deletion, or would have its file deleted.
        let pushed = tokio::time::timeout(Duration::from_millis(200), node.push(&bytes)).await;
        gate.open();
        match pushed {
            Ok(digest) => digest,
            Err(_) => node.push(&bytes).await,
        }
    };
    let digest = push.await;
    gate.passed().await;
    assert!(node.holds(&digest).await);
}
