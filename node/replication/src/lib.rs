//! Copies: which nodes hold a blob, how its bytes get there, how they come
//! back, and how images travel to other regions.
//!
//! This crate moves bytes between nodes and never decides who may ask for
//! them. Nothing counts as stored before it is verified and durable.

pub mod admission;
pub mod collection;
pub mod cut;
pub mod health;
pub mod metrics;
pub mod outbox;
pub mod placement;
pub mod reader;
pub mod repair;
pub mod replica;
pub mod scrub;
pub mod server;
pub mod settled;
mod ship;
pub mod space;
pub mod tally;
pub mod upkeep;
pub mod upload;
pub mod wire;

mod backlog;
mod cache;
mod check;
mod cluster_blobs;
mod denied;
mod deposit;
mod error;
mod feed;
mod following;
mod lost;
mod pace;
mod ranges;
mod recent;
mod sources;
mod transfer;

pub use cluster_blobs::{ClusterBlobs, CopyLimits};
pub use error::{ReplicationError, chain};
