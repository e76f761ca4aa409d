//! What this node's copy of the region's log changes, handed out to those who
//! watch a repository.
//!
//! One task reads each applied entry once, however many watch, and puts what it
//! changed into the queues of those who watch that repository; nobody else is
//! woken. It runs while anybody watches. A queue has a limit: whoever lets it
//! fill up loses it, and can go on from the state, which remembers the changes
//! of many entries. The invariant: a queue has every change of its repository
//! since it was made, in order, or has ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_metadata::query::{self, EntryChanges, RepositoryChanges};
use entrepot_metadata::{GroupId, KeyValue, Metadata};
use entrepot_oci::{RegistryId, RepositoryName};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::{error, warn};

use crate::ServiceError;

/// Watches of one node at the same time.
const WATCHES_MAX: usize = 1_000;
/// Changes that wait for one watcher: some hundred KiB.
const QUEUE_CHANGES_MAX: usize = 1_024;
/// Entries read before others get their turn.
const ENTRIES_AT_ONCE: u64 = 64;

/// What is watched.
pub(crate) type Home = (RegistryId, RepositoryName);

/// The watches of this node.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stage: Stage,
    /// Every change up to this log index has been handed out. Means nothing
    /// unless it runs.
    position: u64,
    queues: HashMap<Home, Vec<Arc<Queue>>>,
    count: usize,
}

#[derive(Debug, Default)]
enum Stage {
    /// Nobody watches.
    #[default]
    Idle,
    Running(Option<AbortHandle>),
    /// The node stops.
    Closed,
}

/// One watcher's place in the feed; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Subscription {
    feed: Arc<Feed>,
    home: Home,
    queue: Arc<Queue>,
}

/// What one entry of the log changed in the repository.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) index: u64,
    pub(crate) changes: Arc<RepositoryChanges>,
}

/// Why a queue gets nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its watcher, or this node's reading of the log, did not keep up.
    TooSlow,
    /// The node stops.
    Stopping,
    /// The log cannot be read on this node.
    Broken,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// In `entries`.
    changes: usize,
    ended: Option<End>,
}

/// Ends the watches if the task that feeds them dies.
struct Feeding<'a> {
    feed: &'a Feed,
    done: bool,
}

// === impl Feed ===

impl Feed {
    /// A queue that gets every change after the log index that is returned with
    /// it. `applied`: an index that this node has applied.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        home: Home,
        applied: u64,
        metadata: &Arc<dyn Metadata>,
        group: &GroupId,
    ) -> Result<(Subscription, u64), ServiceError> {
        let mut inner = self.lock();
        match inner.stage {
            Stage::Closed => return Err(stopping()),
            _ if inner.count >= WATCHES_MAX => {
                return Err(ServiceError::unavailable(
                    "this node has too many watches; try another one",
                ));
            }
            Stage::Idle => {
                inner.position = applied;
                let feeding = feed(Arc::clone(self), Arc::clone(metadata), group.clone());
                let task = tokio::spawn(feeding);
                inner.stage = Stage::Running(Some(task.abort_handle()));
            }
            Stage::Running(_) => {}
        }
        let queue = Arc::new(Queue::default());
        let queues = inner.queues.entry(home.clone()).or_default();
        queues.push(Arc::clone(&queue));
        inner.count += 1;
        let subscription = Subscription {
            feed: Arc::clone(self),
            home,
            queue,
        };
        Ok((subscription, inner.position))
    }

    /// Ends every watch; there are no more after this.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        if let Stage::Running(Some(task)) = &inner.stage {
            task.abort();
        }
        inner.stage = Stage::Closed;
        inner.end(End::Stopping);
    }

    /// Where to go on reading; none: nobody watches any more.
    fn next(&self) -> Option<u64> {
        let mut inner = self.lock();
        if inner.count > 0 {
            return Some(inner.position);
        }
        if matches!(inner.stage, Stage::Running(_)) {
            inner.stage = Stage::Idle;
        }
        None
    }

    fn hand_out(&self, index: u64, changes: EntryChanges) {
        let mut inner = self.lock();
        for changed in changes.repositories {
            let home = (changed.account.clone(), changed.repository.clone());
            let Some(queues) = inner.queues.get(&home) else {
                continue;
            };
            let entry = Entry {
                index,
                changes: Arc::new(changed),
            };
            for queue in queues {
                queue.push(entry.clone());
            }
        }
        inner.position = index;
    }

    /// This node's copy got ahead of what is remembered, by a snapshot.
    fn skip(&self, index: u64) {
        let mut inner = self.lock();
        inner.end(End::TooSlow);
        inner.position = index;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked while it held this has left a queue without its end,
        // at worst; `Feeding` gives it one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what is applied and hands it out, for as long as anybody watches.
async fn feed(feed: Arc<Feed>, metadata: Arc<dyn Metadata>, group: GroupId) {
    let mut feeding = Feeding {
        feed: &feed,
        done: false,
    };
    while let Some(position) = feed.next() {
        let applied = metadata.applied_after(&group, position).await;
        let read = match applied.and_then(|applied| Ok((applied, metadata.view(&group)?))) {
            Ok((applied, view)) => read(&feed, view.as_ref(), position, applied).await,
            Err(error) => {
                warn!(%error, %group, "watches end: the log cannot be followed");
                return;
            }
        };
        if let Err(error) = read {
            error!(%error, %group, "watches end: the log's changes cannot be read");
            return;
        }
    }
    feeding.done = true;
}

async fn read(
    feed: &Feed,
    view: &dyn KeyValue,
    position: u64,
    applied: u64,
) -> Result<(), entrepot_metadata::StorageError> {
    for index in position + 1..=applied {
        let Some(changes) = query::changes(view, index)? else {
            feed.skip(applied);
            return Ok(());
        };
        feed.hand_out(index, changes);
        if index % ENTRIES_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

pub(crate) fn stopping() -> ServiceError {
    ServiceError::unavailable("this node stops; go on at another one")
}

// === impl Inner ===

impl Inner {
    fn end(&self, end: End) {
        for queue in self.queues.values().flatten() {
            queue.end(end);
        }
    }
}

// === impl Feeding ===

impl Drop for Feeding<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut inner = self.feed.lock();
        inner.end(End::Broken);
        if matches!(inner.stage, Stage::Running(_)) {
            inner.stage = Stage::Idle;
        }
    }
}

// === impl Subscription ===

impl Subscription {
    /// The next entry that changed the repository, or why there are none.
    pub(crate) async fn next(&self) -> Result<Entry, End> {
        loop {
            // Made first: what comes between the look and the wait wakes it.
            let ready = self.queue.ready.notified();
            if let Some(next) = self.queue.take() {
                return next;
            }
            ready.await;
        }
    }

    /// Up to which log index everything was handed out and taken; none: there
    /// is more to take.
    pub(crate) fn position(&self) -> Option<u64> {
        let inner = self.feed.lock();
        let waiting = self.queue.lock();
        (waiting.entries.is_empty() && waiting.ended.is_none()).then_some(inner.position)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut inner = self.feed.lock();
        inner.count = inner.count.saturating_sub(1);
        if let Some(queues) = inner.queues.get_mut(&self.home) {
            queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            if queues.is_empty() {
                inner.queues.remove(&self.home);
            }
        }
    }
}

// === impl Queue ===

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, entry: Entry) {
        let mut waiting = self.lock();
        if waiting.ended.is_some() {
            return;
        }
        let more = entry.changes.changes.len();
        // One entry always fits: it has a limit of its own.
        if !waiting.entries.is_empty() && waiting.changes + more > QUEUE_CHANGES_MAX {
            waiting.end(End::TooSlow);
        } else {
            waiting.changes += more;
            waiting.entries.push_back(entry);
        }
        drop(waiting);
        self.ready.notify_one();
    }

    fn end(&self, end: End) {
        let mut waiting = self.lock();
        if waiting.ended.is_none() {
            waiting.end(end);
        }
        drop(waiting);
        self.ready.notify_one();
    }

    fn take(&self) -> Option<Result<Entry, End>> {
        let mut waiting = self.lock();
        match waiting.entries.pop_front() {
            Some(entry) => {
                waiting.changes -= entry.changes.changes.len();
                Some(Ok(entry))
            }
            None => waiting.ended.map(Err),
        }
    }
}

// === impl Waiting ===

impl Waiting {
    /// What was not taken is dropped at once: its watcher may never come back.
    fn end(&mut self, end: End) {
        self.ended = Some(end);
        self.entries = VecDeque::new();
        self.changes = 0;
    }
}
