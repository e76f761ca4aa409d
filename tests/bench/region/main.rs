//! The benchmark of a region: what three nodes cost next to one, and what is felt
//! when a node is lost, comes back, or has much to know. Printed, never asserted.
//!
//! ```text
//! cargo build --release -p entrepot-node -p entrepot-admin
//! cargo bench -p entrepot-tests --bench region                    # all of it, some 20 minutes
//! cargo bench -p entrepot-tests --bench region -- repair          # one part, or several
//! cargo bench -p entrepot-tests --bench region -- repair --quick  # to see it run
//! ```
//!
//! | Part | |
//! |---|---|
//! | `throughput` | pushes and pulls: one node, three with three copies, three with two |
//! | `repair` | a node that lost its disk is replaced: how fast its copies come back, and what pulls feel of it |
//! | `catch-up` | a node returns that has missed 100,000 entries of the log: how long it takes, and what writes feel of it |
//! | `memory` | a node that knows a million blobs: memory, and how long it takes to start |
//! | `failover` | the leader is killed a hundred times: how long no write is acknowledged |
//!
//! Nodes and clients share one machine and its disk: three nodes have no more
//! cores than one.

mod catch_up;
#[path = "../common/cell.rs"]
mod cell;
mod failover;
mod load;
#[path = "../common/machine.rs"]
mod machine;
mod memory;
mod repair;
mod throughput;
#[path = "../common/timed.rs"]
mod timed;

use anyhow::{Result, bail};

const GROUP: &str = "region/us-east-1/0";
const MIB: usize = 1 << 20;

/// What can be chosen by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Throughput,
    Repair,
    CatchUp,
    Memory,
    Failover,
}

impl Part {
    const ALL: [Self; 5] = [
        Self::Throughput,
        Self::Repair,
        Self::CatchUp,
        Self::Memory,
        Self::Failover,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Repair => "repair",
            Self::CatchUp => "catch-up",
            Self::Memory => "memory",
            Self::Failover => "failover",
        }
    }
}

/// How much is done.
#[derive(Debug)]
struct Sizes {
    rounds: usize,
    layers: u64,
    images: u64,
    /// Of 4 MiB each, that a new node has to fetch.
    lost: u64,
    /// For what a figure is compared with, seconds.
    before_s: u64,
    entries: usize,
    known: u64,
    kills: usize,
}

impl Sizes {
    const FULL: Self = Self {
        rounds: 3,
        layers: 24,
        images: 400,
        // 2.1 GB.
        lost: 512,
        before_s: 20,
        entries: 100_000,
        known: 1_000_000,
        kills: 100,
    };
    const QUICK: Self = Self {
        rounds: 1,
        layers: 4,
        images: 50,
        lost: 64,
        before_s: 3,
        entries: 1_000,
        known: 5_000,
        kills: 3,
    };
}

#[tokio::main]
async fn main() -> Result<()> {
    let (parts, sizes) = arguments()?;
    println!(
        "{}\n\
         - Entrepot: {} build, plain HTTP, Basic authentication on every request, acknowledged \
         when durable; between the nodes mutual TLS; nodes and client share the machine\n",
        machine::lines(),
        machine::build()
    );
    for part in parts {
        eprintln!("{}", part.name());
        // What the last one wrote must not burden this one.
        rustix::fs::sync();
        let found = match part {
            Part::Throughput => throughput::run(&sizes).await?,
            Part::Repair => repair::run(&sizes).await?,
            Part::CatchUp => catch_up::run(&sizes).await?,
            Part::Memory => memory::run(&sizes).await?,
            Part::Failover => failover::run(&sizes).await?,
        };
        println!("{found}\n");
    }
    Ok(())
}

/// All parts, if none is named.
fn arguments() -> Result<(Vec<Part>, Sizes)> {
    let (mut parts, mut sizes) = (Vec::new(), Sizes::FULL);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo's own.
            "--bench" => {}
            "--quick" => sizes = Sizes::QUICK,
            name => match Part::ALL.into_iter().find(|part| part.name() == name) {
                Some(part) => parts.push(part),
                None => bail!(
                    "unknown argument {name}: there are --quick and {}",
                    Part::ALL.map(Part::name).join(", ")
                ),
            },
        }
    }
    if parts.is_empty() {
        parts.extend(Part::ALL);
    }
    Ok((parts, sizes))
}
