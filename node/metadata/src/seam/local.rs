//! [`Metadata`] in memory, for tests: a command is applied at once.
//!
//! Owns the groups' states and, so that tests can see what their subject does
//! about it, a switch that makes a group unavailable.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Metadata, MetadataError};
use crate::apply::apply;
use crate::command::{Command, Envelope, LEVEL};
use crate::group::GroupId;
use crate::response::Response;
use crate::store::{KeyValue, MemoryState, StorageError};

/// Every group it was made with, on one imaginary node.
#[derive(Debug)]
pub struct LocalMetadata {
    groups: BTreeMap<GroupId, Group>,
}

#[derive(Debug, Default)]
struct Group {
    view: Arc<SharedState>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    applied: u64,
    available: Availability,
    /// Calls that failed because the group was down.
    refused: u64,
    waiting: Vec<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Availability {
    #[default]
    Up,
    Down,
}

/// A state that goes on changing while others read it.
#[derive(Debug, Default)]
struct SharedState(RwLock<MemoryState>);

// === impl LocalMetadata ===

impl LocalMetadata {
    pub fn new(groups: impl IntoIterator<Item = GroupId>) -> Self {
        Self {
            groups: groups
                .into_iter()
                .map(|group| (group, Group::default()))
                .collect(),
        }
    }

    /// While a group is down, `propose` and `linearize` fail with
    /// `Unavailable`; its view can still be read. Unknown groups are ignored.
    pub fn set_available(&self, group: &GroupId, available: bool) {
        if let Some(group) = self.groups.get(group) {
            group.progress().available = if available {
                Availability::Up
            } else {
                Availability::Down
            };
        }
    }

    /// How many calls have failed because the group was down; 0 for an unknown
    /// group.
    pub fn refused(&self, group: &GroupId) -> u64 {
        self.groups
            .get(group)
            .map_or(0, |group| group.progress().refused)
    }

    /// A copy of a group's state; `None` for an unknown group.
    pub fn state(&self, group: &GroupId) -> Option<MemoryState> {
        let group = self.groups.get(group)?;
        Some(group.view.read(Clone::clone))
    }

    fn group(&self, id: &GroupId) -> Result<&Group, MetadataError> {
        self.groups
            .get(id)
            .ok_or_else(|| MetadataError::UnknownGroup { group: id.clone() })
    }
}

#[async_trait]
impl Metadata for LocalMetadata {
    async fn propose(&self, group: &GroupId, command: Command) -> Result<Response, MetadataError> {
        let known = self.group(group)?;
        let mut progress = known.progress();
        progress.check(group)?;
        let index = progress.applied + 1;
        // Unique here, and the same in every run.
        let id = u128::from(index).to_be_bytes();
        let envelope = Envelope::new(id, command)
            .known_at(progress.applied)
            .to_bytes();
        let (writes, response) = apply(&*known.view, index, &envelope)?;
        known.view.write(|state| state.apply_writes(&writes));
        progress.applied = index;
        let waiting = std::mem::take(&mut progress.waiting);
        drop(progress);
        waiting.into_iter().for_each(Waker::wake);
        Ok(response)
    }

    async fn linearize(&self, group: &GroupId) -> Result<(), MetadataError> {
        self.group(group)?.progress().check(group)
    }

    fn view(&self, group: &GroupId) -> Result<Arc<dyn KeyValue>, MetadataError> {
        let view: Arc<dyn KeyValue> = self.group(group)?.view.clone();
        Ok(view)
    }

    fn understands(&self, level: u32) -> Result<bool, MetadataError> {
        Ok(level <= LEVEL)
    }

    fn understands_or_unknown(&self, level: u32) -> Result<Option<bool>, MetadataError> {
        self.understands(level).map(Some)
    }

    fn applied(&self, group: &GroupId) -> Result<u64, MetadataError> {
        Ok(self.group(group)?.progress().applied)
    }

    async fn applied_after(&self, group: &GroupId, after: u64) -> Result<u64, MetadataError> {
        let group = self.group(group)?;
        let applied = poll_fn(|context| {
            let mut progress = group.progress();
            if progress.applied > after {
                return Poll::Ready(progress.applied);
            }
            progress.waiting.push(context.waker().clone());
            Poll::Pending
        });
        Ok(applied.await)
    }
}

// === impl Group, Progress ===

impl Group {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Nothing is left half done where this could have panicked.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn check(&mut self, group: &GroupId) -> Result<(), MetadataError> {
        if self.available == Availability::Up {
            return Ok(());
        }
        self.refused += 1;
        Err(MetadataError::Unavailable {
            group: group.clone(),
            reason: "switched off by a test".to_owned(),
        })
    }
}

// === impl SharedState ===

impl SharedState {
    fn read<T>(&self, read: impl FnOnce(&MemoryState) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, write: impl FnOnce(&mut MemoryState)) {
        write(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl KeyValue for SharedState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.read(|state| state.get(key))
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.read(|state| state.scan(start, end, limit))
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::LocalMetadata;
    use crate::command::{Command, CreateRepository};
    use crate::group::GroupId;
    use crate::query;
    use crate::seam::{Metadata, MetadataError};

    fn group() -> GroupId {
        GroupId::region("us-east-1".parse().unwrap())
    }

    fn create() -> Command {
        let account = "123456789012".parse().unwrap();
        CreateRepository::new(&account, &"app".parse().unwrap(), 1).into()
    }

    /// The result of what does not have to wait.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn what_was_proposed_is_in_every_view() {
        let metadata = LocalMetadata::new([group()]);
        let view = metadata.view(&group()).unwrap();
        let response = now(metadata.propose(&group(), create())).unwrap();
        assert_eq!(response.index, 1);
        now(metadata.linearize(&group())).unwrap();
        let account = "123456789012".parse().unwrap();
        let found = query::repositories(&*view, &account, None, 10).unwrap();
        assert_eq!(found.len(), 1);
        assert!(!metadata.state(&group()).unwrap().is_empty());
    }

    #[test]
    fn a_waiter_is_woken_by_the_next_command() {
        let metadata = LocalMetadata::new([group()]);
        let group_id = group();
        let mut applied = pin!(metadata.applied_after(&group_id, 1));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert!(applied.as_mut().poll(&mut context).is_pending());
            now(metadata.propose(&group(), create())).unwrap();
        }
        assert_eq!(now(applied).unwrap(), 2);
    }

    #[test]
    fn a_group_can_be_switched_off() {
        let metadata = LocalMetadata::new([group()]);
        metadata.set_available(&group(), false);
        for error in [
            now(metadata.propose(&group(), create())).unwrap_err(),
            now(metadata.linearize(&group())).unwrap_err(),
        ] {
            assert!(matches!(error, MetadataError::Unavailable { .. }));
            assert!(error.is_transient());
        }
        metadata.view(&group()).unwrap();
        metadata.set_available(&group(), true);
        now(metadata.propose(&group(), create())).unwrap();
    }

    #[test]
    fn another_group_is_unknown() {
        let metadata = LocalMetadata::new([group()]);
        let error = metadata.view(&GroupId::global()).unwrap_err();
        assert!(matches!(error, MetadataError::UnknownGroup { .. }));
        assert!(!error.is_transient());
    }
}
