//! A cluster whose nodes have not told yet what they understand: nothing is deleted
//! for good because of that.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use entrepot_metadata::command::Command;
use entrepot_metadata::response::Response;
use entrepot_metadata::{GroupId, KeyValue, LocalMetadata, Metadata, MetadataError};
use entrepot_oci::{Digest, Reference};
use entrepot_service::{ServiceError, TagCondition};

use crate::cluster::{Cluster, EAST, Plan, app, root};
use crate::content::{content, is_unavailable};

/// Says of every level what the nodes are to have told.
#[derive(Debug)]
struct Young {
    inner: Arc<LocalMetadata>,
    told: Mutex<Option<bool>>,
}

impl Young {
    fn tell(&self, told: Option<bool>) {
        *self.told.lock().unwrap() = told;
    }
}

#[async_trait]
impl Metadata for Young {
    async fn propose(&self, group: &GroupId, command: Command) -> Result<Response, MetadataError> {
        self.inner.propose(group, command).await
    }

    async fn linearize(&self, group: &GroupId) -> Result<(), MetadataError> {
        self.inner.linearize(group).await
    }

    fn view(&self, group: &GroupId) -> Result<Arc<dyn KeyValue>, MetadataError> {
        self.inner.view(group)
    }

    fn understands(&self, _: u32) -> Result<bool, MetadataError> {
        Ok(*self.told.lock().unwrap() == Some(true))
    }

    fn understands_or_unknown(&self, _: u32) -> Result<Option<bool>, MetadataError> {
        Ok(*self.told.lock().unwrap())
    }

    fn applied(&self, group: &GroupId) -> Result<u64, MetadataError> {
        self.inner.applied(group)
    }

    async fn applied_after(&self, group: &GroupId, after: u64) -> Result<u64, MetadataError> {
        self.inner.applied_after(group, after).await
    }
}

/// With an image.
async fn cluster() -> (Cluster, Arc<Young>, Digest) {
    let mut kept = None;
    let plan = Plan::new(&[(EAST, 1)]).view(1, |metadata| {
        let told = Mutex::new(Some(true));
        let inner = metadata;
        let young = Arc::new(Young { inner, told });
        kept = Some(Arc::clone(&young));
        young
    });
    let cluster = plan.start().await;
    let image = cluster.node(1).push_image("v1", &[content(1, 100)]).await;
    (cluster, kept.unwrap(), image)
}

async fn delete(cluster: &Cluster, image: Digest) -> Result<(), ServiceError> {
    let (who, app, reference) = (root(), app(), Reference::Digest(image));
    let registry = &cluster.node(1).registry;
    let deleted = registry.delete_manifest(&who, &app, &reference, TagCondition::None);
    deleted.await
}

async fn kept(cluster: &Cluster) -> usize {
    let registry = &cluster.node(1).registry;
    let page = registry.deleted_images(&root(), &app(), None, None).await;
    page.unwrap().images.len()
}

#[tokio::test]
async fn a_deletion_waits_until_all_have_told_and_keeps_the_image() {
    let (cluster, young, image) = cluster().await;
    young.tell(None);
    let telling = async {
        tokio::time::sleep(Duration::from_millis(120)).await;
        young.tell(Some(true));
    };
    let (deleted, ()) = tokio::join!(delete(&cluster, image), telling);
    deleted.unwrap();
    assert_eq!(
        (cluster.node(1).tagged("v1").await, kept(&cluster).await),
        (None, 1)
    );
}

#[tokio::test]
async fn one_that_nobody_tells_is_refused_and_leaves_the_image() {
    let (cluster, young, image) = cluster().await;
    young.tell(None);
    tokio::time::pause();
    let deleted = delete(&cluster, image).await;
    tokio::time::resume();
    assert!(is_unavailable(&deleted), "{deleted:?}");
    assert_eq!(cluster.node(1).tagged("v1").await, Some(image));
}

#[tokio::test]
async fn beside_an_older_release_nothing_is_kept() {
    let (cluster, young, image) = cluster().await;
    young.tell(Some(false));
    delete(&cluster, image).await.unwrap();
    assert_eq!(
        (cluster.node(1).tagged("v1").await, kept(&cluster).await),
        (None, 0)
    );
}
