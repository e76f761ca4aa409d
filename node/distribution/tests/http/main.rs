//! The front end as its clients see it: requests in, answers out, with a whole
//! registry of one node in memory behind it.

#![allow(clippy::unwrap_used, reason = "what fails in a test shall fail it")]

mod access;
mod blobs;
mod client;
mod conditions;
mod hostile;
mod immutable;
mod kinds;
mod layer_urls;
mod lists;
mod logs;
mod manifests;
mod public;
mod registry;
mod tokens;
mod uploads;
mod wire;
