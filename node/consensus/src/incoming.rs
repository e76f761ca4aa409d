//! A snapshot on its way in, and what is left of it when its stream is cut off.
//!
//! The sender asks how much is there and goes on from that byte, as long as it
//! is the same file: the same snapshot, the same length, the same checksum. Any
//! other one starts over. Only one comes in at a time; a new stream takes the
//! place of one that has not noticed yet that it is dead. Nothing is believed
//! before the checksum of the whole has been verified.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_proto::peer;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::files::{self, Files, Handle};
use crate::snapshot::{SnapshotError, SnapshotFile, SnapshotStore, Staged};
use crate::types::Position;

/// How long what has come of a snapshot waits for the rest.
const PATIENCE: Duration = Duration::from_mins(10);

/// What is coming in for one group.
#[derive(Debug)]
pub(crate) struct Incoming {
    files: Arc<dyn Files>,
    snapshots: Arc<SnapshotStore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts streams; the last one alone may write.
    stream: u64,
    partial: Option<Partial>,
}

/// The beginning of a snapshot.
#[derive(Debug)]
struct Partial {
    announced: Announced,
    staged: Staged,
    handle: Arc<dyn Handle>,
    received: u64,
    touched: Instant,
}

/// What a sender says of a snapshot before its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) position: Position,
    /// None from a sender that cannot go on with a stream.
    pub(crate) file: Option<FileId>,
}

/// Tells a snapshot's file from any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) length: u64,
    pub(crate) checksum: Bytes,
}

/// Why a stream is not taken, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IncomingError {
    #[error("{received} bytes are here, not {offset}")]
    Offset { offset: u64, received: u64 },
    #[error("another stream took its place")]
    Superseded,
    #[error("it has more bytes than were announced")]
    TooLong,
    #[error("it ends after {received} bytes")]
    Short { received: u64 },
    #[error("cannot write what comes in")]
    Io(#[source] io::Error),
    #[error("what came in is no use")]
    Snapshot(#[source] SnapshotError),
}

// === impl Announced ===

impl Announced {
    pub(crate) fn new(position: Position, header: &peer::SnapshotHeader) -> Self {
        let file = FileId {
            length: header.length_bytes,
            checksum: header.checksum.clone(),
        };
        Self {
            position,
            file: Some(file).filter(|file| !file.checksum.is_empty()),
        }
    }
}

// === impl Incoming ===

impl Incoming {
    pub(crate) fn new(files: &Arc<dyn Files>, snapshots: &Arc<SnapshotStore>) -> Self {
        Self {
            files: Arc::clone(files),
            snapshots: Arc::clone(snapshots),
            state: Mutex::default(),
        }
    }

    /// How many bytes of this snapshot are here.
    pub(crate) async fn received(&self, announced: &Announced) -> u64 {
        let state = self.state.lock().await;
        let partial = state.partial.as_ref();
        partial.map_or(0, |partial| partial.of(announced))
    }

    /// Begins a stream, or goes on with one, and returns its number.
    pub(crate) async fn begin(
        &self,
        announced: Announced,
        offset: u64,
    ) -> Result<u64, IncomingError> {
        let mut state = self.state.lock().await;
        state.stream += 1;
        let known = state.partial.as_mut();
        match known.filter(|partial| partial.announced == announced) {
            Some(partial) if offset > 0 && offset <= partial.of(&announced) => {
                tracing::info!(offset, "a snapshot goes on where it was cut off");
                partial.received = offset;
                partial.touched = Instant::now();
            }
            Some(partial) if offset > 0 => {
                let received = partial.of(&announced);
                return Err(IncomingError::Offset { offset, received });
            }
            None if offset > 0 => {
                let received = 0;
                return Err(IncomingError::Offset { offset, received });
            }
            _ => {
                // What was there is of no use any more, and goes first.
                state.partial = None;
                state.partial = Some(self.start(announced).await?);
            }
        }
        Ok(state.stream)
    }

    async fn start(&self, announced: Announced) -> Result<Partial, IncomingError> {
        let snapshots = Arc::clone(&self.snapshots);
        let creating = files::run(&self.files, move || {
            let staged = snapshots.stage();
            let handle = staged.create()?;
            Ok((staged, handle))
        });
        let created = creating.await.and_then(|created| created);
        let (staged, handle) = created.map_err(IncomingError::Io)?;
        Ok(Partial {
            announced,
            staged,
            handle,
            received: 0,
            touched: Instant::now(),
        })
    }

    /// Takes the next bytes of a stream; they are in the file when this returns.
    pub(crate) async fn write(&self, stream: u64, data: Bytes) -> Result<(), IncomingError> {
        let mut state = self.current(stream).await?;
        let Some(partial) = &mut state.partial else {
            return Err(IncomingError::Superseded);
        };
        let (at, end) = (partial.received, partial.received + data.len() as u64);
        let file = partial.announced.file.as_ref();
        if file.is_some_and(|file| end > file.length) {
            return Err(IncomingError::TooLong);
        }
        let handle = Arc::clone(&partial.handle);
        let writing = files::run(&self.files, move || {
            files::write_all_at(&*handle, &data, at)
        });
        let written = writing.await.and_then(|written| written);
        written.map_err(IncomingError::Io)?;
        partial.received = end;
        partial.touched = Instant::now();
        Ok(())
    }

    /// Verifies a snapshot that has come in whole. One that proves wrong is
    /// gone, so that it starts over.
    pub(crate) async fn finish(&self, stream: u64) -> Result<SnapshotFile, IncomingError> {
        let mut state = self.current(stream).await?;
        let received = state.partial.as_ref().map_or(0, |partial| partial.received);
        let announced = |partial: &mut Partial| {
            let file = partial.announced.file.as_ref();
            file.is_none_or(|file| file.length == received)
        };
        let Some(partial) = state.partial.take_if(announced) else {
            return Err(IncomingError::Short { received });
        };
        drop(state);
        let snapshots = Arc::clone(&self.snapshots);
        let accepting = files::run(&self.files, move || {
            let position = &partial.announced.position;
            snapshots.accept(partial.staged, position)
        });
        let accepted = accepting.await.map_err(IncomingError::Io)?;
        accepted.map_err(IncomingError::Snapshot)
    }

    /// Lets go of what nobody has gone on with.
    pub(crate) async fn tidy(&self) {
        let mut state = self.state.lock().await;
        let waits = |partial: &mut Partial| partial.touched.elapsed() > PATIENCE;
        if let Some(partial) = state.partial.take_if(waits) {
            tracing::info!(
                received = partial.received,
                "a snapshot that was cut off is given up"
            );
        }
    }

    async fn current(&self, stream: u64) -> Result<MutexGuard<'_, State>, IncomingError> {
        let state = self.state.lock().await;
        if state.stream == stream {
            Ok(state)
        } else {
            Err(IncomingError::Superseded)
        }
    }
}

impl Partial {
    /// How much of it is the beginning of what is announced.
    fn of(&self, announced: &Announced) -> u64 {
        let resumable = announced.file.is_some() && self.announced == *announced;
        if resumable { self.received } else { 0 }
    }
}

#[cfg(test)]
mod tests;
