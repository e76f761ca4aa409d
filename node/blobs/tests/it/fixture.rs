//! A store of either kind, and the few steps that every test is made of.

use std::{future::Future, io, ops::Range, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use entrepot_blobs::{
    BlobError, BlobStat, BlobStore, BlobStream, Committed, Expected, Faults, FileStore, Hashing,
    MemoryStore, Staging,
};
use entrepot_oci::{Algorithm, Digest};
use futures::TryStreamExt;
use tempfile::TempDir;

/// How long anything may take that happens in the background.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) faults: Faults,
    kind: Kind,
}

enum Kind {
    File(TempDir),
    Memory(MemoryStore),
}

impl Fixture {
    pub(crate) async fn file() -> Self {
        let directory = TempDir::new().expect("temporary directory");
        let faults = Faults::default();
        let store = FileStore::open_with(directory.path(), faults.clone()).await;
        Self {
            store: Arc::new(store.expect("new store")),
            faults,
            kind: Kind::File(directory),
        }
    }

    #[expect(clippy::unused_async, reason = "called like the other")]
    pub(crate) async fn memory() -> Self {
        let store = MemoryStore::new();
        Self {
            store: Arc::new(store.clone()),
            faults: store.faults().clone(),
            kind: Kind::Memory(store),
        }
    }

    /// What a restarted node finds.
    pub(crate) async fn reopen(self) -> Self {
        let Self {
            store,
            faults,
            kind,
        } = self;
        drop(store);
        let store: Arc<dyn BlobStore> = match &kind {
            Kind::File(directory) => {
                let store = FileStore::open_with(directory.path(), faults.clone()).await;
                Arc::new(store.expect("store opens again"))
            }
            Kind::Memory(store) => Arc::new(store.clone()),
        };
        Self {
            store,
            faults,
            kind,
        }
    }

    /// Waits until nothing is left of any staging.
    pub(crate) async fn nothing_staged(&self) {
        until("nothing is staged", || match &self.kind {
            Kind::File(directory) => staging_files(directory.path()) == 0,
            Kind::Memory(store) => store.staged() == 0,
        })
        .await;
    }

    pub(crate) async fn stage(&self, hashing: Hashing) -> Box<dyn Staging> {
        self.store.stage(hashing).await.expect("new staging")
    }

    /// An upload, in chunks of `chunk_bytes`.
    pub(crate) async fn put(
        &self,
        content: &[u8],
        chunk_bytes: usize,
        hashing: Hashing,
        expected: Expected,
    ) -> Result<Committed, BlobError> {
        let mut staging = self.store.stage(hashing).await?;
        for chunk in content.chunks(chunk_bytes) {
            staging.append(vec![Bytes::copy_from_slice(chunk)]).await?;
        }
        staging.commit(expected).await
    }

    /// A client's upload of what it says it is.
    pub(crate) async fn upload(&self, content: &[u8]) -> Result<Committed, BlobError> {
        let expected = Expected::Digest(sha256(content));
        self.put(content, 100_000, CLIENT, expected).await
    }

    pub(crate) async fn stat(&self, digest: &Digest) -> Option<BlobStat> {
        self.store.stat(digest).await.expect("stat")
    }

    pub(crate) async fn read(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Vec<u8>, BlobError> {
        let (stat, stream) = self.store.open(digest, range).await?;
        assert_eq!(stat.digest, *digest);
        Ok(drain(stream).await.expect("blob is readable"))
    }

    /// All digests, by pages of `limit`.
    pub(crate) async fn list(&self, limit: usize) -> Vec<BlobStat> {
        let mut all: Vec<BlobStat> = Vec::new();
        loop {
            let after = all.last().map(|stat| stat.digest);
            let page = self.store.list(after.as_ref(), limit).await.expect("page");
            if page.is_empty() {
                return all;
            }
            assert!(page.len() <= limit);
            all.extend(page);
        }
    }
}

pub(crate) const CLIENT: Hashing = Hashing::Client(Algorithm::Sha256);

pub(crate) fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

pub(crate) fn root(content: &[u8]) -> [u8; 32] {
    *blake3::hash(content).as_bytes()
}

/// `length` bytes that differ from those of every other seed, and from place to
/// place.
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    let mut stream = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    stream.fill(&mut content);
    content
}

pub(crate) async fn drain(stream: BlobStream) -> io::Result<Vec<u8>> {
    let pieces: Vec<Bytes> = stream.try_collect().await?;
    Ok(pieces.concat())
}

pub(crate) fn staging_files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory.join("staging"));
    entries.expect("staging directory").count()
}

/// Waits for a condition that something in the background brings about.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let reached = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    within(what, reached).await;
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}
