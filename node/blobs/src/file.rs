//! Blobs as files named by their digest.
//!
//! Owns one directory and everything below it. Must never block an async thread:
//! every call hops to a blocking one, once. The invariant: a file under a digest
//! holds that digest's content, and its name is durable before anyone is told
//! that it is there.

mod abandoned;
mod care;
mod direct;
mod durable;
mod layout;
mod ledger;
mod listing;
mod mapping;
mod note;
mod reading;
mod room;
mod scrubbing;
mod source;
mod staged;
mod staging;
mod trees;

pub use note::Note;

use std::{
    collections::HashMap,
    fmt::Write,
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest};
use tokio::task::{JoinError, spawn_blocking};

use self::{
    abandoned::Owners, care::Care, durable::SharedSync, layout::Layout, reading::Reader,
    source::Source, staged::StagedFile, staging::FileStaging,
};
use crate::{
    Abandoned, BlobError, BlobStat, BlobStore, BlobStream, Faults, Hashing, LIST_LIMIT_MAX,
    Operation, Staging, StoreMetrics, Tree, Verified,
};

/// Random bytes in the name of a staging file.
const STAGING_NAME_BYTES: usize = 16;

/// First bytes of a digest, each with a directory of its own.
const SHARDS: usize = 256;

/// The blobs of one node, below one directory. Clones share it.
#[derive(Clone, Debug)]
pub struct FileStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    faults: Faults,
    care: Arc<Care>,
    owners: Owners,
    /// One for each directory of blobs.
    syncs: Vec<SharedSync>,
    /// Blobs that have their name while it is not known to be durable, and how
    /// many commits have yet to see to that. A commit whose directory could not
    /// be synced stays counted, so that nobody vouches for its blob: the directory
    /// takes no other and is not synced again until the store is opened anew.
    unsettled: Mutex<HashMap<Digest, u32>>,
    /// Held to keep other processes out.
    _lock: File,
}

// === impl FileStore ===

impl FileStore {
    /// Opens the store in `directory`, which is made if it is missing, and
    /// deletes what unfinished uploads have left behind.
    ///
    /// # Errors
    /// [`BlobError::Locked`] while another process, or another store of this
    /// one, has it open; [`BlobError::Format`] when it was written by a later
    /// release or is no blob store.
    pub async fn open(directory: &Path) -> Result<Self, BlobError> {
        Self::open_with(directory, Faults::default()).await
    }

    /// Like [`FileStore::open`], with a hook for injected faults.
    pub async fn open_with(directory: &Path, faults: Faults) -> Result<Self, BlobError> {
        Self::open_all(directory, 0, faults).await
    }

    /// Like [`FileStore::open`], but blobs never take the last `reserve_bytes` of
    /// the disk: one that would is refused with [`BlobError::Full`].
    pub async fn open_reserving(directory: &Path, reserve_bytes: u64) -> Result<Self, BlobError> {
        Self::open_all(directory, reserve_bytes, Faults::default()).await
    }

    async fn open_all(
        directory: &Path,
        reserve_bytes: u64,
        faults: Faults,
    ) -> Result<Self, BlobError> {
        let directory = directory.to_owned();
        run(move || {
            let (layout, lock) = Layout::open(&directory, reserve_bytes)?;
            let syncs = layout::ALGORITHMS.len() * SHARDS;
            Ok(Self {
                shared: Arc::new(Shared {
                    faults,
                    care: Arc::new(Care::new(layout)),
                    owners: Owners::default(),
                    syncs: (0..syncs).map(|_| SharedSync::default()).collect(),
                    unsettled: Mutex::default(),
                    _lock: lock,
                }),
            })
        })
        .await
    }

    /// What this store counts.
    pub fn metrics(&self) -> StoreMetrics {
        self.shared.care.metrics.clone()
    }
}

#[async_trait]
impl BlobStore for FileStore {
    async fn stage(&self, hashing: Hashing) -> Result<Box<dyn Staging>, BlobError> {
        let path = self.shared.care.layout.staging();
        let name = random_name().map_err(BlobError::io("name a staging file in", &path))?;
        let room = self.shared.care.layout.room().clone();
        let owner = self.shared.owners.own(path.join(name));
        let file = StagedFile::new(owner, room, self.shared.faults.clone());
        Ok(Box::new(FileStaging::new(
            Arc::clone(&self.shared),
            file,
            hashing,
        )))
    }

    async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>, BlobError> {
        let (shared, digest) = (Arc::clone(&self.shared), *digest);
        run(move || shared.stat(&digest)).await
    }

    async fn open(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<(BlobStat, BlobStream), BlobError> {
        let shared = Arc::clone(&self.shared);
        if let Some(source) = shared.care.kept.get(digest) {
            let stat = source.stat();
            let mut reader = Reader::new(source, Arc::clone(&shared.care), range.clone())?;
            // Whatever is wrong with a kept file, its name may stand for another.
            match reader.try_begin() {
                Ok(true) => return Ok((stat, reader.into_stream())),
                Ok(false) => {}
                Err(_) => shared.care.kept.forget(digest),
            }
        }
        let digest = *digest;
        let (stat, reader) = run(move || shared.open(&digest, range)).await?;
        Ok((stat, reader.into_stream()))
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, BlobError> {
        let (shared, digest) = (Arc::clone(&self.shared), *digest);
        run(move || {
            let path = shared.care.layout.blob(&digest);
            let deleted = match fs::remove_file(&path) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(BlobError::io("delete blob", path)(error)),
            };
            trees::remove(&shared.care.layout, &digest);
            shared.care.forget(&digest);
            deleted
        })
        .await
    }

    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobStat>, BlobError> {
        let (shared, after) = (Arc::clone(&self.shared), after.copied());
        let limit = limit.min(LIST_LIMIT_MAX);
        run(move || {
            let mut after = after;
            loop {
                let digests = listing::following(&shared.care.layout, after.as_ref(), limit)?;
                let mut page = Vec::with_capacity(digests.len());
                for digest in &digests {
                    // None: deleted since its name was read.
                    page.extend(shared.stat(digest)?);
                }
                if !page.is_empty() || digests.is_empty() {
                    return Ok(page);
                }
                after = digests.last().copied();
            }
        })
        .await
    }

    async fn tree(&self, digest: &Digest) -> Result<Tree, BlobError> {
        let (shared, digest) = (Arc::clone(&self.shared), *digest);
        run(move || {
            let source = Source::open(&shared.care, &digest, &shared.faults)?;
            if let Some(tree) = source.ledger().tree() {
                return Ok(tree.clone());
            }
            let content = shared
                .care
                .read(&source, &(0..source.stat().size))
                .map_err(|error| care::failed(error, shared.care.layout.blob(&digest)))?;
            Ok(Tree::of(&content))
        })
        .await
    }

    async fn verify(
        &self,
        digest: &Digest,
        offset: u64,
        limit_bytes: u64,
    ) -> Result<Verified, BlobError> {
        let (shared, digest) = (Arc::clone(&self.shared), *digest);
        run(move || scrubbing::step(&shared, &digest, offset, limit_bytes)).await
    }

    async fn room_bytes(&self) -> Result<Option<u64>, BlobError> {
        let shared = Arc::clone(&self.shared);
        run(move || shared.care.layout.room().bytes()).await
    }

    async fn unwritten_for(&self, digest: &Digest) -> Result<Option<Duration>, BlobError> {
        let (shared, digest) = (Arc::clone(&self.shared), *digest);
        run(move || shared.unwritten_for(&digest)).await
    }

    async fn abandoned(&self, idle: Duration, delete: bool) -> Result<Abandoned, BlobError> {
        let shared = Arc::clone(&self.shared);
        run(move || {
            let staging = shared.care.layout.staging();
            abandoned::abandoned(&staging, &shared.owners, idle, delete)
        })
        .await
    }
}

// === impl Shared ===

impl Shared {
    fn open(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<(BlobStat, Reader), BlobError> {
        let source = Arc::new(Source::open(&self.care, digest, &self.faults)?);
        let stat = source.stat();
        let mut reader = Reader::new(Arc::clone(&source), Arc::clone(&self.care), range)?;
        reader
            .begin()
            .map_err(|error| care::failed(error, self.care.layout.blob(digest)))?;
        self.care.kept.keep(&source, &self.care.layout);
        Ok((stat, reader))
    }

    fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>, BlobError> {
        let path = self.care.layout.blob(digest);
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BlobError::io("stat blob", path)(error)),
        };
        // After the look at the file: whoever gave it its name before that either
        // is still counted, or has synced the directory.
        if self.lock_unsettled().contains_key(digest) {
            self.sync_name(digest)?;
        }
        Ok(Some(BlobStat {
            digest: *digest,
            size,
        }))
    }

    /// Of a clock that was put back, it is not known how long ago that was.
    fn unwritten_for(&self, digest: &Digest) -> Result<Option<Duration>, BlobError> {
        let path = self.care.layout.blob(digest);
        match fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            Ok(written) => Ok(Some(written.elapsed().unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("stat blob", path)(error)),
        }
    }

    /// Whether the blob is here and is `content`, which is proven, so that another
    /// copy would be wasted.
    fn keeps(&self, digest: &Digest, content: &[Bytes]) -> Result<bool, BlobError> {
        if self.stat(digest)?.is_none() {
            return Ok(false);
        }
        let path = self.care.layout.blob(digest);
        match source::is_content(&path, content) {
            Ok(true) => return Ok(true),
            Ok(false) => tracing::error!(%digest, "a damaged blob is replaced"),
            Err(error) => {
                tracing::error!(%digest, %error, "a blob that cannot be read is replaced");
            }
        }
        Ok(false)
    }

    /// Syncs verified content and gives it its name, durably.
    fn publish(
        &self,
        mut file: StagedFile,
        digest: &Digest,
        tree: Option<&Tree>,
    ) -> Result<(), BlobError> {
        // Content without a durable name is worth nothing.
        self.shared_sync(digest)
            .check()
            .map_err(BlobError::io("sync directory", self.shard(digest)))?;
        file.sync()?;
        if let Some(tree) = tree {
            trees::save(&self.care.layout, digest, tree);
        }
        *self.lock_unsettled().entry(*digest).or_default() += 1;
        let names = self.care.lock_names();
        let published = file.publish(&self.care.layout.blob(digest));
        drop(names);
        self.care.forget(digest);
        if published.is_ok() {
            self.sync_name(digest)?;
        }
        let mut unsettled = self.lock_unsettled();
        if let Some(commits) = unsettled.get_mut(digest) {
            *commits -= 1;
            if *commits == 0 {
                unsettled.remove(digest);
            }
        }
        published
    }

    /// Makes the names in the blob's directory durable, together with all others
    /// who want that now.
    fn sync_name(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.shard(digest);
        self.shared_sync(digest)
            .run(|| {
                self.faults
                    .check(Operation::SyncDirectory)
                    .and_then(|()| durable::sync_directory(&path))
                    .inspect_err(|error| {
                        tracing::error!(path = %path.display(), %error,
                            "names of blobs could not be made durable: none is taken there until the next start");
                    })
            })
            .map_err(BlobError::io("sync directory", &path))
    }

    fn shared_sync(&self, digest: &Digest) -> &SharedSync {
        let offset = match digest.algorithm() {
            Algorithm::Sha256 => 0,
            Algorithm::Sha512 => SHARDS,
        };
        &self.syncs[offset + usize::from(digest.bytes()[0])]
    }

    fn shard(&self, digest: &Digest) -> PathBuf {
        self.care
            .layout
            .shard(digest.algorithm(), digest.bytes()[0])
    }

    fn lock_unsettled(&self) -> MutexGuard<'_, HashMap<Digest, u32>> {
        self.unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One hop to a thread that may block. What is logged there stays within the
/// caller's span.
async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    let span = tracing::Span::current();
    joined(spawn_blocking(move || span.in_scope(work)).await)
}

/// The work's own result; an error when the runtime stops, or the work panicked.
fn joined<T>(outcome: Result<Result<T, BlobError>, JoinError>) -> Result<T, BlobError> {
    outcome.unwrap_or_else(|error| {
        Err(BlobError::io("finish work on", "a blocking thread")(
            io::Error::other(error),
        ))
    })
}

fn random_name() -> io::Result<String> {
    let mut random = [0; STAGING_NAME_BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut name = String::with_capacity(2 * random.len());
    for byte in random {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(name)
}
