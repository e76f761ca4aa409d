//! One group's state machine as openraft wants to see it.
//!
//! Entries are applied by `entrepot_metadata`, one after another, where blocking
//! is allowed. The position travels with what an entry changes, so an entry is
//! applied once or not at all, however the process ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use entrepot_metadata::{Envelope, StorageError, Writes};
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::watch;

use crate::applied::{self, AppliedStore, Frozen, GroupState};
use crate::snapshot::{SnapshotFile, SnapshotStore};
use crate::types::{
    Answer, Entry, LogId, Position, Proposal, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};

/// Entries that are applied in one go, away from the scheduler's threads.
const APPLY_ENTRIES_MAX: usize = 64;

/// One group's state machine. Its parts are shared with readers and servers.
#[derive(Debug, Clone)]
pub(crate) struct StateMachine {
    store: Arc<AppliedStore>,
    state: Arc<GroupState>,
    snapshots: Arc<SnapshotStore>,
    /// Index up to which the state is applied; 0 before anything is.
    applied: watch::Sender<u64>,
    /// See [`StateMachine::reached`].
    reached: Reached,
}

/// A log index that only grows; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached(Arc<AtomicU64>);

/// Writes a snapshot of the state as it was when this was made.
#[derive(Debug)]
pub(crate) struct SnapshotBuilder {
    machine: StateMachine,
    view: Result<Arc<Frozen>, String>,
}

// === impl StateMachine ===

impl StateMachine {
    /// Blocks.
    pub(crate) fn new(
        store: Arc<AppliedStore>,
        state: Arc<GroupState>,
        snapshots: Arc<SnapshotStore>,
    ) -> Result<Self, StorageError> {
        let index = applied_index(&state.position()?.meta);
        Ok(Self {
            store,
            state,
            snapshots,
            applied: watch::Sender::new(index),
            reached: Reached(Arc::new(AtomicU64::new(index))),
        })
    }

    /// Up to where a copy may show the log because of this node: its own copy, or
    /// while it leads a follower's, which may well be ahead of its own.
    pub(crate) fn reached(&self) -> &Reached {
        &self.reached
    }

    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The index of what every reader sees.
    pub(crate) fn applied_now(&self) -> u64 {
        *self.applied.borrow()
    }

    async fn apply_entries(&self, entries: Vec<Entry>) -> Result<Vec<Answer>, StorageError> {
        let (state, applied) = (Arc::clone(&self.state), self.applied.clone());
        // Before a reader can see any of them.
        if let Some(last) = entries.last() {
            self.reached.grow_to(last.log_id.index());
        }
        applied::blocking(&self.store, move || {
            let mut position = state.position()?;
            let mut answers = Vec::with_capacity(entries.len());
            for entry in entries {
                answers.push(apply_entry(&state, &mut position, entry)?);
            }
            applied.send_replace(applied_index(&position.meta));
            Ok(answers)
        })
        .await
    }

    async fn install(&self, meta: SnapshotMeta, mut file: SnapshotFile) -> io::Result<()> {
        let (state, snapshots) = (Arc::clone(&self.state), Arc::clone(&self.snapshots));
        let (store, applied) = (Arc::clone(&self.store), self.applied.clone());
        self.reached.grow_to(applied_index(&meta));
        let installed = applied::blocking(&self.store, move || {
            let failed = |error| StorageError::backend("install", error);
            snapshots.install(&mut file, &meta).map_err(failed)?;
            let pairs = file.pairs().map_err(failed)?;
            state.replace(pairs, &file.position(&meta))?;
            store.flush()?;
            applied.send_replace(applied_index(&meta));
            Ok(())
        });
        installed.await.map_err(into_io)
    }
}

// === impl Reached ===

impl Reached {
    pub(crate) fn grow_to(&self, index: u64) {
        self.0.fetch_max(index, Ordering::SeqCst);
    }

    pub(crate) fn index(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn apply_entry(
    state: &GroupState,
    position: &mut Position,
    entry: Entry,
) -> Result<Answer, StorageError> {
    let index = entry.log_id.index();
    let meta = &mut position.meta;
    meta.last_log_id = Some(entry.log_id);
    let (writes, answer) = match entry.payload {
        EntryPayload::Blank => (Writes::default(), Bytes::new()),
        EntryPayload::Normal(Proposal(envelope)) => {
            let (writes, response) = entrepot_metadata::apply(state, index, &envelope)?;
            position.level = position.level.max(Envelope::level_of(&envelope));
            (writes, response.to_bytes())
        }
        EntryPayload::Membership(membership) => {
            meta.last_membership = StoredMembership::new(meta.last_log_id, membership);
            (Writes::default(), Bytes::new())
        }
    };
    state.write(&writes, position)?;
    Ok(Answer(answer))
}

fn applied_index(meta: &SnapshotMeta) -> u64 {
    meta.last_log_id.map_or(0, |id| id.index())
}

/// With its cause: openraft keeps the text alone.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn into_io(error: StorageError) -> io::Error {
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    io::Error::other(match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

// === impl RaftStateMachine ===

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let meta = self.state.position().map_err(into_io)?.meta;
        Ok((meta.last_log_id, meta.last_membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        loop {
            let mut batch = Vec::new();
            let mut responders: Vec<Option<ApplyResponder<TypeConfig>>> = Vec::new();
            while batch.len() < APPLY_ENTRIES_MAX
                && let Some(next) = entries.next().await
            {
                let (entry, responder) = next?;
                batch.push(entry);
                responders.push(responder);
            }
            if batch.is_empty() {
                return Ok(());
            }
            let answers = self.apply_entries(batch).await.map_err(into_io)?;
            for (answer, responder) in answers.into_iter().zip(responders) {
                if let Some(responder) = responder {
                    responder.send(answer);
                }
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        // No entry is being applied while openraft asks for this.
        let state = Arc::clone(&self.state);
        let view = applied::blocking(&self.store, move || state.freeze()).await;
        SnapshotBuilder {
            view: view.map_err(|error| error.to_string()),
            machine: self.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        self.install(meta.clone(), snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let current = self.snapshots.current()?;
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

// === impl RaftSnapshotBuilder ===

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let view = self.view.clone().map_err(io::Error::other)?;
        let (store, snapshots) = (
            Arc::clone(&self.machine.store),
            Arc::clone(&self.machine.snapshots),
        );
        // The log before the snapshot goes next: by then both are on the disk.
        let built = applied::blocking(&self.machine.store, move || {
            store.flush()?;
            let failed = |error| StorageError::backend("write a snapshot of", error);
            snapshots.write(&view).map_err(failed)
        });
        built.await.map_err(into_io)?;
        // The view's own, or one that was installed in the meantime.
        let (meta, snapshot) = self
            .machine
            .snapshots
            .current()?
            .ok_or_else(|| io::Error::other("the snapshot is gone"))?;
        Ok(Snapshot { meta, snapshot })
    }
}
