//! The gRPC front ends of the client port.
//!
//! They authenticate like `/v2/` does (HTTP Basic), call the service, and turn
//! its answers into messages. They decide nothing.

mod admin;
mod status;

pub use admin::AdminServer;
