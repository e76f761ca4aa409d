//! The staging of a file store: bytes arrive on an async thread while the batch
//! before them is hashed and written on another.
//!
//! Owns the batches between the two. Must never have more than one in flight,
//! nor hold more than that one and the one that gathers. The invariant: accepted
//! bytes are hashed and written once, in order.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_oci::Digest;
use tokio::{
    runtime::Handle,
    task::{JoinHandle, spawn_blocking},
};

use super::{
    Shared, run,
    staged::{Opened, StagedFile},
};
use crate::{
    BlobError, Committed, Expected, Hashing, StagedBytes, Staging, TREE_ABOVE_BYTES,
    gather::Gather,
    hash::{ContentHash, Verdict, check_digest},
};

/// Unsynced bytes at which a sync is begun beside the writing. It lets the disk
/// work while the rest arrives, and keeps one large upload from handing it
/// gigabytes at once, which the syncs of everybody else would wait for.
const SYNC_AHEAD_BYTES: u64 = 32 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct FileStaging {
    store: Arc<Shared>,
    gather: Gather,
    size: u64,
    /// Locked only while a batch is hashed, never while one is written.
    hash: Arc<Mutex<ContentHash>>,
    writer: Writer,
    opened: Opened,
    sync_ahead: Option<JoinHandle<Result<(), BlobError>>>,
}

/// Who has the file.
#[derive(Debug)]
enum Writer {
    Idle(StagedFile),
    Writing {
        task: JoinHandle<Result<StagedFile, BlobError>>,
        /// For those who want the hash before the task has come to it.
        batch: Arc<Vec<Bytes>>,
    },
    Poisoned,
}

// === impl FileStaging ===

impl FileStaging {
    pub(super) fn new(store: Arc<Shared>, file: StagedFile, hashing: Hashing) -> Self {
        Self {
            store,
            gather: Gather::default(),
            size: 0,
            hash: Arc::new(Mutex::new(ContentHash::new(hashing))),
            opened: file.opened().clone(),
            writer: Writer::Idle(file),
            sync_ahead: None,
        }
    }

    /// Waits for the batch in flight. Dropping this future, or that of the next
    /// two, loses nothing.
    async fn settle(&mut self) -> Result<(), BlobError> {
        let outcome = match &mut self.writer {
            Writer::Idle(_) => return Ok(()),
            Writer::Poisoned => return Err(BlobError::Poisoned),
            Writer::Writing { task, .. } => super::joined(task.await),
        };
        match outcome {
            Ok(file) => {
                self.writer = Writer::Idle(file);
                Ok(())
            }
            Err(error) => {
                self.writer = Writer::Poisoned;
                Err(error)
            }
        }
    }

    /// Waits for the sync that runs ahead.
    async fn settle_sync(&mut self) -> Result<(), BlobError> {
        let Some(task) = &mut self.sync_ahead else {
            return Ok(());
        };
        let outcome = super::joined(task.await);
        self.sync_ahead = None;
        // Dropping the file removes it: its content cannot be trusted any more.
        outcome.inspect_err(|_| self.writer = Writer::Poisoned)
    }

    /// Begins a sync when enough has been written since the last, and waits for
    /// that one first: a disk that is slower than the client slows it down.
    async fn sync_ahead(&mut self) -> Result<(), BlobError> {
        let due = |file: &StagedFile| file.unsynced_bytes() >= SYNC_AHEAD_BYTES;
        if !matches!(&self.writer, Writer::Idle(file) if due(file)) {
            return Ok(());
        }
        self.settle_sync().await?;
        if let Writer::Idle(file) = &mut self.writer {
            self.sync_ahead = file.begin_sync().map(spawn_blocking);
        }
        Ok(())
    }

    /// Sends the gathered batch on its way once the one before is written.
    async fn dispatch(&mut self) -> Result<(), BlobError> {
        self.settle().await?;
        self.sync_ahead().await?;
        let mut file = self.take_file()?;
        let batch = Arc::new(self.gather.take());
        let hash = Arc::clone(&self.hash);
        let task = spawn_blocking({
            let batch = Arc::clone(&batch);
            move || {
                let mut hash = lock(&hash);
                for piece in batch.iter() {
                    hash.update_with(piece, |stride| file.prepare(stride));
                }
                drop(hash);
                file.write(&batch)?;
                Ok(file)
            }
        });
        self.writer = Writer::Writing { task, batch };
        Ok(())
    }

    /// The file of a settled staging, which is poisoned until it is put back.
    fn take_file(&mut self) -> Result<StagedFile, BlobError> {
        match mem::replace(&mut self.writer, Writer::Poisoned) {
            Writer::Idle(file) => Ok(file),
            Writer::Writing { .. } | Writer::Poisoned => Err(BlobError::Poisoned),
        }
    }

    fn may_dispatch(&self) -> bool {
        match &self.writer {
            Writer::Idle(_) => true,
            Writer::Writing { task, .. } => task.is_finished(),
            Writer::Poisoned => false,
        }
    }

    /// Hashes of all accepted bytes, those of the batches under way included.
    fn hash(&self) -> ContentHash {
        let mut hash = lock(&self.hash).clone();
        if let Writer::Writing { batch, .. } = &self.writer
            && hash.bytes() + (self.gather.bytes() as u64) < self.size
        {
            hash.update_all(batch.iter().map(Bytes::as_ref));
        }
        hash.update_all(self.gather.pieces());
        hash
    }
}

#[async_trait]
impl Staging for FileStaging {
    fn size(&self) -> u64 {
        self.size
    }

    async fn append(&mut self, chunks: Vec<Bytes>) -> Result<(), BlobError> {
        if matches!(self.writer, Writer::Poisoned) {
            return Err(BlobError::Poisoned);
        }
        for mut chunk in chunks {
            while !chunk.is_empty() {
                if self.gather.is_full() {
                    self.dispatch().await?;
                }
                self.size += self.gather.accept(&mut chunk) as u64;
            }
        }
        // Not waiting here lets a whole batch gather beside the one in flight.
        if self.gather.is_full() && self.may_dispatch() {
            self.dispatch().await?;
        }
        Ok(())
    }

    fn root(&self) -> [u8; 32] {
        self.hash().root()
    }

    fn digest(&self) -> Option<Digest> {
        self.hash().digest()
    }

    fn read_back(&self) -> Arc<dyn StagedBytes> {
        self.opened.want();
        Arc::new(self.opened.clone())
    }

    async fn commit(mut self: Box<Self>, expected: Expected) -> Result<Committed, BlobError> {
        self.settle().await?;
        self.settle_sync().await?;
        let file = self.take_file()?;
        let rest = self.gather.take();
        let store = Arc::clone(&self.store);
        let hash = Arc::clone(&self.hash);
        run(move || {
            update(&hash, &rest);
            let hash = lock(&hash).clone();
            finish(&store, file, &hash, &rest, &expected)
        })
        .await
    }

    async fn discard(mut self: Box<Self>) {
        // A failed write has removed the file already.
        if self.settle().await.is_ok()
            && let Ok(file) = self.take_file()
        {
            let _ = run(move || {
                drop(file);
                Ok(())
            })
            .await;
        }
    }
}

impl Drop for FileStaging {
    fn drop(&mut self) {
        // A batch in flight drops the file when it is done. An idle file is
        // removed on another thread: removing a large one takes its time.
        if let Writer::Idle(file) = mem::replace(&mut self.writer, Writer::Poisoned)
            && file.is_on_disk()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

/// Verifies, writes what is left and commits. Blocks the thread.
fn finish(
    store: &Shared,
    mut file: StagedFile,
    hash: &ContentHash,
    rest: &[Bytes],
    expected: &Expected,
) -> Result<Committed, BlobError> {
    let committed = Committed {
        digest: *expected.digest(),
        size: hash.bytes(),
        root: hash.root(),
    };
    // Before the rest is written: wrong content, and content that is here
    // already, should cost no write.
    let verdict = hash.check(expected)?;
    // What has the name already counts only once its bytes were looked at: they
    // may be damaged, and the right ones are here. Content that is on the disk is
    // published over it instead, which costs a sync where the look would cost
    // reading it all.
    let small = !file.is_on_disk();
    if small && verdict == Verdict::Proven && store.keeps(&committed.digest, rest)? {
        return Ok(committed);
    }
    if !rest.is_empty() {
        file.write(rest)?;
    }
    if let Verdict::Rehash(algorithm) = verdict {
        check_digest(expected.digest(), &file.digest(algorithm)?)?;
        if small && store.keeps(&committed.digest, rest)? {
            return Ok(committed);
        }
    }
    let tree = (committed.size > TREE_ABOVE_BYTES).then(|| hash.tree());
    store.publish(file, &committed.digest, tree.as_ref())?;
    Ok(committed)
}

fn update(hash: &Mutex<ContentHash>, batch: &[Bytes]) {
    lock(hash).update_all(batch.iter().map(Bytes::as_ref));
}

fn lock(hash: &Mutex<ContentHash>) -> MutexGuard<'_, ContentHash> {
    hash.lock().unwrap_or_else(PoisonError::into_inner)
}
