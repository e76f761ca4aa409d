//! Blobs of other regions that are arriving: their bytes stay while one sender
//! goes and the next one comes.
//!
//! A deposit is known by the upload that it is of at its source, by the digest of
//! its blob, or by both. Limited in number and in age; they are memory and staged
//! files of this node, and go with it. The invariant: one sender at a time adds
//! to a deposit, at its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_oci::Digest;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::upload::Upload;

/// On one node.
const DEPOSITS_MAX: usize = 512;
/// A deposit that nobody has added to for so long goes.
const IDLE_MAX: Duration = Duration::from_mins(2);

/// The id of an upload at its source.
pub(super) type UploadId = [u8; 16];

#[derive(Debug, Default)]
pub(super) struct Deposits(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    uploads: HashMap<UploadId, Arc<Deposit>>,
    digests: HashMap<Digest, Arc<Deposit>>,
}

/// One blob on its way in.
#[derive(Debug)]
pub(super) struct Deposit {
    /// Whoever has it locked sends.
    pub(super) state: tokio::sync::Mutex<State>,
    touched: Mutex<Instant>,
    /// Whether it has ended as a blob that is linked.
    done: watch::Sender<bool>,
    /// Whether it is of an upload at its source.
    is_upload: bool,
    begun: watch::Sender<bool>,
}

#[derive(Debug, Default)]
pub(super) enum State {
    /// Not a byte has come.
    #[default]
    Empty,
    Receiving(Box<Upload>),
    /// It is linked.
    Done,
    /// It is gone, and not in the table any more.
    Gone,
}

/// How a deposit is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    Upload(UploadId),
    Digest(Digest),
}

// === impl Deposits ===

impl Deposits {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The deposit of that name, or a new one; none: there are too many.
    pub(super) fn enter(&self, name: &Name) -> Option<Arc<Deposit>> {
        let mut table = self.lock();
        if let Some(found) = table.find(name) {
            return Some(Arc::clone(found));
        }
        if table.len() >= DEPOSITS_MAX {
            table.drop_idle(Duration::ZERO);
        } else {
            table.drop_idle(IDLE_MAX);
        }
        if table.len() >= DEPOSITS_MAX {
            return None;
        }
        Some(table.add(name))
    }

    /// The one that is or will be the blob `digest`.
    pub(super) fn of(&self, digest: &Digest) -> Option<Arc<Deposit>> {
        self.lock().digests.get(digest).map(Arc::clone)
    }

    /// Whether another upload than this one is the blob `digest`.
    pub(super) fn has_other(&self, digest: &Digest, id: &UploadId) -> bool {
        let table = self.lock();
        let own = table.uploads.get(id);
        let found = table.digests.get(digest);
        found.is_some_and(|found| own.is_none_or(|own| !Arc::ptr_eq(own, found)))
    }

    /// An upload has become a blob. Its first byte may still be on its way here.
    pub(super) fn name(&self, id: &UploadId, digest: Digest) {
        let mut table = self.lock();
        let deposit = match table.uploads.get(id) {
            Some(deposit) => Arc::clone(deposit),
            None if table.len() < DEPOSITS_MAX => table.add(&Name::Upload(*id)),
            None => return,
        };
        table.digests.entry(digest).or_insert(deposit);
    }

    /// It has ended; whoever still holds it sees how.
    pub(super) fn leave(&self, deposit: &Arc<Deposit>) {
        let mut table = self.lock();
        table
            .uploads
            .retain(|_, other| !Arc::ptr_eq(other, deposit));
        table
            .digests
            .retain(|_, other| !Arc::ptr_eq(other, deposit));
    }

    /// Nobody sends a deposit any more: it goes in a while, unless somebody does
    /// by then.
    pub(super) fn abandon(self: &Arc<Self>) {
        let deposits = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(IDLE_MAX).await;
            if let Some(deposits) = deposits.upgrade() {
                deposits.lock().drop_idle(IDLE_MAX);
            }
        });
    }
}

// === impl Table ===

impl Table {
    fn find(&self, name: &Name) -> Option<&Arc<Deposit>> {
        match name {
            Name::Upload(id) => self.uploads.get(id),
            Name::Digest(digest) => self.digests.get(digest),
        }
    }

    fn add(&mut self, name: &Name) -> Arc<Deposit> {
        let deposit = Arc::new(Deposit {
            state: tokio::sync::Mutex::default(),
            touched: Mutex::new(Instant::now()),
            done: watch::Sender::new(false),
            is_upload: matches!(name, Name::Upload(_)),
            begun: watch::Sender::new(false),
        });
        match name {
            Name::Upload(id) => self.uploads.insert(*id, Arc::clone(&deposit)),
            Name::Digest(digest) => self.digests.insert(*digest, Arc::clone(&deposit)),
        };
        deposit
    }

    fn len(&self) -> usize {
        self.uploads.len().max(self.digests.len())
    }

    /// Those that nobody sends, and that were idle for so long. Dropped, their
    /// bytes go.
    fn drop_idle(&mut self, idle: Duration) {
        let stays = |deposit: &Arc<Deposit>| {
            let Ok(mut state) = deposit.state.try_lock() else {
                return true;
            };
            let is_idle = deposit.idle() >= idle;
            if is_idle {
                *state = State::Gone;
            }
            !is_idle
        };
        self.uploads.retain(|_, deposit| stays(deposit));
        self.digests.retain(|_, deposit| stays(deposit));
    }
}

// === impl Deposit ===

impl Deposit {
    fn idle(&self) -> Duration {
        let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.elapsed()
    }

    /// Its blob is linked.
    pub(super) fn end(&self, state: &mut State) {
        *state = State::Done;
        self.done.send_replace(true);
    }

    /// Waits until somebody has begun to send an upload, if one was named.
    pub(super) async fn begun(&self, patience: Duration) {
        if !self.is_upload {
            return;
        }
        let mut state = self.begun.subscribe();
        let _ = tokio::time::timeout(patience, state.wait_for(|begun| *begun)).await;
    }

    /// Somebody sends it.
    pub(super) fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Waits until its blob is linked.
    pub(super) async fn ended(&self) {
        // The sender lives as long as this does.
        let _ = self.done.subscribe().wait_for(|done| *done).await;
    }

    pub(super) fn touch(&self) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        *touched = Instant::now();
    }
}
