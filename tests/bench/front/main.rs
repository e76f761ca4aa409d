//! The benchmark of the OCI front end: one Entrepot node beside Debian's
//! `docker-registry` and, for blobs, `nginx` with sendfile, and with TLS.
//! Printed, never asserted.
//!
//! ```text
//! apt-get install docker-registry nginx-light wrk
//! cargo build --release -p entrepot-node -p entrepot-admin
//! cargo bench -p entrepot-tests --bench front             # about 10 minutes
//! cargo bench -p entrepot-tests --bench front -- --quick  # to see it run
//! ```
//!
//! Reads are loaded by `wrk`, which costs little next to what it measures;
//! pushes by a client of this program. Both share the cores with the server,
//! and are the same for all. CPU is the server's alone. Memory is measured at
//! the end, once: each registry on its own takes 10 GB and gives them back, so
//! up to 11 GB of disk are needed.

#[path = "../common/cell.rs"]
mod cell;
#[path = "../common/compared.rs"]
mod compared;
#[path = "../common/machine.rs"]
mod machine;
mod memory;
mod nginx;
mod pushes;
mod reads;
mod system;
mod table;
#[path = "../common/timed.rs"]
mod timed;
mod tls;
mod work;
#[path = "../common/wrk.rs"]
mod wrk;

use anyhow::{Result, bail};

use crate::reads::MIB;
use crate::system::{Kind, System};
use crate::table::Table;
use crate::tls::Tls;
use crate::work::Found;

const ROUNDS: usize = 3;

/// How much is done.
#[derive(Debug)]
struct Sizes {
    rounds: usize,
    /// Of each load of reads.
    read_s: u64,
    layers: u64,
    uploads: u64,
    images: u64,
    /// Layers of 32 MiB that are pushed and pulled while memory is watched.
    kept: u64,
}

impl Sizes {
    const FULL: Self = Self {
        rounds: ROUNDS,
        read_s: 8,
        layers: 32,
        uploads: 6,
        images: 1_000,
        // 10.0 GB.
        kept: 299,
    };
    const QUICK: Self = Self {
        rounds: 1,
        read_s: 2,
        layers: 4,
        uploads: 2,
        images: 50,
        kept: 8,
    };
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut sizes = Sizes::FULL;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo's own.
            "--bench" => {}
            "--quick" => sizes = Sizes::QUICK,
            other => bail!("unknown argument {other}: there is only --quick"),
        }
    }
    let mut table = Table::default();
    let tls = Tls::new()?;
    for round in 0..sizes.rounds {
        for turn in 0..Kind::ALL.len() {
            let kind = Kind::ALL[(round + turn) % Kind::ALL.len()];
            eprintln!("round {} of {}: {}", round + 1, sizes.rounds, kind.name());
            one(kind, &tls, &sizes, &mut table).await?;
        }
    }
    for kind in Kind::REGISTRIES {
        eprintln!("memory: {}", kind.name());
        rustix::fs::sync();
        let system = System::start(kind).await?;
        note(&mut table, kind, memory::peaks(&system, sizes.kept).await?);
        system.stop().await?;
    }
    println!("{}\n{}\n", compared::lines(sizes.rounds), notes(&sizes));
    println!("{}", table.markdown());
    Ok(())
}

/// One round of one system, each time on an empty folder.
async fn one(kind: Kind, tls: &Tls, sizes: &Sizes, table: &mut Table) -> Result<()> {
    // What the last one wrote must not burden this one.
    rustix::fs::sync();
    let system = System::start(kind).await?;
    if let Some(registry) = system.registry()? {
        let gets = reads::manifest_gets(&system, &registry, sizes.read_s).await?;
        note(table, kind, vec![gets]);
        let gets = reads::blob_gets(&system, sizes.read_s).await?;
        note(table, kind, vec![gets]);
        note(table, kind, pushes::all(&system, &registry, sizes).await?);
    } else {
        let gets = reads::blob_gets(&system, sizes.read_s).await?;
        note(table, kind, vec![gets]);
    }
    system.stop().await?;
    if let Some(system) = System::start_tls(kind, tls).await? {
        let gets = reads::tls_blob_gets(&system, sizes.read_s).await?;
        note(table, kind, vec![gets]);
        system.stop().await?;
    }
    Ok(())
}

fn note(table: &mut Table, kind: Kind, found: Vec<Found>) {
    for found in found {
        eprintln!("  {found}");
        table.add(kind, found);
    }
}

/// What a reader must know besides the machine.
fn notes(sizes: &Sizes) -> String {
    format!(
        "- CPU: of the server's processes alone\n\
         - p50 and p99: of one request of `wrk`; of a push, from its first request to its \
         last answer. Of fewer than a hundred pushes a round, p99 is the slowest\n\
         - TLS: {}, no session resumed, no kernel TLS\n\
         - memory: {} MB in layers of 32 MiB pushed on 4 connections, then pulled on 8, to a \
         system of its own; once",
        tls::DESCRIBED,
        sizes.kept * 32 * MIB / 1_000_000
    )
}
