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

/// Memory that takes its time.
#[derive(Debug)]
pub(crate) struct SlowStore {
    inner: MemoryStore,
    delays: Delays,
}

#[derive(Clone, Copy, Debug, Default)]
struct Delays {
    piece: Duration,
    commit: Duration,
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
        }
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

    async fn open(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<(BlobStat, BlobStream), BlobError> {
        self.inner.open(digest, range).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, BlobError> {
        self.inner.delete(digest).await
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
