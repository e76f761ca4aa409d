//! A disk that is slow.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_blobs::{
    BlobError, BlobStat, BlobStore, BlobStream, Committed, Expected, Hashing, MemoryStore,
    StagedBytes, Staging, Tree, Verified,
};
use entrepot_oci::Digest;
use tokio::sync::watch;

use crate::content::DEADLINE;

/// Memory that takes its time.
#[derive(Debug)]
pub(crate) struct SlowStore {
    inner: MemoryStore,
    delays: Delays,
    gate: Option<Gate>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Delays {
    piece: Duration,
    commit: Duration,
}

/// Holds deletions up until it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Gate(watch::Sender<Passage>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Passage {
    Closed,
    Reached,
    Open,
    Passed,
}

#[derive(Debug)]
struct SlowStaging {
    inner: Box<dyn Staging>,
    delays: Delays,
}

// === impl SlowStore ===

impl SlowStore {
    /// For every piece that is written.
    pub(crate) fn pieces(piece: Duration) -> Self {
        Self {
            inner: MemoryStore::new(),
            delays: Delays {
                piece,
                ..Delays::default()
            },
            gate: None,
        }
    }

    /// For every blob that gets its name.
    pub(crate) fn commits(commit: Duration) -> Self {
        Self {
            inner: MemoryStore::new(),
            delays: Delays {
                commit,
                ..Delays::default()
            },
            gate: None,
        }
    }

    /// For every deletion, which goes on when nobody waits for it: a thread does that.
    pub(crate) fn deletes(inner: MemoryStore) -> (Self, Gate) {
        let gate = Gate(watch::Sender::new(Passage::Closed));
        let store = Self {
            inner,
            delays: Delays::default(),
            gate: Some(gate.clone()),
        };
        (store, gate)
    }
}

// === impl Gate ===

impl Gate {
    /// Somebody stands before it.
    pub(crate) async fn reached(&self) {
        self.at_least(Passage::Reached).await;
    }

    pub(crate) fn open(&self) {
        self.advance(Passage::Open);
    }

    /// What stood before it is done.
    pub(crate) async fn passed(&self) {
        self.at_least(Passage::Passed).await;
    }

    fn advance(&self, to: Passage) {
        self.0.send_modify(|now| *now = (*now).max(to));
    }

    async fn at_least(&self, passage: Passage) {
        let mut now = self.0.subscribe();
        let reached = now.wait_for(|now| *now >= passage);
        tokio::time::timeout(DEADLINE, reached)
            .await
            .unwrap()
            .unwrap();
    }
}

#[async_trait]
impl BlobStore for SlowStore {
    async fn stage(&self, hashing: Hashing) -> Result<Box<dyn Staging>, BlobError> {
        Ok(Box::new(SlowStaging {
            inner: self.inner.stage(hashing).await?,
            delays: self.delays,
        }))
    }

    async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>, BlobError> {
        self.inner.stat(digest).await
    }

    async fn unwritten_for(&self, digest: &Digest) -> Result<Option<Duration>, BlobError> {
        self.inner.unwritten_for(digest).await
    }

    async fn open(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<(BlobStat, BlobStream), BlobError> {
        self.inner.open(digest, range).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, BlobError> {
        let Some(gate) = self.gate.clone() else {
            return self.inner.delete(digest).await;
        };
        let (inner, digest) = (self.inner.clone(), *digest);
        let deleted = tokio::spawn(async move {
            gate.advance(Passage::Reached);
            gate.at_least(Passage::Open).await;
            let deleted = inner.delete(&digest).await;
            gate.advance(Passage::Passed);
            deleted
        });
        deleted.await.unwrap()
    }

    async fn tree(&self, digest: &Digest) -> Result<Tree, BlobError> {
        self.inner.tree(digest).await
    }

    async fn verify(
        &self,
        digest: &Digest,
        offset: u64,
        limit_bytes: u64,
    ) -> Result<Verified, BlobError> {
        self.inner.verify(digest, offset, limit_bytes).await
    }

    async fn room_bytes(&self) -> Result<Option<u64>, BlobError> {
        self.inner.room_bytes().await
    }

    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobStat>, BlobError> {
        self.inner.list(after, limit).await
    }
}

#[async_trait]
impl Staging for SlowStaging {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    async fn append(&mut self, chunks: Vec<Bytes>) -> Result<(), BlobError> {
        tokio::time::sleep(self.delays.piece).await;
        self.inner.append(chunks).await
    }

    fn root(&self) -> [u8; 32] {
        self.inner.root()
    }

    fn digest(&self) -> Option<Digest> {
        self.inner.digest()
    }

    fn read_back(&self) -> Arc<dyn StagedBytes> {
        self.inner.read_back()
    }

    async fn commit(self: Box<Self>, expected: Expected) -> Result<Committed, BlobError> {
        tokio::time::sleep(self.delays.commit).await;
        self.inner.commit(expected).await
    }

    async fn discard(self: Box<Self>) {
        self.inner.discard().await;
    }
}
