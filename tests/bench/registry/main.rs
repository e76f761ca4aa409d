//! The benchmark: Entrepot side by side with Debian's `docker-registry`, on the
//! same disk, in alternating rounds. Numbers are printed, never asserted.
//!
//! ```text
//! cargo build --release -p entrepot-node -p entrepot-admin
//! cargo bench -p entrepot-tests --bench registry            # about 10 minutes
//! cargo bench -p entrepot-tests --bench registry -- --quick # to see it run
//! ```
//!
//! Each round starts each system anew on an empty folder, alone on the machine,
//! and the order turns from round to round; the medians over the rounds are
//! shown. The client shares the cores with what it measures, and is the same
//! for all.

#[path = "../common/cell.rs"]
mod cell;
#[path = "../common/compared.rs"]
mod compared;
#[path = "../common/machine.rs"]
mod machine;
mod measure;
mod system;

use anyhow::{Result, bail};

use crate::cell::cell;
use crate::measure::{Measure, Sizes};
use crate::system::{Kind, System};

const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<()> {
    let mut sizes = Sizes::FULL;
    let mut rounds = ROUNDS;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo's own.
            "--bench" => {}
            "--quick" => (sizes, rounds) = (Sizes::QUICK, 1),
            other => bail!("unknown argument {other}: there is only --quick"),
        }
    }
    let mut results = Results::default();
    for round in 0..rounds {
        for turn in 0..Kind::ALL.len() {
            let kind = Kind::ALL[(round + turn) % Kind::ALL.len()];
            eprintln!("round {} of {rounds}: {}", round + 1, kind.name());
            // What the last one wrote must not burden this one.
            rustix::fs::sync();
            let system = System::start(kind).await?;
            for measured in measure::all(&system, &sizes, round).await? {
                eprintln!("  {}: {:.2}", measured.what, measured.value);
                results.add(kind, measured);
            }
            system.stop().await?;
        }
    }
    println!("{}", compared::lines(rounds));
    println!(
        "- small image: config, 2 layers of {} kB, manifest; {} at a time\n",
        sizes.layer_bytes / 1000,
        sizes.concurrency
    );
    println!("{}", results.table());
    Ok(())
}

/// Every value, by measurement and system.
#[derive(Debug, Default)]
struct Results {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: &'static str,
    /// One list per system, in the order of `Kind::ALL`.
    values: [Vec<f64>; Kind::ALL.len()],
}

impl Results {
    fn add(&mut self, kind: Kind, measured: Measure) {
        let found = self.rows.iter().position(|row| row.what == measured.what);
        let at = found.unwrap_or_else(|| {
            self.rows.push(Row {
                what: measured.what,
                values: Default::default(),
            });
            self.rows.len() - 1
        });
        self.rows[at].values[kind as usize].push(measured.value);
    }

    /// Markdown, medians with the range that the rounds gave.
    fn table(&self) -> String {
        let names = Kind::ALL.map(Kind::name).join(" | ");
        let mut lines = vec![format!("| | {names} |"), "|---|---:|---:|---:|".to_owned()];
        for row in &self.rows {
            let cells = row.values.each_ref().map(|values| cell(values)).join(" | ");
            lines.push(format!("| {} | {cells} |", row.what));
        }
        lines.join("\n")
    }
}
