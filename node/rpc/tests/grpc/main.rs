//! `entrepot.v1.Registry` over the wire: one node that keeps everything in
//! memory, and a client that knows registry.proto and nothing else.

#![allow(clippy::unwrap_used, reason = "what fails in a test shall fail it")]

mod access;
mod blobs;
mod history;
mod lists;
mod manifests;
mod server;
mod uploads;
mod watch;
