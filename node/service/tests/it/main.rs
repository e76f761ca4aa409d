//! Whole registries of one, two or three regions in one process: real peer
//! servers on loopback, a network that can be cut, disks that can fail, and the
//! metadata in memory.

#![allow(clippy::unwrap_used, reason = "what fails in a test shall fail it")]

mod checking;
mod cluster;
mod content;
mod network;
mod slow;

mod access;
mod accounts;
mod audit_lines;
mod authorize;
mod collection;
mod conditions;
mod copies;
mod cut_through;
mod deletion;
mod departure;
mod files;
mod following;
mod history;
mod hostile;
mod images;
mod lag;
mod lifecycle;
mod lifecycle_looks;
mod outbox;
mod passing_on;
mod pings;
mod places;
mod public;
mod pulls;
mod quotas;
mod read_through;
mod reading;
mod referrers;
mod relay;
mod repair;
mod replica;
mod rules;
mod scrub;
mod settings;
mod standing;
mod storage_class;
mod surplus;
mod templates;
mod tokens;
mod torn;
mod traffic;
mod transfers;
mod trust;
mod uploads;
mod usage;
mod watch;
mod webhooks;
mod young;
