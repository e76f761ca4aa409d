//! What the writer and the groups share: the index, and what waits.
//!
//! A record gets its place here, under the lock, in the order in which the
//! groups make them; the writer only carries that out. So a reader knows where
//! an entry will lie before it is there, and finds its payload in memory until
//! then.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::{Notify, Semaphore};

use super::index::Index;
use super::record::{self, Change, Standing};
use super::segment::{HEADER_BYTES, Location};
use crate::files::{Files, Handle};

/// The most that may be saved up for copying, in segments.
const COPY_BUDGET_SEGMENTS: u64 = 2;

/// Called once a batch is durable, or will never be.
pub(super) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) files: Arc<dyn Files>,
    pub(super) dir: PathBuf,
    pub(super) options: super::LogOptions,
    pub(super) inner: Mutex<Inner>,
    pub(super) wake: Wake,
    /// Bytes that may still be queued.
    pub(super) room: Arc<Semaphore>,
}

/// Tells the writer that there is work, whether a thread waits or a task.
#[derive(Debug, Default)]
pub(super) struct Wake {
    pub(super) thread: Condvar,
    pub(super) task: Notify,
}

/// Consecutive records that go to one segment.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) segment: u64,
    pub(super) offset: u32,
    pub(super) records: Vec<u8>,
}

/// A copy of an entry that was placed; the index follows once it is durable.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) group: Arc<str>,
    pub(super) index: u64,
    pub(super) from: Location,
    pub(super) to: Location,
}

/// What waits to be written.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) pieces: Vec<Piece>,
    pub(super) waiters: Vec<Done>,
    pub(super) moves: Vec<Move>,
    /// Segments that nobody needs once this batch is durable.
    pub(super) unneeded: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) index: Index,
    /// Segments that are there, the tail's too.
    pub(super) files: BTreeMap<u64, Arc<dyn Handle>>,
    /// Where the next record goes.
    tail: (u64, u32),
    batch: Batch,
    /// Everything before this is in its file.
    pub(super) written: (u64, u32),
    pub(super) failed: Option<Arc<str>>,
    pub(super) closing: bool,
    /// Bytes that may be copied: as many as were written since, so that
    /// copying at most doubles what is written and always comes to an end.
    pub(super) copy_budget: u64,
    /// Entries have just left the oldest segment.
    moved: bool,
}

// === impl Wake ===

impl Wake {
    pub(super) fn wake(&self) {
        self.thread.notify_one();
        self.task.notify_one();
    }
}

// === impl Inner ===

impl Inner {
    pub(super) fn new(
        index: Index,
        files: BTreeMap<u64, Arc<dyn Handle>>,
        tail: (u64, u32),
    ) -> Self {
        Self {
            index,
            files,
            tail,
            batch: Batch::default(),
            written: tail,
            failed: None,
            closing: false,
            copy_budget: 0,
            moved: false,
        }
    }

    /// Gives a record its place, queues it and takes it into the index.
    pub(super) fn place(&mut self, group: &str, change: &Change<'_>, segment_bytes: u32) {
        let at = self.queue(group, change, segment_bytes);
        self.index.apply(group, change, at);
        let ceiling = u64::from(segment_bytes) * COPY_BUDGET_SEGMENTS;
        self.copy_budget = (self.copy_budget + u64::from(at.size)).min(ceiling);
    }

    /// Gives a record its place and queues it; the index stays as it is.
    pub(super) fn queue(
        &mut self,
        group: &str,
        change: &Change<'_>,
        segment_bytes: u32,
    ) -> Location {
        if self.tail.1 >= segment_bytes {
            self.start_segment();
        }
        self.push(group, change)
    }

    pub(super) fn wait(&mut self, done: Done) {
        self.batch.waiters.push(done);
    }

    pub(super) fn push_move(&mut self, entry: Move) {
        self.batch.moves.push(entry);
    }

    /// The next segment begins with what stands for every group, so that no
    /// older one is needed for anything but entries.
    pub(super) fn start_segment(&mut self) {
        self.tail = (self.tail.0 + 1, HEADER_BYTES);
        let standings: Vec<_> = self
            .index
            .groups
            .iter()
            .filter(|(_, group)| group.standing != Standing::default())
            .map(|(name, group)| (Arc::clone(name), group.standing))
            .collect();
        for (name, standing) in standings {
            self.push(&name, &Change::State(standing));
        }
    }

    fn push(&mut self, group: &str, change: &Change<'_>) -> Location {
        let (segment, offset) = self.tail;
        let pieces = &mut self.batch.pieces;
        if pieces.last().is_none_or(|piece| piece.segment != segment) {
            pieces.push(Piece {
                segment,
                offset,
                records: Vec::new(),
            });
        }
        let size = match pieces.last_mut() {
            Some(piece) => record::encode(group, change, &mut piece.records),
            None => 0,
        };
        self.tail.1 += size;
        Location {
            segment,
            offset,
            size,
        }
    }

    pub(super) fn has_work(&self) -> bool {
        self.moved || !self.batch.pieces.is_empty() || !self.batch.waiters.is_empty()
    }

    /// Whether copies are on their way to the end of the log.
    pub(super) fn is_moving(&self) -> bool {
        self.moved || !self.batch.moves.is_empty()
    }

    /// Takes note that everything before `written` is in its file, and `moves`
    /// durable there.
    pub(super) fn settle(&mut self, written: (u64, u32), moves: &[Move], recent_bytes_max: usize) {
        self.written = written;
        for Move {
            group,
            index,
            from,
            to,
        } in moves
        {
            self.index.relocate(group, *index, *from, *to);
        }
        // The segment they left can go with the next batch, even an empty one.
        self.moved = !moves.is_empty();
        for group in self.index.groups.values_mut() {
            group.forget(recent_bytes_max, written);
        }
    }

    /// Everything that waits, and the segments that can go after it.
    pub(super) fn take_batch(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        self.moved = false;
        batch.unneeded = self.unneeded();
        batch
    }

    /// The oldest segments that hold no live entry; never the tail's.
    pub(super) fn unneeded(&self) -> Vec<u64> {
        let needed = |segment: &u64| {
            *segment >= self.tail.0
                || self
                    .index
                    .live
                    .get(segment)
                    .is_some_and(|live| live.entries > 0)
        };
        let oldest = self.files.keys().copied();
        oldest.take_while(|segment| !needed(segment)).collect()
    }

    pub(super) fn fail(&mut self, reason: &str) -> Vec<Done> {
        self.failed.get_or_insert_with(|| Arc::from(reason));
        self.take_batch().waiters
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("pieces", &self.pieces.len())
            .field("waiters", &self.waiters.len())
            .finish_non_exhaustive()
    }
}
