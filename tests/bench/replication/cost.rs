//! What a rule costs those who push.

use std::time::Duration;

use anyhow::Result;
use entrepot_harness::Image;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use crate::pair::{Between, Pair, image, push};
use crate::{EU, GBIT, MIB, Sizes};

/// The region that takes the copies shares this machine: with a real line it
/// would have its own processors.
const LINE: Between = Between {
    name: "80 ms, 1 Gbit/s",
    round_trip: Duration::from_millis(80),
    bytes_per_s: Some(GBIT),
};
const AT_ONCE: usize = 4;
/// Layers, the bytes of each, and images of a round.
const IMAGES: [(&str, usize, usize, usize); 2] =
    [("1 × 2 KB", 1, 2_000, 200), ("2 × 16 MiB", 2, 16 * MIB, 6)];

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let mut lines = vec![
        format!(
            "- two regions of one node each, {AT_ONCE} images at a time, {} rounds in turn, the \
             median. Both regions share the processors: a part of the cost is the destination's",
            sizes.rounds
        ),
        String::new(),
        "| image | without a rule, images/s | with a rule, images/s | cost |".to_owned(),
        "|---|---:|---:|---:|".to_owned(),
    ];
    for (name, layers, layer_bytes, count) in IMAGES {
        let pair = Pair::start(1, LINE).await?;
        pair.settle().await?;
        // From now on only what is below `ruled/` goes anywhere.
        let admin = pair.cluster.admin(1)?;
        admin.put_rule("all", EU, Some("ruled/")).await?;
        let (mut plain, mut ruled) = (Vec::new(), Vec::new());
        for round in 0..sizes.rounds {
            for (prefix, rates) in [("plain", &mut plain), ("ruled", &mut ruled)] {
                let seed = round as u64 * 1_000 + prefix.len() as u64 * 1_000_000;
                let first = prefix.as_bytes()[0];
                let images: Vec<Image> = (0..count as u64)
                    .map(|nth| {
                        image(
                            seed + nth + u64::from(first) * 10_000_000,
                            layers,
                            layer_bytes,
                        )
                    })
                    .collect();
                rustix::fs::sync();
                rates.push(rate(&pair, &format!("{prefix}/cost"), &images, round).await?);
            }
            admin
                .wait_replicated(Some("ruled/cost"), 1, Duration::from_mins(2))
                .await?;
        }
        pair.cluster.finish().await?;
        let (plain, ruled) = (median(plain), median(ruled));
        lines.push(format!(
            "| {name} | {plain:.1} | {ruled:.1} | {:.0} % |",
            (plain / ruled - 1.0) * 100.0
        ));
        eprintln!("  {}", lines[lines.len() - 1]);
    }
    Ok(lines.join("\n"))
}

async fn rate(pair: &Pair, repository: &str, images: &[Image], round: usize) -> Result<f64> {
    let start = Instant::now();
    let pushes = images.iter().enumerate().map(async |(nth, image)| {
        for blob in &image.blobs {
            push(&pair.source, repository, blob, None).await?;
        }
        let tag = format!("r{round}-n{nth}");
        pair.source
            .put_manifest(repository, &tag, &image.manifest)
            .await?;
        anyhow::Ok(())
    });
    stream::iter(pushes)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    #[allow(clippy::cast_precision_loss, reason = "some hundred")]
    let count = images.len() as f64;
    Ok(count / start.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
