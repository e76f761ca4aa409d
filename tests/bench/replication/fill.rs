//! How much of a long, fast line large layers fill.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::pair::{Between, Pair, image};
use crate::{GBIT, MIB, Sizes};

const LINE: Between = Between {
    name: "150 ms, 1 Gbit/s",
    round_trip: Duration::from_millis(150),
    bytes_per_s: Some(GBIT),
};
/// Layers, and the bytes of each.
const IMAGES: [(&str, usize, usize); 2] =
    [("1 × 400 MiB", 1, 400 * MIB), ("4 × 100 MiB", 4, 100 * MIB)];

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let mut lines = vec![
        format!(
            "- two regions of one node each, the client as fast as it can. Time from the first \
             byte of the push until the tag is at the destination; {} rounds, the median",
            sizes.rounds
        ),
        String::new(),
        "| line | image | MB/s | of the line |".to_owned(),
        "|---|---|---:|---:|".to_owned(),
    ];
    for (name, layers, layer_bytes) in IMAGES {
        let pair = Pair::start(1, LINE).await?;
        pair.settle().await?;
        let mut rates = Vec::with_capacity(sizes.rounds);
        for round in 0..sizes.rounds {
            let image = image(round as u64, layers, layer_bytes);
            let start = Instant::now();
            pair.lag("bench/fill", &format!("n{round}"), &image, None)
                .await?;
            #[allow(clippy::cast_precision_loss, reason = "some hundred MB")]
            rates.push((layers * layer_bytes) as f64 / start.elapsed().as_secs_f64());
        }
        pair.cluster.finish().await?;
        rates.sort_unstable_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        #[allow(clippy::cast_precision_loss, reason = "far less than 2^53")]
        let part = median / GBIT as f64;
        lines.push(format!(
            "| {} | {name} | {:.0} | {:.0} % |",
            LINE.name,
            median / 1e6,
            part * 100.0
        ));
        eprintln!("  {}", lines[lines.len() - 1]);
    }
    Ok(lines.join("\n"))
}
