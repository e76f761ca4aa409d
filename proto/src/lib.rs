//! The wire formats of Entrepot: what nodes say to each other ([`peer`]), what
//! operators ([`admin`]) and other people's front ends ([`registry`]) ask of
//! them, and how one node reaches another ([`peers`]).
//!
//! Wire types stay at the doors: what comes in is turned into precise types
//! before anything is decided. Generated code is kept in git and checked by a
//! test, so that building needs no protoc.

pub mod environment;
pub mod peers;
mod secrets;

/// Node to node, on the peer port.
#[allow(
    clippy::pedantic,
    unreachable_pub,
    missing_debug_implementations,
    reason = "generated"
)]
#[rustfmt::skip]
pub mod peer {
    include!("gen/entrepot.peer.v1.rs");
}

/// Operator to node, on the client port.
#[allow(
    clippy::pedantic,
    unreachable_pub,
    missing_debug_implementations,
    reason = "generated"
)]
#[rustfmt::skip]
pub mod admin {
    include!("gen/entrepot.admin.v1.rs");
}

/// Front end to node, on the client port.
#[allow(
    clippy::pedantic,
    unreachable_pub,
    missing_debug_implementations,
    reason = "generated"
)]
#[rustfmt::skip]
pub mod registry {
    include!("gen/entrepot.v1.rs");
}
