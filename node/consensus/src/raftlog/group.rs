//! The log as one group sees it.
//!
//! Changes are visible to readers when the call returns, durable when the
//! callback says so. A callback is called on the writer's thread and must not
//! block.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::record::{Ballot, Change, EntryId, PAYLOAD_BYTES_MAX};
use super::segment::{self, Location};
use super::shared::{Done, Inner, Shared};
use super::{BACKLOG_BYTES_MAX, LogError};
use crate::files::{Files, Handle};

/// One entry: what Raft says of it, and bytes that the log does not look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) id: EntryId,
    pub(crate) payload: Bytes,
}

/// The log of one group; clones are the same log.
#[derive(Debug, Clone)]
pub(crate) struct GroupLog {
    shared: Arc<Shared>,
    name: Arc<str>,
}

/// Where an entry's payload is to be had.
enum Source {
    Memory(Bytes),
    File(Arc<dyn Handle>, Location),
}

impl GroupLog {
    pub(super) fn new(shared: Arc<Shared>, name: &str) -> Self {
        Self {
            shared,
            name: Arc::from(name),
        }
    }

    /// What it is written to.
    pub(crate) fn files(&self) -> &Arc<dyn Files> {
        &self.shared.files
    }

    pub(crate) fn vote(&self) -> Option<Ballot> {
        let inner = self.shared.lock();
        inner.index.get(&self.name)?.standing.vote
    }

    pub(crate) fn committed(&self) -> Option<EntryId> {
        let inner = self.shared.lock();
        inner.index.get(&self.name)?.standing.committed
    }

    /// What was purged last, and the last entry (or the former, if there is
    /// no entry).
    pub(crate) fn bounds(&self) -> (Option<EntryId>, Option<EntryId>) {
        let inner = self.shared.lock();
        let group = inner.index.get(&self.name);
        group.map_or((None, None), |group| {
            (group.standing.purged, group.standing.last)
        })
    }

    /// Bytes that the entries take on disk.
    pub(crate) fn bytes(&self) -> u64 {
        let inner = self.shared.lock();
        inner.index.get(&self.name).map_or(0, |group| group.bytes)
    }

    pub(crate) fn save_vote(&self, vote: Ballot, done: Done) {
        self.change(&Change::Vote(vote), Some(done));
    }

    /// Keeps the committed position. It is written with what comes next: it
    /// only spares work at a start, and nobody waits for it.
    pub(crate) fn save_committed(&self, committed: Option<EntryId>) -> Result<(), LogError> {
        let mut inner = self.usable()?;
        let change = Change::Committed(committed);
        inner.place(&self.name, &change, self.shared.options.segment_bytes);
        Ok(())
    }

    /// Waits until `bytes` more may be queued; the permit goes with them.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LogError> {
        let bytes = u32::try_from(bytes.min(BACKLOG_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.shared.room);
        room.acquire_many_owned(bytes)
            .await
            .map_err(|_| LogError::Poisoned {
                reason: "the log is closed".to_owned(),
            })
    }

    /// Appends consecutive entries right after the last one.
    ///
    /// # Errors
    ///
    /// [`LogError::Gap`] when they do not follow it. Nothing is appended and
    /// `done` is not called then.
    pub(crate) fn append(&self, entries: Vec<LogEntry>, done: Done) -> Result<(), LogError> {
        let mut inner = self.usable()?;
        let mut expected = inner
            .index
            .get(&self.name)
            .and_then(super::index::Group::next_index);
        for entry in &entries {
            let found = entry.id.index;
            if expected.is_some_and(|expected| expected != found) {
                return Err(LogError::Gap {
                    group: self.name.to_string(),
                    expected: expected.unwrap_or_default(),
                    found,
                });
            }
            if entry.payload.len() > PAYLOAD_BYTES_MAX {
                let bytes = entry.payload.len();
                return Err(LogError::TooLarge { bytes });
            }
            expected = Some(found + 1);
        }
        for LogEntry { id, payload } in entries {
            let change = Change::Entry(id, &payload);
            inner.place(&self.name, &change, self.shared.options.segment_bytes);
            inner.index.group(&self.name).remember(id.index, payload);
        }
        inner.wait(done);
        drop(inner);
        self.shared.wake.wake();
        Ok(())
    }

    /// Drops every entry after `index`; `None` drops all.
    pub(crate) fn truncate_after(&self, index: Option<u64>) -> Result<(), LogError> {
        let mut inner = self.usable()?;
        let last = inner.index.group(&self.name).last_after_truncate(index);
        let change = Change::Truncate(last);
        inner.place(&self.name, &change, self.shared.options.segment_bytes);
        drop(inner);
        self.shared.wake.wake();
        Ok(())
    }

    /// Drops every entry up to `upto`, which may lie beyond the last one.
    pub(crate) fn purge(&self, upto: EntryId) -> Result<(), LogError> {
        let mut inner = self.usable()?;
        let change = Change::Purge(upto);
        inner.place(&self.name, &change, self.shared.options.segment_bytes);
        drop(inner);
        self.shared.wake.wake();
        Ok(())
    }

    /// The entries of `range` that are there, from its start on, until they
    /// make up `bytes_max`; at least one. May read files.
    pub(crate) fn read(
        &self,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<LogEntry>, LogError> {
        let sources = self.sources(range, bytes_max)?;
        let load = |(id, source)| match source {
            Source::Memory(payload) => Ok(LogEntry { id, payload }),
            Source::File(file, at) => {
                let path = segment::path(&self.shared.dir, at.segment);
                let payload = segment::read_entry(&*file, &path, at, id)?;
                Ok(LogEntry { id, payload })
            }
        };
        sources.into_iter().map(load).collect()
    }

    /// The same, if all of it is in memory.
    pub(crate) fn read_recent(&self, range: Range<u64>, bytes_max: usize) -> Option<Vec<LogEntry>> {
        let sources = self.sources(range, bytes_max).ok()?;
        let recent = |(id, source)| match source {
            Source::Memory(payload) => Some(LogEntry { id, payload }),
            Source::File(..) => None,
        };
        sources.into_iter().map(recent).collect()
    }

    fn sources(
        &self,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<(EntryId, Source)>, LogError> {
        let inner = self.shared.lock();
        let mut sources = Vec::new();
        let mut bytes = 0;
        let Some(group) = inner.index.get(&self.name).filter(|_| !range.is_empty()) else {
            return Ok(sources);
        };
        for (index, slot) in group.slots.range(range) {
            bytes += slot.at.size as usize;
            if bytes > bytes_max && !sources.is_empty() {
                break;
            }
            let id = EntryId {
                term: slot.term,
                node: slot.node,
                index: *index,
            };
            let source = match (&slot.recent, inner.files.get(&slot.at.segment)) {
                (Some(payload), _) => Source::Memory(payload.clone()),
                (None, Some(file)) => Source::File(Arc::clone(file), slot.at),
                (None, None) => {
                    let path = segment::path(&self.shared.dir, slot.at.segment);
                    return Err(LogError::damaged(&path, 0, "the segment is not open"));
                }
            };
            sources.push((id, source));
        }
        Ok(sources)
    }

    fn change(&self, change: &Change<'_>, done: Option<Done>) {
        let mut inner = match self.usable() {
            Ok(inner) => inner,
            Err(error) => {
                if let Some(done) = done {
                    done(Err(io::Error::from(error)));
                }
                return;
            }
        };
        inner.place(&self.name, change, self.shared.options.segment_bytes);
        if let Some(done) = done {
            inner.wait(done);
        }
        drop(inner);
        self.shared.wake.wake();
    }

    fn usable(&self) -> Result<std::sync::MutexGuard<'_, Inner>, LogError> {
        let inner = self.shared.lock();
        match &inner.failed {
            None if inner.closing => Err(LogError::Poisoned {
                reason: "it is closed".to_owned(),
            }),
            None => Ok(inner),
            Some(reason) => Err(LogError::Poisoned {
                reason: reason.to_string(),
            }),
        }
    }
}
