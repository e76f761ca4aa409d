//! A blob store that takes some blobs, says that they are durable, and has lost
//! them by then.

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

/// One of so many is lost.
const LOST: u8 = 4;

#[derive(Debug, Clone)]
pub(crate) struct LosingBlobs(pub(crate) MemoryStore);

#[derive(Debug)]
struct LosingStaging {
    staging: Box<dyn Staging>,
    store: MemoryStore,
}

// === impl LosingBlobs ===

#[async_trait]
impl BlobStore for LosingBlobs {
    async fn stage(&self, hashing: Hashing) -> Result<Box<dyn Staging>, BlobError> {
        Ok(Box::new(LosingStaging {
            staging: self.0.stage(hashing).await?,
            store: self.0.clone(),
        }))
    }

    async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>, BlobError> {
        self.0.stat(digest).await
    }

    async fn unwritten_for(&self, digest: &Digest) -> Result<Option<Duration>, BlobError> {
        self.0.unwritten_for(digest).await
    }

    async fn open(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<(BlobStat, BlobStream), BlobError> {
        self.0.open(digest, range).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, BlobError> {
        self.0.delete(digest).await
    }

    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobStat>, BlobError> {
        self.0.list(after, limit).await
    }

    async fn tree(&self, digest: &Digest) -> Result<Tree, BlobError> {
        self.0.tree(digest).await
    }

    async fn verify(
        &self,
        digest: &Digest,
        offset: u64,
        limit_bytes: u64,
    ) -> Result<Verified, BlobError> {
        self.0.verify(digest, offset, limit_bytes).await
    }

    async fn room_bytes(&self) -> Result<Option<u64>, BlobError> {
        self.0.room_bytes().await
    }
}

// === impl LosingStaging ===

#[async_trait]
impl Staging for LosingStaging {
    fn size(&self) -> u64 {
        self.staging.size()
    }

    async fn append(&mut self, chunks: Vec<Bytes>) -> Result<(), BlobError> {
        self.staging.append(chunks).await
    }

    fn root(&self) -> [u8; 32] {
        self.staging.root()
    }

    fn digest(&self) -> Option<Digest> {
        self.staging.digest()
    }

    fn read_back(&self) -> Arc<dyn StagedBytes> {
        self.staging.read_back()
    }

    async fn commit(self: Box<Self>, expected: Expected) -> Result<Committed, BlobError> {
        let committed = self.staging.commit(expected).await?;
        if committed.root[0].is_multiple_of(LOST) {
            self.store.delete(&committed.digest).await?;
        }
        Ok(committed)
    }

    async fn discard(self: Box<Self>) {
        self.staging.discard().await;
    }
}
