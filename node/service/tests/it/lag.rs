//! A node whose copy of the metadata lags behind: what it may say, and what it
//! may not say before it has looked again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_metadata::command::Command;
use entrepot_metadata::response::Response;
use entrepot_metadata::{GroupId, KeyValue, LocalMetadata, Metadata, MetadataError};
use entrepot_oci::{Digest, Reference};
use entrepot_service::{ServiceError, TagCondition};

use crate::cluster::{Cluster, EAST, Plan, app, group, root, tag};
use crate::content::{content, is_unavailable, sha256, variant};

/// Shows what was there when it was last made to catch up.
#[derive(Debug)]
struct Lagging {
    inner: Arc<LocalMetadata>,
    shown: RwLock<Arc<dyn KeyValue>>,
    looks: AtomicU64,
}

impl Lagging {
    fn new(inner: Arc<LocalMetadata>) -> Arc<Self> {
        let shown = state(&inner);
        Arc::new(Self {
            inner,
            shown: RwLock::new(shown),
            looks: AtomicU64::new(0),
        })
    }

    fn catch_up(&self) {
        *self.shown.write().unwrap() = state(&self.inner);
    }
}

fn state(metadata: &LocalMetadata) -> Arc<dyn KeyValue> {
    Arc::new(metadata.state(&group(EAST)).unwrap())
}

#[async_trait]
impl Metadata for Lagging {
    async fn propose(&self, group: &GroupId, command: Command) -> Result<Response, MetadataError> {
        let response = self.inner.propose(group, command).await?;
        self.catch_up();
        Ok(response)
    }

    async fn linearize(&self, group: &GroupId) -> Result<(), MetadataError> {
        self.inner.linearize(group).await?;
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.catch_up();
        Ok(())
    }

    fn view(&self, _: &GroupId) -> Result<Arc<dyn KeyValue>, MetadataError> {
        Ok(Arc::clone(&*self.shown.read().unwrap()))
    }

    fn understands(&self, level: u32) -> Result<bool, MetadataError> {
        self.inner.understands(level)
    }

    fn understands_or_unknown(&self, level: u32) -> Result<Option<bool>, MetadataError> {
        self.inner.understands_or_unknown(level)
    }

    fn applied(&self, group: &GroupId) -> Result<u64, MetadataError> {
        self.inner.applied(group)
    }

    async fn applied_after(&self, group: &GroupId, after: u64) -> Result<u64, MetadataError> {
        self.inner.applied_after(group, after).await
    }
}

/// Node 2 lags behind node 1.
pub(crate) struct Behind {
    pub(crate) cluster: Cluster,
    lagging: Arc<Lagging>,
}

impl Behind {
    pub(crate) async fn new() -> Self {
        let mut kept = None;
        let plan = Plan::new(&[(EAST, 2)]).view(2, |metadata| {
            let lagging = Lagging::new(metadata);
            kept = Some(Arc::clone(&lagging));
            lagging
        });
        Self {
            cluster: plan.start().await,
            lagging: kept.unwrap(),
        }
    }

    fn looks(&self) -> u64 {
        self.lagging.looks.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn what_was_acknowledged_elsewhere_is_found_here_at_once() {
    let behind = Behind::new().await;
    let there = behind.cluster.node(1);
    let here = behind.cluster.node(2);
    let blob = content(1, 100);
    let digest = there.push(&blob).await;
    assert_eq!(here.pull(&digest).await.unwrap(), blob);
    let manifest = there.push_image("v1", &[blob]).await;
    assert_eq!(here.tagged("v1").await, Some(manifest));
    let digest = there.push_image("v2", &[content(2, 100)]).await;
    let reference = Reference::Digest(digest);
    here.registry
        .get_manifest(&root(), &app(), &reference)
        .await
        .unwrap();
    there.push_image("v3", &[content(3, 100)]).await;
    let tags = here
        .registry
        .list_tags(&root(), &app(), None, 10)
        .await
        .unwrap();
    assert_eq!(tags.tags.len(), 3);
    let subject = sha256(b"subject");
    let referrers = async || {
        here.registry
            .list_referrers(&root(), &app(), &subject, &[], None, 10)
            .await
            .unwrap()
            .referrers
    };
    assert_eq!(referrers().await, []);
    let digest = there.push(&content(4, 100)).await;
    let referrer = there.put_manifest("v4", &referring(digest, subject)).await;
    assert_eq!(referrers().await[0].digest, referrer);
}

/// An image of a config of 100 bytes, with a subject.
fn referring(config: Digest, subject: Digest) -> Bytes {
    let image = variant((config, 100), 1);
    let text = std::str::from_utf8(&image).unwrap();
    let kind = entrepot_oci::media_type::OCI_MANIFEST;
    let field = format!(r#""subject":{{"mediaType":"{kind}","digest":"{subject}","size":7}}"#);
    text.replacen(r#""layers""#, &format!(r#"{field},"layers""#), 1)
        .into()
}

#[tokio::test]
async fn a_tag_is_never_read_from_the_past_and_content_may_be() {
    let behind = Behind::new().await;
    let there = behind.cluster.node(1);
    let here = behind.cluster.node(2);
    let config = there.push(&content(1, 100)).await;
    let old = there
        .put_manifest("latest", &variant((config, 100), 1))
        .await;
    assert_eq!(here.tagged("latest").await, Some(old));
    let new = there
        .put_manifest("latest", &variant((config, 100), 2))
        .await;
    let looks = behind.looks();
    assert_eq!(here.tagged("latest").await, Some(new));
    assert_eq!(behind.looks(), looks + 1);
    // By digest, no other node is asked.
    here.registry
        .get_manifest(&root(), &app(), &Reference::Digest(old))
        .await
        .unwrap();
    here.registry
        .stat_blob(&root(), &app(), &config)
        .await
        .unwrap();
    assert_eq!(behind.looks(), looks + 1);
}

#[tokio::test]
async fn nothing_is_called_absent_without_a_quorum() {
    let behind = Behind::new().await;
    let there = behind.cluster.node(1);
    let registry = &behind.cluster.node(2).registry;
    let digest = there.push_image("v1", &[content(1, 100)]).await;
    behind.cluster.metadata.set_available(&group(EAST), false);
    let (who, app) = (root(), app());
    let blob = sha256(&content(1, 100));
    assert!(is_unavailable(&registry.stat_blob(&who, &app, &blob).await));
    assert!(is_unavailable(
        &registry.open_blob(&who, &app, &blob, None).await.map(drop)
    ));
    for reference in [tag("v1"), Reference::Digest(digest)] {
        assert!(is_unavailable(
            &registry.get_manifest(&who, &app, &reference).await
        ));
        assert!(is_unavailable(
            &registry
                .delete_manifest(&who, &app, &reference, TagCondition::None)
                .await
        ));
    }
    assert!(is_unavailable(
        &registry.list_tags(&who, &app, None, 10).await
    ));
    assert!(is_unavailable(
        &registry
            .list_referrers(&who, &app, &digest, &[], None, 10)
            .await
    ));
    assert!(is_unavailable(
        &registry.list_repositories(&who, None, None).await.map(drop)
    ));
    assert!(is_unavailable(
        &registry.delete_blob(&who, &app, &blob).await
    ));
    behind.cluster.metadata.set_available(&group(EAST), true);
    let unknown = sha256(b"unknown");
    let stat = registry.stat_blob(&who, &app, &unknown).await;
    assert_eq!(stat, Err(ServiceError::BlobUnknown(unknown)));
}
