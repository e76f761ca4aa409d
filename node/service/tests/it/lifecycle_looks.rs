//! What the look at which lifecycle policies are due reads: them, and not the texts of
//! all repositories each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_metadata::command::{Command, CreateRepository, PutRepositoryText};
use entrepot_metadata::query::TextKind;
use entrepot_metadata::response::Response;
use entrepot_metadata::{GroupId, KeyValue, LocalMetadata, Metadata, MetadataError, StorageError};
use entrepot_oci::RepositoryName;
use entrepot_service::{LifecycleMetrics, Lifecycles};

use crate::cluster::{EAST, Plan, group, root};
use crate::content::eventually;

/// With which the keys of repositories' texts begin.
const TEXTS: u8 = 0x22;
const REPOSITORIES: usize = 40;
/// Of these.
const POLICIES: usize = 2;
/// Looks that are waited for.
const LOOKS: usize = 2;

/// How often texts were read.
#[derive(Debug, Default)]
struct Reads {
    scans: AtomicUsize,
    gets: AtomicUsize,
}

#[derive(Debug)]
struct Counted(Arc<LocalMetadata>, Arc<Reads>);

#[derive(Debug)]
struct View(Arc<dyn KeyValue>, Arc<Reads>);

impl KeyValue for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if key.first() == Some(&TEXTS) {
            self.1.gets.fetch_add(1, Ordering::Relaxed);
        }
        self.0.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        if start.first() == Some(&TEXTS) {
            self.1.scans.fetch_add(1, Ordering::Relaxed);
        }
        self.0.scan(start, end, limit)
    }
}

#[async_trait]
impl Metadata for Counted {
    async fn propose(&self, group: &GroupId, command: Command) -> Result<Response, MetadataError> {
        self.0.propose(group, command).await
    }

    async fn linearize(&self, group: &GroupId) -> Result<(), MetadataError> {
        self.0.linearize(group).await
    }

    fn view(&self, group: &GroupId) -> Result<Arc<dyn KeyValue>, MetadataError> {
        let view = self.0.view(group)?;
        Ok(Arc::new(View(view, Arc::clone(&self.1))))
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

#[tokio::test]
async fn a_look_reads_policies_alone() {
    let reads = Arc::<Reads>::default();
    let counted = Arc::clone(&reads);
    let plan = Plan::new(&[(EAST, 1)]).view(1, |inner| Arc::new(Counted(inner, counted)));
    let mut cluster = plan.start().await.with_account().await;
    let account = root().account;
    let policy = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":9},"action":{"type":"expire"}}]}"#;
    for nth in 0..REPOSITORIES {
        let name: RepositoryName = format!("team/app-{nth}").parse().unwrap();
        let kind = if nth < POLICIES {
            TextKind::Lifecycle
        } else {
            TextKind::Policy
        };
        let commands: [Command; 2] = [
            CreateRepository::new(&root().principal.account, &name, 1).into(),
            PutRepositoryText::new(&account, &name, kind, policy, 1).into(),
        ];
        for command in commands {
            let made = cluster.metadata.propose(&group(EAST), command).await;
            made.unwrap().into_result().unwrap();
        }
    }
    let registry = Arc::clone(&cluster.node(1).registry);
    let metrics = LifecycleMetrics::default();
    cluster.spawn(Lifecycles::new(registry, metrics.clone()).run());
    eventually("all were evaluated", async || {
        metrics.evaluations.get() == POLICIES as u64
    })
    .await;
    let before = reads.gets.load(Ordering::Relaxed);
    // The policy, and what its last evaluation did.
    let look = 2 * POLICIES;
    eventually("some looks were taken", async || {
        reads.gets.load(Ordering::Relaxed) - before >= LOOKS * look
    })
    .await;
    assert_eq!(reads.scans.load(Ordering::Relaxed), 1);
    let gets = reads.gets.load(Ordering::Relaxed) - before;
    // With one more that may be under way.
    assert!(gets <= (LOOKS + 1) * look, "{gets}");
}
