//! The tasks that pushes of this node wait for.
//!
//! However many pushes wait for a task, and however many of them there are, one
//! task of this node looks at each task that is waited for, when something was
//! applied, and wakes those alone whose task has ended. It runs while anybody
//! waits. The invariant: a push is told that a task is complete only by a record
//! that says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_metadata::query::{self, Task, TaskKey, TaskKind, TaskState};
use entrepot_metadata::{GroupId, KeyValue, Metadata, StorageError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tracing::error;

/// Pushes that wait at one node at the same time.
pub(super) const PUSHES_MAX: usize = 1_024;
/// Between two looks, so that many small changes are looked at together; and as
/// many times what the last look took, so that a fifth of a processor is enough.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
const LOOK_PAUSE_FACTOR: u32 = 4;

/// What has become of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The destination has it.
    Durable,
    Refused(String),
    /// It was deleted, or no rule asks for it any more.
    Dropped,
    /// This node cannot tell.
    Unknown,
}

/// By task: whoever waits for it listens.
type Waited = HashMap<TaskKey, watch::Sender<Option<End>>>;

/// The waiting pushes of a node.
#[derive(Debug)]
pub(crate) struct Waiters {
    places: Arc<Semaphore>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waited: Waited,
    runs: bool,
}

/// Lets others begin anew if it dies.
struct Looking<'a>(&'a Waiters);

// === impl End ===

impl End {
    /// None: it is still under way.
    pub(super) fn of(task: Option<&Task>) -> Option<Self> {
        let Some(task) = task.filter(|task| task.kind == TaskKind::Copy) else {
            return Some(Self::Dropped);
        };
        match task.state {
            TaskState::InProgress => None,
            TaskState::Complete => Some(Self::Durable),
            TaskState::Failed => Some(Self::Refused(task.reason.clone().unwrap_or_default())),
        }
    }
}

// === impl Waiters ===

impl Default for Waiters {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PUSHES_MAX)),
            inner: Mutex::default(),
        }
    }
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For one push. None: too many wait.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Begins to wait for a task. It may have ended just before: whoever waits has
    /// to look once more then.
    pub(super) fn wait_for(
        self: &Arc<Self>,
        key: &TaskKey,
        metadata: &Arc<dyn Metadata>,
        group: &GroupId,
    ) -> watch::Receiver<Option<End>> {
        let mut inner = self.lock();
        let receiver = inner
            .waited
            .entry(key.clone())
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe();
        if !inner.runs {
            inner.runs = true;
            let looking = Arc::clone(self).run(Arc::clone(metadata), group.clone());
            tokio::spawn(looking);
        }
        receiver
    }

    /// Looks until nobody waits.
    async fn run(self: Arc<Self>, metadata: Arc<dyn Metadata>, group: GroupId) {
        let looking = Looking(&self);
        let mut applied = 0;
        loop {
            match metadata.applied_after(&group, applied).await {
                Ok(index) => applied = index,
                Err(error) => {
                    error!(%error, "the tasks that pushes wait for cannot be followed");
                    return;
                }
            }
            let start = Instant::now();
            let view = match metadata.view(&group) {
                Ok(view) => view,
                Err(error) => {
                    error!(%error, "the tasks that pushes wait for cannot be read");
                    return;
                }
            };
            if let Err(error) = self.look(view.as_ref()) {
                error!(%error, "the tasks that pushes wait for cannot be read");
                return;
            }
            if self.is_over() {
                std::mem::forget(looking);
                return;
            }
            tokio::time::sleep(LOOK_PAUSE.max(start.elapsed() * LOOK_PAUSE_FACTOR)).await;
        }
    }

    /// Tells those whose task has ended.
    fn look(&self, view: &dyn KeyValue) -> Result<(), StorageError> {
        let keys: Vec<TaskKey> = self.lock().waited.keys().cloned().collect();
        for key in keys {
            let end = End::of(query::task(view, &key)?.as_ref());
            let mut inner = self.lock();
            let is_alone = |sender: &watch::Sender<_>| sender.receiver_count() == 0;
            if end.is_some() || inner.waited.get(&key).is_some_and(is_alone) {
                let sender = inner.waited.remove(&key);
                drop(inner);
                if let Some(sender) = sender {
                    sender.send_replace(end);
                }
            }
        }
        Ok(())
    }

    /// Whether nobody waits; then the next one has to begin anew.
    fn is_over(&self) -> bool {
        let mut inner = self.lock();
        inner.runs = !inner.waited.is_empty();
        !inner.runs
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.runs = false;
        for (_, sender) in inner.waited.drain() {
            sender.send_replace(Some(End::Unknown));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_pushes_wait_and_no_more() {
        let waiters = Waiters::default();
        let places: Vec<_> = (0..PUSHES_MAX).map(|_| waiters.place().unwrap()).collect();
        assert!(waiters.place().is_none());
        drop(places);
        assert!(waiters.place().is_some());
    }

    #[test]
    fn only_a_complete_copy_is_durable() {
        let key: TaskKey = format!("111111111111 app sha256:{} v1 eu-west-1", "0".repeat(64))
            .parse()
            .unwrap();
        let task = |kind, state| Task {
            key: key.clone(),
            sequence: 1,
            created_at_ms: 1,
            state,
            ended_at_ms: None,
            reason: Some("why".to_owned()),
            denied: false,
            kind,
            names: Vec::new(),
            deleted_before: None,
        };
        let of = |kind, state| End::of(Some(&task(kind, state)));
        assert_eq!(of(TaskKind::Copy, TaskState::InProgress), None);
        assert_eq!(of(TaskKind::Copy, TaskState::Complete), Some(End::Durable));
        let refused = Some(End::Refused("why".to_owned()));
        assert_eq!(of(TaskKind::Copy, TaskState::Failed), refused);
        for state in [TaskState::InProgress, TaskState::Failed] {
            assert_eq!(of(TaskKind::Delete, state), Some(End::Dropped));
        }
        assert_eq!(End::of(None), Some(End::Dropped));
    }
}
