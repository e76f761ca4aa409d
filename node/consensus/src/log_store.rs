//! One group's log as openraft wants to see it.
//!
//! A thin layer: [`GroupLog`] keeps the order, durability is reported by its
//! callbacks.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, RaftTypeConfig};
use tokio::sync::oneshot;

use crate::files;
use crate::raftlog::{GroupLog, LogEntry};
use crate::types::{Entry, LogId, TypeConfig, Vote, ballot, entry_id, log_id, vote};
use crate::wire;

/// Entries that go into one message to a follower, bytes; one entry may be
/// larger.
const APPEND_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Entries that are read at a time in order to be applied, bytes.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The log of one group; clones are the same log.
#[derive(Debug, Clone)]
pub(crate) struct LogStore(GroupLog);

impl LogStore {
    pub(crate) fn new(log: GroupLog) -> Self {
        Self(log)
    }

    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let entries = if let Some(entries) = self.0.read_recent(range.clone(), bytes_max) {
            entries
        } else {
            let log = self.0.clone();
            let reading = files::run(self.0.files(), move || log.read(range, bytes_max));
            reading.await??
        };
        let entries = entries.into_iter();
        entries
            .map(|entry| wire::entry_from_log(entry).map_err(io::Error::other))
            .collect()
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}

// === impl RaftLogReader ===

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.read(bounds(&range), usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, APPEND_BYTES_MAX).await
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let state = (self.clone(), bounds(&range), Vec::new().into_iter());
        let stream = futures::stream::try_unfold(state, |(log, mut left, mut read)| async move {
            if read.as_slice().is_empty() {
                read = log.read(left.clone(), READ_BYTES_MAX).await?.into_iter();
            }
            let Some(entry): Option<Entry> = read.next() else {
                return Ok(None);
            };
            left.start = entry.log_id.index() + 1;
            Ok::<_, io::Error>(Some((entry, (log, left, read))))
        });
        Box::pin(stream)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.vote().map(vote))
    }
}

// === impl RaftLogStorage ===

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let (purged, last) = self.0.bounds();
        Ok(LogState {
            last_purged_log_id: purged.map(log_id),
            last_log_id: last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |result| {
            // Nobody waits any more once the group is shut down.
            let _ = sender.send(result);
        });
        self.0.save_vote(ballot(vote), done);
        receiver.await.map_err(io::Error::other)?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let committed = committed.as_ref().map(entry_id);
        Ok(self.0.save_committed(committed)?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.0.committed().map(log_id))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = <TypeConfig as RaftTypeConfig>::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries
            .into_iter()
            .map(|entry| wire::entry_to_log(&entry))
            .collect();
        let bytes = entries.iter().map(|entry| entry.payload.len()).sum();
        let room = self.0.reserve(bytes).await?;
        let done = Box::new(move |result| {
            drop(room);
            callback.io_completed(result);
        });
        Ok(self.0.append(entries, done)?)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        Ok(self.0.truncate_after(last.map(|last| last.index()))?)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        Ok(self.0.purge(entry_id(&upto))?)
    }
}
