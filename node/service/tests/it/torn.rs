//! What is done in many steps and fails midway: what was done is told, with why the
//! rest was not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use entrepot_metadata::command::Command;
use entrepot_metadata::response::Response;
use entrepot_metadata::{GroupId, KeyValue, LocalMetadata, Metadata, MetadataError};
use entrepot_service::{ImageDeletionRequest, ServiceError};
use serde_json::json;

use crate::cluster::{Cluster, EAST, Plan, app, root, tag};
use crate::content::{KIB, content, index, sha256, variant};

/// Metadata that takes so many deletions of manifests, and no more.
#[derive(Debug)]
struct Torn {
    inner: Arc<LocalMetadata>,
    left: AtomicUsize,
}

impl Torn {
    async fn start(left: usize) -> (Cluster, Arc<Self>) {
        let mut kept = None;
        let plan = Plan::new(&[(EAST, 1)]).view(1, |inner| {
            let left = AtomicUsize::new(left);
            let torn = Arc::new(Self { inner, left });
            kept = Some(Arc::clone(&torn));
            torn
        });
        let cluster = plan.start().await.with_account().await;
        (cluster, kept.unwrap())
    }

    fn mend(&self) {
        self.left.store(usize::MAX, Ordering::Relaxed);
    }
}

#[async_trait]
impl Metadata for Torn {
    async fn propose(&self, group: &GroupId, command: Command) -> Result<Response, MetadataError> {
        if matches!(command, Command::DeleteManifest(_)) {
            let take = |left: usize| left.checked_sub(1);
            let order = Ordering::Relaxed;
            if self.left.fetch_update(order, order, take).is_err() {
                return Err(MetadataError::Unavailable {
                    group: group.clone(),
                    reason: "it is a test".to_owned(),
                });
            }
        }
        self.inner.propose(group, command).await
    }

    async fn linearize(&self, group: &GroupId) -> Result<(), MetadataError> {
        self.inner.linearize(group).await
    }

    fn view(&self, group: &GroupId) -> Result<Arc<dyn KeyValue>, MetadataError> {
        self.inner.view(group)
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

#[tokio::test]
async fn children_that_went_before_one_failed_are_told() {
    // The index goes with its tag.
    let (cluster, torn) = Torn::start(1).await;
    let (node, who) = (cluster.node(1), root());
    let layer = sha256(&content(1, KIB));
    node.push(&content(1, KIB)).await;
    let children: Vec<_> = (0..4).map(|n| variant((layer, KIB), n)).collect();
    for child in &children {
        node.put_manifest(&sha256(child).to_string(), child).await;
    }
    let digest = node.put_manifest("all", &index(&children)).await;
    let request = ImageDeletionRequest {
        repository: app(),
        reference: tag("all"),
        with_children: true,
        dry_run: false,
    };
    let deleted = node.registry.remove_image(&who, &request).await.unwrap();
    let went: Vec<_> = deleted.manifests.iter().map(|it| it.digest).collect();
    assert_eq!((went.len(), went[0]), (2, digest));
    let failed = deleted.failed.unwrap();
    assert!(
        matches!(failed.error, ServiceError::Unavailable { .. }),
        "{failed:?}"
    );
    assert_eq!(failed.untried.len(), 2);
    // Each of them is told of once, and what is told to be left is there.
    let mut told = [&went[..], &[failed.digest], &failed.untried].concat();
    let mut all: Vec<_> = children.iter().map(|child| sha256(child)).collect();
    all.push(digest);
    told.sort_unstable();
    all.sort_unstable();
    assert_eq!(told, all);
    for left in failed.untried {
        let found = node.registry.get_manifest(&who, &app(), &left.into()).await;
        assert!(found.is_ok(), "{left}");
    }
    torn.mend();
}

#[tokio::test]
async fn what_a_policy_did_before_it_failed_is_told_and_the_rest_comes_next() {
    let (cluster, torn) = Torn::start(2).await;
    let (node, who) = (cluster.node(1), root());
    for seed in 0..5 {
        let name = format!("dev-{seed}");
        node.push_image(&name, &[content(seed, 100)]).await;
    }
    let policy = json!({"rules": [{"rulePriority": 1, "action": {"type": "expire"}, "selection":
        {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}}]})
    .to_string();
    let (registry, app) = (&node.registry, app());
    let put = registry.put_lifecycle_policy(&who, &app, &policy);
    put.await.unwrap();

    let done = registry.run_lifecycle(&who, &app).await.unwrap();
    assert_eq!((done.run.expired, done.images.len()), (2, 2));
    assert!(done.failed.is_some() && done.run.more, "{done:?}");
    let kept = registry.lifecycle_policy(&who, &app).await.unwrap();
    assert_eq!(kept.last_run.as_ref(), Some(&done.run));
    assert!(done.run.failure.contains("no leader"), "{done:?}");
    // With nothing done there is nothing to tell but why; it is noted.
    let nothing = registry.run_lifecycle(&who, &app).await;
    assert!(
        matches!(nothing, Err(ServiceError::Unavailable { .. })),
        "{nothing:?}"
    );
    let kept = registry.lifecycle_policy(&who, &app).await.unwrap();
    let last = kept.last_run.unwrap();
    assert_eq!((last.expired, last.more), (0, false));
    assert!(last.failure.contains("no leader"), "{last:?}");

    torn.mend();
    let done = registry.run_lifecycle(&who, &app).await.unwrap();
    assert_eq!((done.run.expired, done.failed), (2, None));
    let kept = registry.lifecycle_policy(&who, &app).await.unwrap();
    assert_eq!(kept.last_run.unwrap().failure, "");
}
