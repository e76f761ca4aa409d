//! Blobs in memory, for tests and deterministic simulations.
//!
//! Owns a map behind a lock. Must never start a thread, read a clock or draw a
//! random number, so that a simulation repeats itself bit by bit. The invariant:
//! it answers as the file store does, faults included, except that a step that
//! failed never left anything behind, and that reading verifies nothing: it is
//! how tests get a peer that sends wrong bytes.

use std::{
    collections::BTreeMap,
    io,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use entrepot_oci::{Digest, Hasher};
use futures::{StreamExt, stream};

use crate::{
    BlobError, BlobStat, BlobStore, BlobStream, Committed, Expected, Faults, Hashing,
    LIST_LIMIT_MAX, Operation, READ_BYTES, StagedBytes, Staging, Tree, Verified,
    hash::{ContentHash, Verdict, check_digest},
    store::check_range,
};

/// The store in memory. Clones share the blobs, as a restarted node shares its
/// disk with the one before.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Memory>>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Memory {
    blobs: BTreeMap<Digest, Stored>,
    /// Of blobs and stagings together.
    used_bytes: u64,
    capacity_bytes: Option<u64>,
    staged: usize,
}

#[derive(Clone, Debug)]
struct Stored {
    content: Bytes,
    /// As it was committed, whatever became of the content.
    tree: Tree,
}

#[derive(Debug)]
struct MemoryStaging {
    store: MemoryStore,
    content: Staged,
    hash: ContentHash,
    poisoned: bool,
}

/// What a staging has so far.
#[derive(Clone, Debug, Default)]
struct Staged(Arc<Mutex<BytesMut>>);

// === impl Staged ===

impl Staged {
    fn lock(&self) -> MutexGuard<'_, BytesMut> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StagedBytes for Staged {
    async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let range = in_memory(range.start)..in_memory(range.end);
        let content = self.lock();
        let bytes = content.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Bytes::copy_from_slice(bytes))
    }
}

// === impl MemoryStore ===

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// The hook for injected faults.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Makes the disk this small: what exceeds it fails with [`BlobError::Full`].
    pub fn set_capacity_bytes(&self, bytes: u64) {
        self.lock().capacity_bytes = Some(bytes);
    }

    /// Stagings that are neither committed nor dropped.
    pub fn staged(&self) -> usize {
        self.lock().staged
    }

    /// Flips one bit of a stored blob, as a failing disk does; false when the
    /// blob has no such byte.
    pub fn damage(&self, digest: &Digest, offset: usize) -> bool {
        let mut memory = self.lock();
        let Some(stored) = memory.blobs.get_mut(digest) else {
            return false;
        };
        let mut damaged = stored.content.to_vec();
        let Some(byte) = damaged.get_mut(offset) else {
            return false;
        };
        *byte ^= 1;
        stored.content = Bytes::from(damaged);
        true
    }

    fn stored(&self, digest: &Digest) -> Result<Stored, BlobError> {
        let found = self.lock().blobs.get(digest).cloned();
        found.ok_or(BlobError::NotFound(*digest))
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, operation: Operation, action: &'static str) -> Result<(), BlobError> {
        self.faults
            .check(operation)
            .map_err(BlobError::io(action, "memory"))
    }
}

#[async_trait]
impl BlobStore for MemoryStore {
    async fn stage(&self, hashing: Hashing) -> Result<Box<dyn Staging>, BlobError> {
        self.lock().staged += 1;
        Ok(Box::new(MemoryStaging {
            store: self.clone(),
            content: Staged::default(),
            hash: ContentHash::new(hashing),
            poisoned: false,
        }))
    }

    async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>, BlobError> {
        let memory = self.lock();
        Ok(memory.blobs.get(digest).map(|stored| BlobStat {
            digest: *digest,
            size: stored.content.len() as u64,
        }))
    }

    /// It does not note when a blob was written: as long ago as can be.
    async fn unwritten_for(&self, digest: &Digest) -> Result<Option<Duration>, BlobError> {
        Ok(self.stat(digest).await?.map(|_| Duration::MAX))
    }

    async fn open(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<(BlobStat, BlobStream), BlobError> {
        let content = self.stored(digest)?.content;
        let stat = BlobStat {
            digest: *digest,
            size: content.len() as u64,
        };
        let range = check_range(&stat, range)?;
        let content = content.slice(in_memory(range.start)..in_memory(range.end));
        self.check(Operation::Read, "read blob in")?;
        let faults = self.faults.clone();
        let pieces = content.len().div_ceil(READ_BYTES);
        let stream = stream::iter(0..pieces).scan(false, move |failed, piece| {
            if *failed {
                return std::future::ready(None);
            }
            // The first piece is read by `open`.
            let outcome = if piece == 0 {
                Ok(())
            } else {
                faults.check(Operation::Read)
            };
            *failed = outcome.is_err();
            let offset = piece * READ_BYTES;
            let end = content.len().min(offset + READ_BYTES);
            std::future::ready(Some(outcome.map(|()| content.slice(offset..end))))
        });
        Ok((stat, stream.boxed()))
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, BlobError> {
        let mut memory = self.lock();
        let Some(stored) = memory.blobs.remove(digest) else {
            return Ok(false);
        };
        memory.used_bytes -= stored.content.len() as u64;
        Ok(true)
    }

    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobStat>, BlobError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let memory = self.lock();
        let following = memory.blobs.range::<Digest, _>((start, Bound::Unbounded));
        Ok(following
            .take(limit.min(LIST_LIMIT_MAX))
            .map(|(digest, stored)| BlobStat {
                digest: *digest,
                size: stored.content.len() as u64,
            })
            .collect())
    }

    async fn tree(&self, digest: &Digest) -> Result<Tree, BlobError> {
        Ok(self.stored(digest)?.tree)
    }

    async fn verify(&self, digest: &Digest, _: u64, _: u64) -> Result<Verified, BlobError> {
        let content = self.stored(digest)?.content;
        // Once more, as a disk is asked.
        let readable = self
            .check(Operation::Read, "read blob in")
            .or_else(|_| self.check(Operation::Read, "read blob in"));
        if readable.is_err() || Digest::of(digest.algorithm(), &content) != *digest {
            self.delete(digest).await?;
            return Err(BlobError::Damaged(*digest));
        }
        let size = content.len() as u64;
        Ok(Verified { size, end: size })
    }

    async fn room_bytes(&self) -> Result<Option<u64>, BlobError> {
        let memory = self.lock();
        let room = |most: u64| most.saturating_sub(memory.used_bytes);
        Ok(memory.capacity_bytes.map(room))
    }
}

// === impl MemoryStaging ===

impl MemoryStaging {
    fn write(&mut self, chunk: &[u8]) -> Result<(), BlobError> {
        self.store.check(Operation::Write, "write to")?;
        let mut memory = self.store.lock();
        let used_bytes = memory.used_bytes + chunk.len() as u64;
        if memory.capacity_bytes.is_some_and(|most| used_bytes > most) {
            return Err(BlobError::Full);
        }
        memory.used_bytes = used_bytes;
        drop(memory);
        self.content.lock().extend_from_slice(chunk);
        self.hash.update(chunk);
        Ok(())
    }
}

#[async_trait]
impl Staging for MemoryStaging {
    fn size(&self) -> u64 {
        self.content.lock().len() as u64
    }

    async fn append(&mut self, chunks: Vec<Bytes>) -> Result<(), BlobError> {
        if self.poisoned {
            return Err(BlobError::Poisoned);
        }
        for chunk in chunks {
            self.write(&chunk).inspect_err(|_| self.poisoned = true)?;
        }
        Ok(())
    }

    fn root(&self) -> [u8; 32] {
        self.hash.root()
    }

    fn read_back(&self) -> Arc<dyn StagedBytes> {
        Arc::new(self.content.clone())
    }

    fn digest(&self) -> Option<Digest> {
        self.hash.digest()
    }

    async fn commit(self: Box<Self>, expected: Expected) -> Result<Committed, BlobError> {
        if self.poisoned {
            return Err(BlobError::Poisoned);
        }
        if let Verdict::Rehash(algorithm) = self.hash.check(&expected)? {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&self.content.lock());
            check_digest(expected.digest(), &hasher.finish())?;
        }
        let committed = Committed {
            digest: *expected.digest(),
            size: self.size(),
            root: self.root(),
        };
        let found = self.store.lock().blobs.get(&committed.digest).cloned();
        if found.is_some_and(|found| found.content == *self.content.lock()) {
            return Ok(committed);
        }
        self.store.check(Operation::Sync, "sync")?;
        self.store.check(Operation::Publish, "name a blob in")?;
        self.store.check(Operation::SyncDirectory, "sync")?;
        let content = self.content.lock().clone().freeze();
        let tree = self.hash.tree();
        let stored = Stored { content, tree };
        let mut memory = self.store.lock();
        // Once more for the blob: what is staged is given back when this goes.
        memory.used_bytes += stored.content.len() as u64;
        if let Some(damaged) = memory.blobs.insert(committed.digest, stored) {
            memory.used_bytes -= damaged.content.len() as u64;
        }
        drop(memory);
        Ok(committed)
    }

    async fn discard(self: Box<Self>) {}
}

impl Drop for MemoryStaging {
    fn drop(&mut self) {
        let mut memory = self.store.lock();
        memory.staged -= 1;
        memory.used_bytes -= self.content.lock().len() as u64;
    }
}

/// An offset into bytes that are in memory, and so fits.
fn in_memory(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
