//! `entrepot-sim`: whole regions in one thread, seed by seed.
//!
//! Nodes, clients, disks, clocks and the network between them are simulated in
//! one process a seed; what happens depends on the seed alone. Owns the
//! simulation, what goes wrong in it, and what must be true whatever goes
//! wrong. No part of a node is written a second time here.

mod client;
mod director;
mod draw;
mod entropy;
mod flaw;
mod folder;
mod http;
mod invariants;
mod machine;
mod net;
mod operator;
mod oracle;
mod plan;
mod report;
mod seeds;
mod trace;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::flaw::Flaw;
use crate::plan::Plan;

/// Simulates whole regions, deterministically.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One seed, in this process.
    Seed {
        seed: u64,
        /// Break the product like this.
        #[arg(long, default_value = "none")]
        flaw: Flaw,
        /// Say what happens, such as `info` or `debug,h2=off`.
        #[arg(long)]
        log: Option<String>,
        /// Print the plan first.
        #[arg(long)]
        plan: bool,
    },
    /// Many seeds, a process each.
    Seeds {
        #[arg(long, default_value_t = 1)]
        from: u64,
        #[arg(long, default_value_t = 1_000)]
        count: u64,
        /// Processes at a time; as many as there are cores unless given.
        #[arg(long)]
        jobs: Option<usize>,
        #[arg(long, default_value = "none")]
        flaw: Flaw,
        /// End with the first seed that fails.
        #[arg(long)]
        first: bool,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Seed {
            seed,
            flaw,
            log,
            plan: print,
        } => {
            let plan = Plan::of(seed);
            if print {
                print!("{plan}");
            }
            report::one(&plan, flaw, log.as_deref())
        }
        Command::Seeds {
            from,
            count,
            jobs,
            flaw,
            first,
        } => seeds::run(&seeds::Run {
            seeds: from..from.saturating_add(count),
            jobs,
            flaw,
            first,
        }),
    }
}
