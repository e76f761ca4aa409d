//! The benchmark of growth: what a node takes that has been filled with
//! 100,000 tags in one repository and 100,000 manifests in a thousand others,
//! beside one that is all but empty. Printed, never asserted.
//!
//! ```text
//! cargo build --release -p entrepot-node -p entrepot-admin
//! cargo bench -p entrepot-tests --bench growth             # about 4 minutes
//! cargo bench -p entrepot-tests --bench growth -- --quick  # to see it run
//! ```
//!
//! Everything goes through the public protocol. Both nodes run the whole time
//! and are asked in turns, so that what else the machine does meets both. What
//! is read is chosen at random out of all that there is: no cache can hold the
//! answer for the full node and not for the other.

mod caches;
#[path = "../common/cell.rs"]
mod cell;
mod content;
mod fill;
mod held;
#[path = "../common/machine.rs"]
mod machine;
mod restart;
mod sample;
mod table;
#[path = "../common/timed.rs"]
mod timed;

use anyhow::{Result, bail};
use entrepot_harness::Cluster;

use crate::content::Extent;
use crate::fill::Tenth;
use crate::held::Held;
use crate::sample::Sizes;
use crate::table::{Latencies, Side};

/// How much is done.
#[derive(Debug)]
struct Plan {
    full: Extent,
    empty: Extent,
    rounds: usize,
    samples: Sizes,
}

impl Plan {
    const FULL: Self = Self {
        full: Extent {
            tags: 100_000,
            repositories: 1_000,
            manifests_each: 100,
        },
        empty: Extent::LEAST,
        rounds: 7,
        samples: Sizes::FULL,
    };
    const QUICK: Self = Self {
        full: Extent {
            tags: 2_000,
            repositories: 400,
            manifests_each: 5,
        },
        empty: Extent::LEAST,
        rounds: 1,
        samples: Sizes::QUICK,
    };
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut plan = Plan::FULL;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo's own.
            "--bench" => {}
            "--quick" => plan = Plan::QUICK,
            other => bail!("unknown argument {other}: there is only --quick"),
        }
    }
    let mut full = Cluster::builder().nodes(1).start().await?;
    let filled = filled(&full, &plan.full).await?;
    let mut empty = Cluster::builder().nodes(1).start().await?;
    fill::tags(&empty.registry(1)?, &plan.empty).await?;
    fill::manifests(&empty.registry(1)?, &plan.empty).await?;
    // How much of its metadata a node keeps in memory, it decides at its start.
    for cluster in [&mut full, &mut empty] {
        cluster.stop(&[1]).await?;
        cluster.start(&[1]).await?;
    }

    let mut latencies = Latencies::default();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        let mut sides = [
            (Side::Empty, &empty, &plan.empty),
            (Side::Full, &full, &plan.full),
        ];
        sides.rotate_left(round % 2);
        for (side, cluster, extent) in sides {
            let registry = cluster.registry(1)?;
            let found = sample::all(&registry, extent, &plan.samples, round).await?;
            for (what, timed) in found {
                eprintln!(
                    "  {what}, {side:?}: {:.2}, {:.2} ms",
                    timed.p50_ms, timed.p99_ms
                );
                latencies.add(side, what, timed);
            }
        }
    }
    let peaks = [held::peak_bytes(&empty)?, held::peak_bytes(&full)?];
    let starts = restart::all(&mut empty, &mut full, plan.rounds.min(3)).await?;
    let caches = caches::all(&mut full, &plan.full, &plan.samples, plan.rounds).await?;
    println!("{}\n", notes(&plan));
    println!("{}\n", latencies.markdown());
    println!("{}\n", table::filling(&filled.tags, &filled.manifests));
    println!("{}\n", table::held(&filled.held, &plan.full));
    println!("{}\n", table::starts(&starts, peaks));
    println!("{}", caches::table(&caches));
    empty.finish().await?;
    full.finish().await
}

/// What filling a node showed.
struct Filled {
    tags: Vec<Tenth>,
    manifests: Vec<Tenth>,
    /// Before, with the tags, with the manifests as well.
    held: [Held; 3],
}

async fn filled(cluster: &Cluster, extent: &Extent) -> Result<Filled> {
    let registry = cluster.registry(1)?;
    let nothing = Held::of(cluster)?;
    eprintln!("{} tags", extent.tags);
    let tags = fill::tags(&registry, extent).await?;
    let with_tags = Held::of(cluster)?;
    eprintln!("{} images", extent.manifests());
    let manifests = fill::manifests(&registry, extent).await?;
    Ok(Filled {
        tags,
        manifests,
        held: [nothing, with_tags, Held::of(cluster)?],
    })
}

/// What a reader must know to read the tables.
fn notes(plan: &Plan) -> String {
    let Plan { full, empty, .. } = plan;
    format!(
        "{}\n\
         - Entrepot: {} build, one node, plain HTTP, Basic authentication on every request, \
         acknowledged when durable; nodes and client share the machine\n\
         - full: one repository with {} tags on {} images, and {} images, each with a config, a \
         manifest and a tag of its own, in {} repositories; empty: {} tags, and {} images in as \
         many repositories\n\
         - both started anew once they were filled\n\
         - {} rounds in turns, {} requests at a time, what is read chosen at random: \
         median (least–most) of the rounds",
        machine::lines(),
        machine::build(),
        full.tags,
        content::TAGGED_IMAGES,
        full.manifests(),
        full.repositories,
        empty.tags,
        empty.manifests(),
        plan.rounds,
        sample::AT_ONCE,
    )
}
