//! The binary as its users meet it: arguments in; output, errors and exit code
//! out. Each test runs the built `entrepot`, or `docker-credential-entrepot`, in
//! an empty environment.
//!
//! The node is a fake that lives in the test's process ([`fake`],
//! [`fake_registry`]). It shows
//! what the client does with answers, not that a node gives them: the
//! integration tests run the client against real nodes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod collection;
mod commands;
mod credential;
mod credential_failures;
mod failures;
mod fake;
mod fake_accounts;
mod fake_collection;
mod fake_history;
mod fake_lifecycle;
mod fake_nodes;
mod fake_registry;
mod fake_replication;
mod fake_trust;
mod fake_usage;
mod fake_webhooks;
mod golden;
mod help;
mod lifecycle;
mod nodes;
mod replication;
mod run;
mod tls;
mod webhooks;
