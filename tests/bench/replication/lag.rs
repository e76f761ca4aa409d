//! From the answer to a manifest's PUT until its tag is at the destination.

use std::time::Duration;

use anyhow::Result;

use crate::pair::{Between, Pair, image};
use crate::{GBIT, MIB, Sizes};

/// A line, and what a client sends in all: what the line can carry, or what both
/// regions, the client and the line can do on one small machine; none: as fast as
/// it can.
const LINES: [(Between, Option<u64>); 3] = [
    (NONE, None),
    (NONE, Some(2 * GBIT)),
    (LONG, Some(GBIT * 6 / 10)),
];
const NONE: Between = Between {
    name: "none",
    round_trip: Duration::ZERO,
    bytes_per_s: None,
};
const LONG: Between = Between {
    name: "80 ms, 1 Gbit/s",
    round_trip: Duration::from_millis(80),
    bytes_per_s: Some(GBIT),
};

/// Layers, and the bytes of each.
const IMAGES: [(&str, usize, usize); 4] = [
    ("1 × 64 KiB", 1, 64 * 1024),
    ("4 × 1 MiB", 4, MIB),
    ("1 × 100 MiB", 1, 100 * MIB),
    ("4 × 50 MiB", 4, 50 * MIB),
];

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let mut lines = vec![
        "- two regions of one node each. Blobs are pushed at the same time; the destination is \
         asked for the tag every 2 ms. Bytes: what went into the line towards the destination, by \
         what was pushed"
            .to_owned(),
        String::new(),
        "| line | client | image | images | p50, ms | p99, ms | worst, ms | bytes |".to_owned(),
        "|---|---|---|---:|---:|---:|---:|---:|".to_owned(),
    ];
    for (between, client) in LINES {
        for (name, layers, layer_bytes) in IMAGES {
            if client.is_some() && between.bytes_per_s.is_none() && layer_bytes <= MIB {
                // Nothing of them is paced.
                continue;
            }
            let count = if layer_bytes > MIB {
                sizes.large
            } else {
                sizes.images
            };
            lines.push(one(between, client, name, (layers, layer_bytes), count).await?);
            eprintln!("  {}", lines[lines.len() - 1]);
        }
    }
    Ok(lines.join("\n"))
}

async fn one(
    between: Between,
    client: Option<u64>,
    name: &str,
    (layers, layer_bytes): (usize, usize),
    count: usize,
) -> Result<String> {
    let pair = Pair::start(1, between).await?;
    pair.settle().await?;
    let before = pair.wan.there_bytes();
    let rate = client.map(|bytes_per_s| bytes_per_s / layers as u64);
    let (mut lags, mut unique) = (Vec::with_capacity(count), 0);
    for nth in 0..count {
        let image = image(nth as u64, layers, layer_bytes);
        let blobs = image.blobs.iter().map(|blob| blob.content.len());
        unique += blobs.sum::<usize>() + image.manifest.content.len();
        lags.push(
            pair.lag("bench/lag", &format!("n{nth}"), &image, rate)
                .await?,
        );
    }
    lags.sort_unstable();
    let crossed = pair.wan.there_bytes() - before;
    #[allow(clippy::cast_precision_loss, reason = "some GB")]
    let ratio = crossed as f64 / unique as f64;
    pair.cluster.finish().await?;
    let pushed = client.map_or_else(
        || "as fast as it can".to_owned(),
        |bytes_per_s| format!("{} MB/s", bytes_per_s / 1_000_000),
    );
    Ok(format!(
        "| {} | {pushed} | {name} | {count} | {:.0} | {:.0} | {:.0} | {ratio:.3} |",
        between.name,
        ranked_ms(&lags, 50),
        ranked_ms(&lags, 99),
        ranked_ms(&lags, 100),
    ))
}

/// By nearest rank.
fn ranked_ms(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    let found = sorted.get(rank.saturating_sub(1));
    found.map_or(f64::NAN, |found| found.as_secs_f64() * 1e3)
}
