//! What the state machine stands on: an ordered map of bytes.
//!
//! Owns the trait through which state is read, the batch in which it is
//! changed and the map in memory that tests and simulations use. The state
//! machine reads through [`KeyValue`] and never writes: whoever called it
//! applies the [`Writes`] in one atomic step, together with the log id.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::ops::Bound;

use bytes::Bytes;

use crate::command::LEVEL;

/// Ordered reads of one group's state.
pub trait KeyValue: Send + Sync + fmt::Debug {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// At most `limit` pairs with `start <= key < end`, in the order of the
    /// keys. An empty or inverted range has none.
    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError>;
}

/// The store failed, or holds what the state machine never wrote. Neither is
/// the fault of a command: a node that meets one stops using its copy.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot {action} the metadata store")]
    Backend {
        /// A verb: "read", "scan", "write".
        action: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("corrupt metadata record at key {key}: {reason}")]
    Corrupt {
        /// The key in hexadecimal.
        key: String,
        reason: String,
    },
    #[error(
        "entry {index} of the log is of level {level}, and this version of entrepot-node \
         understands {LEVEL}: start the version that the other nodes run"
    )]
    Newer { index: u64, level: u32 },
    #[error(
        "the state of the group is of level {level}, and this version of entrepot-node \
         understands {LEVEL}: start the version that the other nodes run"
    )]
    NewerState { level: u32 },
}

/// What one applied entry changes: every key at most once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// A key with its new value; `None` deletes it.
    pub entries: Vec<(Vec<u8>, Option<Bytes>)>,
}

/// One group's state in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    pairs: BTreeMap<Vec<u8>, Bytes>,
}

// === impl StorageError ===

impl StorageError {
    pub fn backend(action: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Backend {
            action,
            source: source.into(),
        }
    }

    pub fn corrupt(key: &[u8], reason: impl fmt::Display) -> Self {
        use fmt::Write as _;
        let mut hex = String::with_capacity(key.len() * 2);
        for byte in key {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self::Corrupt {
            key: hex,
            reason: reason.to_string(),
        }
    }
}

// === impl Writes ===

impl Writes {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Keys and their new values; `None` deletes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_ref()))
    }
}

// === impl MemoryState ===

impl MemoryState {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn apply_writes(&mut self, writes: &Writes) {
        for (key, value) in &writes.entries {
            match value {
                Some(value) => self.pairs.insert(key.clone(), value.clone()),
                None => self.pairs.remove(key),
            };
        }
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Every pair, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Bytes)> {
        self.pairs
            .iter()
            .map(|(key, value)| (key.as_slice(), value))
    }
}

impl KeyValue for MemoryState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.pairs.get(key).cloned())
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        // `BTreeMap::range` panics on an inverted range.
        if start >= end {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(start), Bound::Excluded(end));
        Ok(self
            .pairs
            .range::<[u8], _>(range)
            .take(limit)
            .map(|(key, value)| (Bytes::copy_from_slice(key), value.clone()))
            .collect())
    }
}
