//! What an upload has brought so far, for those who send it on.
//!
//! Whoever reads it never holds up whoever writes it. The invariant: bytes are
//! read in order, and an end only once the blob is linked.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use entrepot_blobs::{READ_BYTES, StagedBytes};
use entrepot_oci::Digest;
use tokio::sync::watch;

use crate::recent::Recent;

#[derive(Debug)]
pub(crate) struct Feed {
    recent: Mutex<Recent>,
    staged: OnceLock<Arc<dyn StagedBytes>>,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are here.
    Growing(u64),
    /// And they are this blob.
    Finished {
        digest: Digest,
        size: u64,
    },
    Cancelled,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Bytes(Bytes),
    Finished {
        digest: Digest,
        size: u64,
    },
    Cancelled,
    /// They cannot be had any more.
    Lost,
}

// === impl Feed ===

impl Feed {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            recent: Mutex::default(),
            staged: OnceLock::new(),
            state: watch::Sender::new(State::Growing(0)),
        })
    }

    pub(crate) fn staged(&self, staged: Arc<dyn StagedBytes>) {
        // Only the first counts, and there is one.
        let _ = self.staged.set(staged);
    }

    /// Begins behind bytes that are staged already. Before the first push.
    pub(crate) fn start_at(&self, offset: u64) {
        self.lock().start_at(offset);
        self.state.send_replace(State::Growing(offset));
    }

    /// Where the bytes end.
    pub(crate) fn end(&self) -> u64 {
        self.lock().end()
    }

    pub(crate) fn push(&self, bytes: &Bytes) {
        let end = self.lock().push(bytes.clone());
        self.state.send_replace(State::Growing(end));
    }

    pub(crate) fn finish(&self, digest: Digest, size: u64) {
        self.state.send_replace(State::Finished { digest, size });
    }

    /// Unless it has ended before.
    pub(crate) fn cancel(&self) {
        self.state.send_if_modified(|state| {
            let growing = matches!(state, State::Growing(_));
            if growing {
                *state = State::Cancelled;
            }
            growing
        });
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *self.state.borrow() == State::Cancelled
    }

    /// Waits for what follows `offset`.
    pub(crate) async fn next(&self, offset: u64) -> Next {
        let mut state = self.state.subscribe();
        let ready = state.wait_for(|state| match state {
            State::Growing(end) => *end > offset,
            State::Finished { .. } | State::Cancelled => true,
        });
        match ready.await.map(|state| *state) {
            Ok(State::Finished { digest, size }) if offset >= size => {
                Next::Finished { digest, size }
            }
            Ok(State::Growing(_) | State::Finished { .. }) => self.read(offset).await,
            Ok(State::Cancelled) | Err(_) => Next::Cancelled,
        }
    }

    async fn read(&self, offset: u64) -> Next {
        let (recent, start) = {
            let recent = self.lock();
            (recent.get(offset), recent.start())
        };
        if let Some(bytes) = recent {
            return Next::Bytes(bytes);
        }
        let Some(staged) = self.staged.get() else {
            return Next::Lost;
        };
        let end = start.min(offset + READ_BYTES as u64);
        match staged.read(offset..end).await {
            Ok(bytes) => Next::Bytes(bytes),
            Err(_) => Next::Lost,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use entrepot_blobs::{BlobStore as _, Hashing, MemoryStore};
    use entrepot_oci::Algorithm;

    use super::*;

    #[tokio::test]
    async fn a_reader_gets_every_byte_however_far_behind_it_is() {
        let store = MemoryStore::new();
        let mut staging = store.stage(Hashing::Root).await.unwrap();
        let feed = Feed::new();
        feed.staged(staging.read_back());
        let chunk = Bytes::from(vec![7_u8; 700_000]);
        for _ in 0..20 {
            feed.push(&chunk);
            staging.append(vec![chunk.clone()]).await.unwrap();
        }
        let size = 20 * chunk.len() as u64;
        let digest = Digest::of(Algorithm::Sha256, b"any");
        feed.finish(digest, size);
        let mut offset = 0;
        loop {
            match feed.next(offset).await {
                Next::Bytes(bytes) => offset += bytes.len() as u64,
                other => {
                    assert_eq!(other, Next::Finished { digest, size });
                    break;
                }
            }
        }
        assert_eq!(offset, size);
        // What has ended does not fail any more.
        feed.cancel();
        assert!(!feed.is_cancelled());
    }

    #[tokio::test]
    async fn an_upload_that_fails_has_no_end() {
        let feed = Feed::new();
        feed.push(&Bytes::from_static(b"some"));
        feed.cancel();
        assert_eq!(feed.next(4).await, Next::Cancelled);
        assert_eq!(feed.next(0).await, Next::Cancelled);
    }
}
