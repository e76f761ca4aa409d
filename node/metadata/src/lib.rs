//! The replicated state machine of a metadata group.
//!
//! Owns the keys, the records, the commands and what a command does to them:
//! `command + state -> writes + response` ([`apply`](apply::apply)). It must never read a
//! clock, draw a random number, perform I/O or wait: replicas apply the same
//! commands at different moments and have to arrive at the same bytes.
//!
//! The one invariant: equal states given equal commands become equal states.
//! [`invariants::check`] says what a state has to look like besides.
//!
//! [`seam`] is the only part that knows of async: the trait through which the
//! rest of a node proposes and reads.

pub mod apply;
pub mod command;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod group;
#[cfg(test)]
mod hostile;
pub mod invariants;
pub mod keys;
pub mod limits;
mod overlay;
pub mod query;
mod read;
pub mod records;
pub mod response;
pub mod seam;
pub mod store;

pub use apply::apply;
pub use command::{Command, Envelope, LEVEL};
pub use group::{GroupId, GroupKind};
pub use response::{Outcome, Refused, Response};
pub use seam::{LocalMetadata, Metadata, MetadataError};
pub use store::{KeyValue, MemoryState, StorageError, Writes};
