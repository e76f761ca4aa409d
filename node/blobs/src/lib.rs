//! Content-addressed blobs: staged while they arrive, hashed in one pass,
//! committed durably under their digest and never changed after that.
//!
//! Owns the [`BlobStore`] trait, its file implementation and the one in memory
//! for tests and simulations. Must never touch the network or the metadata:
//! who may read a blob, and who links it, is decided above.
//!
//! The invariant: what [`BlobStore::stat`] and [`BlobStore::list`] show is
//! whole, was verified, and survives a power cut.

mod error;
mod faults;
mod file;
mod gather;
mod hash;
mod memory;
mod metrics;
mod passing;
mod store;
mod tree;

pub use error::BlobError;
pub use faults::{Fault, Faults, Operation};
pub use file::{FileStore, Note};
pub use memory::MemoryStore;
pub use metrics::StoreMetrics;
pub use passing::Passing;
pub use store::{
    Abandoned, BlobStat, BlobStore, BlobStream, Committed, Expected, Hashing, LIST_LIMIT_MAX,
    READ_BYTES, StagedBytes, Staging, UNWRITTEN_BYTES_MAX, Verified,
};
pub use tree::{GROUP_BYTES, TREE_ABOVE_BYTES, Tree, group_bytes, groups_of, widened};
