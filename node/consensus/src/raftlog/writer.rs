//! What writes the log: one at a time, see [`super::driver`].
//!
//! It takes everything that waits, writes it, makes it durable with one
//! `fdatasync`, and only then calls back. A full segment is synced before the
//! next one is begun, and a segment is unlinked only after the records that
//! made it unnecessary are durable.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::LogError;
use super::record::{self, Change, EntryId};
use super::segment::{self, HEADER_BYTES, Location};
use super::shared::{Batch, Done, Move, Piece, Shared};
use crate::files::{self, Files, Handle};

/// Owns the end of the log.
pub(super) struct Writer {
    shared: Arc<Shared>,
    file: Option<Arc<dyn Handle>>,
    segment: u64,
    /// Everything below is in the file.
    written: u32,
    /// Everything below is durable.
    synced: u32,
}

/// An entry on its way to the end of the log.
struct Moving {
    group: Arc<str>,
    id: EntryId,
    from: Location,
    payload: Option<Bytes>,
}

/// Poisons the log if the thread panics.
struct PanicGuard(Option<Arc<Shared>>);

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        file: Option<Arc<dyn Handle>>,
        segment: u64,
        end: u32,
    ) -> Self {
        Self {
            shared,
            file,
            segment,
            written: end,
            synced: end,
        }
    }

    pub(super) fn run(mut self) {
        let guard = PanicGuard(Some(Arc::clone(&self.shared)));
        while let Some(batch) = self.next_batch() {
            self.perform(batch);
        }
        guard.defuse();
    }

    /// Does what waits now.
    pub(super) fn turn(&mut self) {
        while let Some(batch) = self.waiting_batch() {
            self.perform(batch);
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn perform(&mut self, mut batch: Batch) {
        let waiters = std::mem::take(&mut batch.waiters);
        let wanted = !waiters.is_empty();
        match self.commit(&mut batch, wanted) {
            Ok(()) => waiters.into_iter().for_each(|done| done(Ok(()))),
            Err(error) => return self.fail(&error, waiters),
        }
        if let Err(error) = self.tidy(&batch) {
            self.fail(&error, Vec::new());
        }
    }

    fn fail(&self, error: &LogError, mut waiters: Vec<Done>) {
        let reason = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        tracing::error!(
            reason,
            "the log failed; it takes nothing more until a restart"
        );
        waiters.append(&mut self.shared.lock().fail(&reason));
        for done in waiters {
            done(Err(io::Error::other(reason.clone())));
        }
    }

    /// Waits for work; none once the log is closing and nothing waits.
    fn next_batch(&self) -> Option<Batch> {
        let mut inner = self.shared.lock();
        loop {
            if inner.failed.is_some() {
                return None;
            }
            if inner.has_work() {
                return Some(inner.take_batch());
            }
            if inner.closing {
                return None;
            }
            let woken = self.shared.wake.thread.wait(inner);
            inner = woken.unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn waiting_batch(&self) -> Option<Batch> {
        let mut inner = self.shared.lock();
        let waits = inner.failed.is_none() && inner.has_work();
        waits.then(|| inner.take_batch())
    }

    /// Writes a batch and, if somebody waits for it, makes it durable.
    fn commit(&mut self, batch: &mut Batch, wanted: bool) -> Result<(), LogError> {
        for piece in &mut batch.pieces {
            if piece.segment != self.segment || self.file.is_none() {
                self.begin_segment(piece.segment)?;
            }
            self.write_piece(piece)?;
        }
        let wanted = wanted || !batch.moves.is_empty() || !batch.unneeded.is_empty();
        if wanted {
            self.sync()?;
        }
        Ok(())
    }

    fn write_piece(&mut self, piece: &mut Piece) -> Result<(), LogError> {
        record::seal(&mut piece.records, self.synced);
        if let Some(file) = &self.file {
            files::write_all_at(&**file, &piece.records, u64::from(piece.offset))
                .map_err(|source| LogError::io(&self.path(), source))?;
        }
        let length = u32::try_from(piece.records.len()).unwrap_or(u32::MAX);
        self.written = piece.offset.saturating_add(length);
        Ok(())
    }

    fn begin_segment(&mut self, number: u64) -> Result<(), LogError> {
        self.sync()?;
        let path = segment::path(&self.shared.dir, number);
        let file = segment::create(self.files(), &self.shared.dir, number);
        let file = file.map_err(|source| LogError::io(&path, source))?;
        self.shared.lock().files.insert(number, Arc::clone(&file));
        self.file = Some(file);
        self.segment = number;
        self.written = HEADER_BYTES;
        self.synced = HEADER_BYTES;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        if let Some(file) = self.file.as_ref().filter(|_| self.synced < self.written) {
            file.sync()
                .map_err(|source| LogError::io(&self.path(), source))?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Lets go of what is not needed any more: payloads in memory, segments.
    fn tidy(&mut self, batch: &Batch) -> Result<(), LogError> {
        let mut inner = self.shared.lock();
        let written = (self.segment, self.written);
        inner.settle(written, &batch.moves, self.shared.options.recent_bytes_max);
        for segment in &batch.unneeded {
            inner.files.remove(segment);
            inner.index.live.remove(segment);
        }
        drop(inner);
        for segment in &batch.unneeded {
            let path = segment::path(&self.shared.dir, *segment);
            let removed = self.files().remove(&path);
            removed.map_err(|source| LogError::io(&path, source))?;
        }
        if !batch.unneeded.is_empty() {
            let dir = &self.shared.dir;
            let synced = self.files().sync_dir(dir);
            synced.map_err(|source| LogError::io(dir, source))?;
        }
        self.copy_oldest()
    }

    /// Places copies of the few entries that keep the oldest segment, so that
    /// a group that hardly writes does not hold back the others' space.
    fn copy_oldest(&self) -> Result<(), LogError> {
        let Some((file, mut moving)) = self.entries_of_oldest() else {
            return Ok(());
        };
        for entry in &mut moving {
            if entry.payload.is_none() {
                let path = segment::path(&self.shared.dir, entry.from.segment);
                entry.payload = Some(segment::read_entry(&*file, &path, entry.from, entry.id)?);
            }
        }
        let mut inner = self.shared.lock();
        for entry in moving {
            let slot = inner.index.get(&entry.group);
            let slot = slot.and_then(|group| group.slots.get(&entry.id.index));
            if slot.is_none_or(|slot| slot.at != entry.from) {
                continue;
            }
            let payload = entry.payload.unwrap_or_default();
            let change = Change::Copy(entry.id, &payload);
            let to = inner.queue(&entry.group, &change, self.shared.options.segment_bytes);
            inner.push_move(Move {
                group: entry.group,
                index: entry.id.index,
                from: entry.from,
                to,
            });
        }
        Ok(())
    }

    fn entries_of_oldest(&self) -> Option<(Arc<dyn Handle>, Vec<Moving>)> {
        let options = &self.shared.options;
        let mut inner = self.shared.lock();
        let (oldest, file) = inner.files.first_key_value()?;
        let (oldest, file) = (*oldest, Arc::clone(file));
        let live = inner.index.live.get(&oldest).copied().unwrap_or_default();
        let bytes_max = options.copy_bytes_max.min(inner.copy_budget);
        let few = live.entries > 0 && live.bytes <= bytes_max;
        if inner.files.len() < options.segments_before_copy || !few || inner.is_moving() {
            return None;
        }
        inner.copy_budget -= live.bytes;
        let mut moving = Vec::new();
        for (name, group) in &inner.index.groups {
            for (index, slot) in &group.slots {
                if slot.at.segment == oldest {
                    moving.push(Moving {
                        group: Arc::clone(name),
                        id: EntryId {
                            term: slot.term,
                            node: slot.node,
                            index: *index,
                        },
                        from: slot.at,
                        payload: slot.recent.clone(),
                    });
                }
            }
        }
        Some((file, moving))
    }

    fn files(&self) -> &dyn Files {
        &*self.shared.files
    }

    fn path(&self) -> PathBuf {
        segment::path(&self.shared.dir, self.segment)
    }
}

impl PanicGuard {
    fn defuse(mut self) {
        self.0 = None;
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else {
            return;
        };
        // After a failure the waiters know already and these are late ones.
        for done in shared.lock().fail("the writer stopped") {
            done(Err(io::Error::other("the writer of the log stopped")));
        }
    }
}
