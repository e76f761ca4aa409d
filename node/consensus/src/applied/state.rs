//! One group's applied state: a tree of the index.
//!
//! Every batch carries the position in the log up to which it is applied, so
//! the two can never disagree. The last few entries wait in [`Pending`] for the
//! next batch, where readers see them. A snapshot is loaded into a tree of its
//! own, which then takes the old one's place: readers see the state before or
//! after, never a half.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use bytes::Bytes;
use entrepot_metadata::{KeyValue, LEVEL, StorageError, Writes, keys};
use entrepot_proto::peer;
use prost::Message;

use super::Frozen;
use super::pending::{self, Pending};
use super::tree::{Database, Most, Tree};
use crate::types::Position;
use crate::wire;

/// The store's own namespace is 0x00; this is the only key in it.
const POSITION_KEY: &[u8] = &[0x00, b'p'];

/// Between a group's name and the number of its tree.
const SEPARATOR: char = '@';

/// Pairs and bytes of a snapshot that are loaded with one batch.
const LOAD_MAX: Most = Most {
    pairs: 512,
    bytes: 1024 * 1024,
};

/// One group's state; reads see every batch whole, but two reads may see two
/// states.
pub(crate) struct GroupState {
    name: Arc<str>,
    /// None once it is closed.
    open: RwLock<Option<Open>>,
    /// Taken after `open`.
    pending: RwLock<Pending>,
    frozen: Mutex<Vec<Weak<Frozen>>>,
}

struct Open {
    database: Arc<dyn Database>,
    tree: Arc<dyn Tree>,
}

// === impl GroupState ===

impl GroupState {
    /// Takes the tree that got furthest; what a crash left half loaded goes.
    pub(super) fn open(database: Arc<dyn Database>, name: &str) -> Result<Self, StorageError> {
        let mut best: Option<(Option<u64>, u64)> = None;
        let mut numbers = Vec::new();
        for (group, number) in trees(&*database) {
            if group != name {
                continue;
            }
            let tree = database.tree(&tree_name(name, number))?;
            if let Some(position) = position(&*tree)? {
                let applied = position.meta.last_log_id.map(|id| id.index());
                best = best.max(Some((applied, number)));
            }
            numbers.push(number);
        }
        let kept = best.map_or_else(
            || numbers.iter().max().map_or(0, |last| last + 1),
            |(_, number)| number,
        );
        for number in numbers.into_iter().filter(|number| *number != kept) {
            database.drop_tree(&tree_name(name, number))?;
        }
        let tree = database.tree(&tree_name(name, kept))?;
        let level = position(&*tree)?.map_or(0, |position| position.level);
        if level > LEVEL {
            return Err(StorageError::NewerState { level });
        }
        Ok(Self {
            name: Arc::from(name),
            open: RwLock::new(Some(Open { database, tree })),
            pending: RwLock::default(),
            frozen: Mutex::new(Vec::new()),
        })
    }

    /// The position up to which the log is applied.
    pub(crate) fn position(&self) -> Result<Position, StorageError> {
        self.read(|tree| {
            if let Some(position) = self.pending().position() {
                return Ok(position.clone());
            }
            Ok(position(&**tree)?.unwrap_or_default())
        })
    }

    /// Takes what an entry changes, together with the position that it leads to.
    /// One at a time.
    pub(crate) fn write(&self, writes: &Writes, position: &Position) -> Result<(), StorageError> {
        self.read(|tree| {
            let is_full = {
                let mut pending = self.pending.write().unwrap_or_else(PoisonError::into_inner);
                pending.add(writes, position);
                pending.is_full()
            };
            if is_full {
                self.settle(&**tree)?;
            }
            Ok(())
        })
    }

    /// Gets all that was written so far into the tree. No write may be under
    /// way.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        self.read(|tree| self.settle(&**tree))
    }

    /// Applies what waits as one batch. Views that are being scanned keep what it
    /// replaces. Readers find what they look for in one of the two all the time.
    fn settle(&self, tree: &dyn Tree) -> Result<(), StorageError> {
        let frozen = self.frozen_views();
        let waiting = self.pending();
        let Some(position) = waiting.position().map(encode_position) else {
            return Ok(());
        };
        let mut guards = Vec::with_capacity(frozen.len());
        for view in &frozen {
            let mut guard = view.lock();
            for (key, _) in waiting.changes() {
                guard.keep(tree, key)?;
            }
            guards.push(guard);
        }
        let position = [(POSITION_KEY, Some(position.as_slice()))];
        tree.write(&mut waiting.changes().chain(position))?;
        drop(waiting);
        self.forget_pending();
        Ok(())
    }

    /// A view of the state as it is now. No batch may be under way. Blocks.
    pub(crate) fn freeze(&self) -> Result<Arc<Frozen>, StorageError> {
        self.flush()?;
        let view = self.read(|tree| {
            let position = position(&**tree)?.unwrap_or_default();
            Ok(Arc::new(Frozen::new(Arc::clone(tree), position)))
        })?;
        self.lock_frozen().push(Arc::downgrade(&view));
        Ok(view)
    }

    /// Replaces everything by `pairs`, which come in the order of their keys.
    pub(crate) fn replace<E>(
        &self,
        pairs: impl IntoIterator<Item = Result<(Bytes, Bytes), E>>,
        position: &Position,
    ) -> Result<(), StorageError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        for view in self.frozen_views() {
            view.abandon();
        }
        let database = match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(open) => Arc::clone(&open.database),
            None => return Err(closed()),
        };
        let old = self.read(|tree| Ok(tree.name()))?;
        let number = tree_number(old.as_bytes()).map_or(0, |(_, number)| number) + 1;
        let name = tree_name(&self.name, number);
        database.drop_tree(&name)?;
        let tree = database.tree(&name)?;
        load(&*tree, pairs)?;
        let position = encode_position(position);
        tree.write(&mut [(POSITION_KEY, Some(position.as_slice()))].into_iter())?;
        match &mut *self.open.write().unwrap_or_else(PoisonError::into_inner) {
            Some(open) => {
                open.tree = tree;
                self.forget_pending();
            }
            None => return Err(closed()),
        }
        database.drop_tree(&old)
    }

    /// Lets go of the database, once no batch is under way; every use after
    /// this is an error. What waits goes to the tree first.
    pub(super) fn close(&self) -> Result<(), StorageError> {
        for view in self.frozen_views() {
            view.abandon();
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        match open.take() {
            Some(open) => self.settle(&*open.tree),
            None => Ok(()),
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Arc<dyn Tree>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        // A panic while it was locked left the tree as it was.
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(open) => read(&open.tree),
            None => Err(closed()),
        }
    }

    fn pending(&self) -> RwLockReadGuard<'_, Pending> {
        // Each entry is taken whole, or the process is about to end.
        self.pending.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_pending(&self) {
        *self.pending.write().unwrap_or_else(PoisonError::into_inner) = Pending::default();
    }

    fn frozen_views(&self) -> Vec<Arc<Frozen>> {
        let mut frozen = self.lock_frozen();
        frozen.retain(|view| view.strong_count() > 0);
        frozen.iter().filter_map(Weak::upgrade).collect()
    }

    fn lock_frozen(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Frozen>>> {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyValue for GroupState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if key < first_key().as_slice() {
            return Ok(None);
        }
        self.read(|tree| {
            // Before the tree: what is not here any more is there.
            let new = self.pending().get(key).cloned();
            new.map_or_else(|| tree.get(key), Ok)
        })
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        // The store's own records are nobody else's business.
        let own = first_key();
        let start = start.max(&own);
        if start >= end {
            return Ok(Vec::new());
        }
        self.read(|tree| {
            let above = self.pending().range(start, end);
            pending::scan_under(&**tree, above, (start, end), limit)
        })
    }
}

impl std::fmt::Debug for GroupState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupState")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Reads every tree's position: what cannot be read is not to be believed.
pub(super) fn probe(database: &dyn Database) -> Result<(), StorageError> {
    for (name, number) in trees(database) {
        let tree = database.tree(&tree_name(&name, number))?;
        position(&*tree)?;
        tree.ends()?;
    }
    Ok(())
}

// === helpers ===

pub(super) fn closed() -> StorageError {
    StorageError::backend("use", "it is closed")
}

/// The first key that belongs to the state machine.
pub(super) const fn first_key() -> [u8; 1] {
    [keys::FIRST]
}

fn load<E>(
    tree: &dyn Tree,
    pairs: impl IntoIterator<Item = Result<(Bytes, Bytes), E>>,
) -> Result<(), StorageError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut pairs = pairs.into_iter();
    loop {
        let batch = LOAD_MAX.take(pairs.by_ref());
        let batch = batch.map_err(|error| StorageError::backend("load", error))?;
        if batch.is_empty() {
            return Ok(());
        }
        let changes = batch.iter();
        tree.write(&mut changes.map(|(key, value)| (key.as_ref(), Some(value.as_ref()))))?;
    }
}

fn encode_position(position: &Position) -> Vec<u8> {
    wire::position_to_wire("", position).encode_to_vec()
}

fn position(tree: &dyn Tree) -> Result<Option<Position>, StorageError> {
    let Some(value) = tree.get(POSITION_KEY)? else {
        return Ok(None);
    };
    let corrupt = |reason: String| StorageError::corrupt(POSITION_KEY, reason);
    let header = peer::SnapshotHeader::decode(value.as_ref());
    let header = header.map_err(|error| corrupt(error.to_string()))?;
    let position = wire::position_from_wire(&header).map_err(|error| corrupt(error.to_string()))?;
    Ok(Some(position))
}

fn tree_name(group: &str, number: u64) -> String {
    format!("{group}{SEPARATOR}{number}")
}

fn tree_number(name: &[u8]) -> Option<(String, u64)> {
    let (group, number) = std::str::from_utf8(name).ok()?.rsplit_once(SEPARATOR)?;
    Some((group.to_owned(), number.parse().ok()?))
}

fn trees(database: &dyn Database) -> Vec<(String, u64)> {
    let names = database.tree_names();
    names.iter().filter_map(|name| tree_number(name)).collect()
}
