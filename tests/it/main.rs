//! Integration tests: real processes, real clients, one purpose a test.
//!
//! A test owns its cluster. Related checks share one, as named steps of one
//! test, because a cluster costs seconds to start. A test ends with
//! `cluster.finish()`; one that does not get there has its logs printed and
//! its folder kept.

mod access;
mod accounts;
mod anonymous;
mod architecture;
mod attacks;
mod away;
mod aws;
mod backfill;
mod bad_input;
mod bit_rot;
mod chaos;
mod checker;
mod client_port;
mod clients;
mod collection;
mod command_line;
mod convergence;
mod crash;
mod cut_through;
mod data_folder;
mod dev;
mod discovery;
mod durability;
mod failover;
mod filters;
mod front_end;
mod grpc;
mod harness;
mod hosts;
mod kinds;
mod large;
mod lifecycle;
mod lying_relay;
mod members;
mod near;
mod network;
mod outage;
mod programs;
mod public;
mod pulled_through;
mod quota_bytes;
mod quotas;
mod reads;
mod registry;
mod rolling;
mod settings;
mod signed;
mod soak;
mod storage_class;
mod support;
mod synchronous;
mod throttling;
mod trust;
mod undelete;
mod upgrade;
mod uploads;
mod wan;
mod webhooks;
mod writing;
