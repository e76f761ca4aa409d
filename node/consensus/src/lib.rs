//! The Raft groups of a node: their log, their snapshots, their applied state.
//!
//! The only crate that knows openraft and the only one that knows sled; the
//! rest of a node sees [`entrepot_metadata::Metadata`]. What is acknowledged
//! here is in the log of a majority of voters, synced.
//!
//! - `raftlog`: what must never be lost, in segments of our own
//! - `snapshot`: what may stand in for the log's beginning
//! - `applied`: what both can bring back at any time
//! - `log_store`, `machine`, `network`: the same as openraft's traits
//! - [`files`]: what the first two do with a disk
//! - `server`, `wire`, `incoming`: what peers say to each other
//! - `group`, `propose`, `read`, `keeper`: one group at work
//! - `plan`: who votes in it and who learns
//! - `consensus`: all of them
//!
//! Time is tokio's, connections come from [`entrepot_proto::peers`].

#[cfg(all(feature = "broken-reads", not(debug_assertions)))]
compile_error!("the feature broken-reads is for a test of the tests, never for a release");

mod applied;
mod config;
mod consensus;
mod durable;
mod error;
pub mod files;
mod group;
mod incoming;
mod keeper;
mod lease;
mod log_store;
mod machine;
mod network;
mod plan;
mod propose;
mod raftlog;
mod read;
mod retry;
mod rounds;
mod server;
mod snapshot;
mod types;
mod wire;

#[cfg(test)]
mod suite;

pub use self::applied::MemoryIndex;
pub use self::config::{Compaction, ConsensusConfig, GroupConfig, Timing};
pub use self::consensus::{Consensus, IndexState};
pub use self::error::ConsensusError;
pub use self::group::GroupStatus;
pub use self::plan::voters_of;
pub use self::server::{MetadataService, RaftService};
