//! Blobs of other regions that are arriving: their bytes stay while one sender
//! goes and the next one comes.
//!
//! A deposit is known by the upload that it is of at its source, by the digest of
//! its blob, or by both. Limited in number and in age; they are memory and staged
//! files of this node, and go with it. One of an upload stays one when all of it
//! is here: it becomes a blob when an image names it, and goes if none does. The
//! invariant: one sender at a time adds to a deposit, at its end.

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
/// One that was named and not begun goes after so long: a name may overtake the
/// first byte, by no more than that.
const UNBEGUN_MAX: Duration = Duration::from_secs(2);
/// One that is whole goes after so long: until the rest of its image is uploaded.
const WHOLE_MAX: Duration = Duration::from_mins(30);

/// The id of an upload at its source.
pub(super) type UploadId = [u8; 16];

#[derive(Debug)]
pub(super) struct Deposits {
    table: Mutex<Table>,
    whole_max: Duration,
}

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
    /// Whether all of it is here, as a blob or as one that an image may name.
    whole: watch::Sender<bool>,
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
    /// All of this blob is here, and no image has named it yet.
    Whole(Box<Upload>, Digest),
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
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of those that are whole, none is kept for longer than `whole_max`.
    pub(super) fn keeping(whole_max: Duration) -> Self {
        Self {
            table: Mutex::default(),
            whole_max,
        }
    }

    /// The deposit of that name, or a new one; none: there are too many.
    pub(super) fn enter(&self, name: &Name) -> Option<Arc<Deposit>> {
        let mut table = self.lock();
        if let Some(found) = table.find(name) {
            return Some(Arc::clone(found));
        }
        table.make_room(self.whole_max).then(|| table.add(name))
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
    pub(super) fn name(self: &Arc<Self>, id: &UploadId, digest: Digest) {
        let mut table = self.lock();
        let found = table.uploads.get(id).map(Arc::clone);
        let deposit = match found {
            Some(deposit) => deposit,
            None if table.make_room(self.whole_max) => {
                self.expire_after(UNBEGUN_MAX);
                table.add(&Name::Upload(*id))
            }
            None => return,
        };
        table.digests.entry(digest).or_insert(deposit);
    }

    /// All of a deposit is here, and is this blob, whatever it was called before.
    /// False: so is another one, and this one is not needed.
    pub(super) fn whole(self: &Arc<Self>, deposit: &Arc<Deposit>, digest: &Digest) -> bool {
        let mut table = self.lock();
        table
            .digests
            .retain(|other, of| other == digest || !Arc::ptr_eq(of, deposit));
        let other = table.digests.get(digest);
        let is_other = |of: &Arc<Deposit>| !Arc::ptr_eq(of, deposit) && of.is_whole();
        if other.is_some_and(is_other) {
            return false;
        }
        table.digests.insert(*digest, Arc::clone(deposit));
        drop(table);
        self.expire_after(self.whole_max);
        true
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
        self.expire_after(IDLE_MAX);
    }

    fn expire_after(self: &Arc<Self>, time: Duration) {
        let deposits = Arc::downgrade(self);
        tokio::spawn(async move {
            // Behind the last moment at which it is still young enough.
            tokio::time::sleep(time + Duration::from_millis(1)).await;
            if let Some(deposits) = deposits.upgrade() {
                deposits.lock().drop_idle(deposits.whole_max);
            }
        });
    }
}

impl Default for Deposits {
    fn default() -> Self {
        Self::keeping(WHOLE_MAX)
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
            whole: watch::Sender::new(false),
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

    /// Whether there is room for one more: the one that has rested for longest
    /// gives way.
    fn make_room(&mut self, whole_max: Duration) -> bool {
        self.drop_idle(whole_max);
        if self.len() < DEPOSITS_MAX {
            return true;
        }
        let all = self.uploads.values().chain(self.digests.values());
        let at_rest = all.filter(|deposit| deposit.state.try_lock().is_ok());
        let Some(longest) = at_rest.max_by_key(|deposit| deposit.idle()).cloned() else {
            return false;
        };
        self.drop_if(|deposit, _| Arc::ptr_eq(deposit, &longest));
        self.len() < DEPOSITS_MAX
    }

    /// Those that nobody sends, and that were idle for too long.
    fn drop_idle(&mut self, whole_max: Duration) {
        self.drop_if(|deposit, state| {
            let most = match state {
                State::Empty if !*deposit.begun.borrow() => UNBEGUN_MAX,
                State::Whole(..) => whole_max,
                _ => IDLE_MAX,
            };
            deposit.idle() >= most
        });
    }

    /// Of those that nobody sends. Dropped, their bytes go.
    fn drop_if(&mut self, goes: impl Fn(&Arc<Deposit>, &State) -> bool) {
        let stays = |deposit: &Arc<Deposit>| {
            let Ok(mut state) = deposit.state.try_lock() else {
                return true;
            };
            let goes = matches!(*state, State::Gone) || goes(deposit, &state);
            if goes {
                *state = State::Gone;
            }
            !goes
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
        self.set_whole();
    }

    /// All of it is here.
    pub(super) fn set_whole(&self) {
        self.touch();
        self.whole.send_replace(true);
    }

    pub(super) fn is_whole(&self) -> bool {
        *self.whole.borrow()
    }

    /// Whether somebody is about to bring the rest of it, or nothing is lacking.
    pub(super) fn is_arriving(&self) -> bool {
        let Ok(state) = self.state.try_lock() else {
            return true;
        };
        match *state {
            State::Empty => !*self.begun.borrow(),
            State::Whole(..) | State::Done => true,
            State::Receiving(_) | State::Gone => false,
        }
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

    /// Waits until all of it is here.
    pub(super) async fn arrived(&self) {
        // The sender lives as long as this does.
        let _ = self.whole.subscribe().wait_for(|whole| *whole).await;
    }

    pub(super) fn touch(&self) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        *touched = Instant::now();
    }
}
