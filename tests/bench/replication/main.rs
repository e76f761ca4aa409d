//! The benchmark of replication: how long after a push an image is at its
//! destination, what crosses the line, and what rules cost those who push.
//! Printed, never asserted.
//!
//! ```text
//! cargo build --release -p entrepot-node -p entrepot-admin
//! cargo bench -p entrepot-tests --bench replication                 # all of it
//! cargo bench -p entrepot-tests --bench replication -- lag          # one part, or several
//! cargo bench -p entrepot-tests --bench replication -- lag --quick  # to see it run
//! ```
//!
//! | Part | |
//! |---|---|
//! | `lag` | from the answer to a manifest's PUT until its tag is there: four sizes, without a line between the regions, and with one of 80 ms and 1 Gbit/s |
//! | `fill` | how much of a line of 1 Gbit/s and 150 ms large layers fill |
//! | `drain` | small images that waited while the line was cut: how many arrive a second |
//! | `cost` | pushes without a rule, with one whose destination is away, and with one that copies |
//!
//! Both regions, the clients and the line share one machine. The line is a part
//! of this process, between one TCP connection and another: it has a delay and a
//! rate, no loss and no slow start.

mod cost;
mod drain;
mod fill;
mod lag;
#[path = "../common/machine.rs"]
mod machine;
mod pair;

use anyhow::{Result, bail};

const US: &str = "us-east-1";
const EU: &str = "eu-west-1";
const MIB: usize = 1 << 20;
const GBIT: u64 = 125_000_000;

/// What can be chosen by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Lag,
    Fill,
    Drain,
    Cost,
}

impl Part {
    const ALL: [Self; 4] = [Self::Lag, Self::Fill, Self::Drain, Self::Cost];

    fn name(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Fill => "fill",
            Self::Drain => "drain",
            Self::Cost => "cost",
        }
    }
}

/// How much is done.
#[derive(Debug)]
struct Sizes {
    /// Images of 64 KiB; of the others as many as `large` divides it by.
    images: usize,
    large: usize,
    queued: usize,
    rounds: usize,
}

impl Sizes {
    const FULL: Self = Self {
        images: 100,
        large: 10,
        queued: 10_000,
        rounds: 5,
    };
    const QUICK: Self = Self {
        images: 20,
        large: 5,
        queued: 400,
        rounds: 2,
    };
}

#[tokio::main]
async fn main() -> Result<()> {
    let (parts, sizes) = arguments()?;
    println!(
        "{}\n\
         - Entrepot: {} build, plain HTTP, Basic authentication on every request, acknowledged \
         when durable; between the nodes mutual TLS\n",
        machine::lines(),
        machine::build()
    );
    for part in parts {
        eprintln!("{}", part.name());
        rustix::fs::sync();
        let found = match part {
            Part::Lag => lag::run(&sizes).await?,
            Part::Fill => fill::run(&sizes).await?,
            Part::Drain => drain::run(&sizes).await?,
            Part::Cost => cost::run(&sizes).await?,
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
