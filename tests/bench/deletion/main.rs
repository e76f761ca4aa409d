//! The benchmark of deletion: how fast what nothing refers to goes, what the clients
//! feel of it meanwhile, and what a lifecycle policy of a large repository costs.
//! Printed, never asserted.
//!
//! ```text
//! cargo build --release -p entrepot-node -p entrepot-admin
//! cargo bench -p entrepot-tests --bench deletion                 # about 10 minutes
//! cargo bench -p entrepot-tests --bench deletion -- collection   # one part of it
//! cargo bench -p entrepot-tests --bench deletion -- --rounds 1   # once instead of three times
//! cargo bench -p entrepot-tests --bench deletion -- --quick      # to see it run
//! ```
//!
//! One node, plain HTTP. The clients share the machine with it.

#[path = "../common/cell.rs"]
mod cell;
mod collection;
mod lifecycle;
mod load;
#[path = "../common/machine.rs"]
mod machine;

use anyhow::{Context as _, Result, bail};

/// How much is done.
#[derive(Debug)]
struct Sizes {
    rounds: usize,
    /// That nothing refers to.
    blobs: u64,
    /// The least time that the clients are watched without collection.
    watched_s: u64,
    /// In the repository with a policy.
    images: u64,
}

impl Sizes {
    const FULL: Self = Self {
        rounds: 3,
        blobs: 100_000,
        watched_s: 15,
        images: 100_000,
    };
    const QUICK: Self = Self {
        rounds: 1,
        blobs: 3_000,
        watched_s: 3,
        images: 2_000,
    };
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut sizes = Sizes::FULL;
    let mut parts = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => sizes = Sizes::QUICK,
            "--rounds" => {
                let number = arguments.next().context("--rounds needs a number")?;
                sizes.rounds = number.parse().context("--rounds needs a number")?;
            }
            // What cargo passes to every benchmark.
            "--bench" => {}
            "collection" | "lifecycle" => parts.push(argument),
            other => bail!("unknown argument {other}"),
        }
    }
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|it| it == part);
    println!("{}", machine::lines());
    println!("- build: {}\n", machine::build());
    if is_wanted("collection") {
        println!("{}\n", collection::run(&sizes).await?);
    }
    if is_wanted("lifecycle") {
        println!("{}", lifecycle::run(&sizes).await?);
    }
    Ok(())
}
