//! What more memory for the metadata does to a full node: pulls by tag with
//! several values of `storage.index_cache_mib`, and what the node then takes.

use std::fs;

use anyhow::{Context, Result, ensure};
use entrepot_harness::Cluster;

use crate::cell::cell;
use crate::content::Extent;
use crate::sample::{self, Sizes};
use crate::timed::Timed;

const KEY: &str = "index_cache_mib";
const MIB: [u64; 3] = [32, 128, 256];

/// Pulls with one size of cache.
#[derive(Debug)]
pub(crate) struct Cached {
    mib: u64,
    tagged: Vec<Timed>,
    any: Vec<Timed>,
    anonymous_bytes: u64,
    peak_bytes: u64,
}

/// Starts the node anew for each size. Its caches are warm as far as they get:
/// what a first round pulls does not count.
pub(crate) async fn all(
    cluster: &mut Cluster,
    extent: &Extent,
    sizes: &Sizes,
    rounds: usize,
) -> Result<Vec<Cached>> {
    let mut all = Vec::new();
    for mib in MIB {
        cluster.stop(&[1]).await?;
        resize(cluster, mib)?;
        cluster.start(&[1]).await?;
        let registry = cluster.registry(1)?;
        let (mut tagged, mut any) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let [of_tagged, of_any] = sample::pulls(&registry, extent, sizes, round).await?;
            if round > 0 {
                tagged.push(of_tagged);
                any.push(of_any);
            }
        }
        let usage = cluster.node(1)?.usage()?;
        let cached = Cached {
            mib,
            tagged,
            any,
            anonymous_bytes: usage.anonymous_bytes,
            peak_bytes: usage.peak_rss_bytes,
        };
        eprintln!("  {cached:.2?}");
        all.push(cached);
    }
    Ok(all)
}

fn resize(cluster: &Cluster, mib: u64) -> Result<()> {
    const TABLE: &str = "[storage]\n";
    let path = cluster.node(1)?.config_path();
    let text = fs::read_to_string(path).context("read the node's configuration")?;
    let others = text.lines().filter(|line| !line.starts_with(KEY));
    let text: String = others.flat_map(|line| [line, "\n"]).collect();
    ensure!(text.contains(TABLE), "{text}");
    let text = text.replace(TABLE, &format!("{TABLE}{KEY} = {mib}\n"));
    fs::write(path, text).context("write the node's configuration")
}

pub(crate) fn table(all: &[Cached]) -> String {
    let mut lines = vec![
        "| index_cache_mib, the full node | p50, ms: many tags | p99 | p50, ms: many repositories \
         | p99 | anonymous memory, MiB | peak (VmHWM), MiB |"
            .to_owned(),
        "|---:|---:|---:|---:|---:|---:|---:|".to_owned(),
    ];
    for cached in all {
        let column = |rounds: &[Timed], of: fn(&Timed) -> f64| {
            let values: Vec<f64> = rounds.iter().map(of).collect();
            cell(&values)
        };
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            cached.mib,
            column(&cached.tagged, |timed| timed.p50_ms),
            column(&cached.tagged, |timed| timed.p99_ms),
            column(&cached.any, |timed| timed.p50_ms),
            column(&cached.any, |timed| timed.p99_ms),
            cached.anonymous_bytes >> 20,
            cached.peak_bytes >> 20,
        ));
    }
    lines.join("\n")
}
