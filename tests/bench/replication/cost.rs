//! What a rule costs those who push.
//!
//! Both regions share this machine, while a real destination has processors of its
//! own. So three ways are compared: without a rule; with one whose destination does
//! not answer, so that tasks are only written down; and with one that copies. Of
//! each: how fast the client is, and what the source's processes spend.

use std::time::Duration;

use anyhow::Result;
use entrepot_harness::{Image, Link};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use crate::pair::{Between, Pair, image, push};
use crate::{EU, GBIT, MIB, Sizes, US};

const LINE: Between = Between {
    name: "80 ms, 1 Gbit/s",
    round_trip: Duration::from_millis(80),
    bytes_per_s: Some(GBIT),
};
const AT_ONCE: usize = 4;
/// Layers, the bytes of each, and images of a round.
const IMAGES: [(&str, usize, usize, usize); 2] = [
    ("1 × 2 KB", 1, 2_000, 1_000),
    ("2 × 16 MiB", 2, 16 * MIB, 6),
];
/// Until nobody expects an answer of a region that is cut off.
const UNTIL_AWAY: Duration = Duration::from_secs(6);
const DRAINS_WITHIN: Duration = Duration::from_mins(2);

/// What becomes of what is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// No rule takes it.
    Plain,
    /// The line is cut.
    Away,
    Copied,
}

/// Images a second, and milliseconds of the source's processors for each.
#[derive(Debug, Clone, Copy)]
struct Found {
    rate: f64,
    cpu_ms: f64,
}

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let mut lines = vec![
        format!(
            "- two regions of one node each, {AT_ONCE} images at a time, {} rounds in turn, the \
             median. CPU: of the source's node alone, in ms an image, until all have arrived. \
             Away: the rule's destination does not answer",
            sizes.rounds
        ),
        String::new(),
        "| image | rule | images/s | slower by | CPU-ms | more by |".to_owned(),
        "|---|---|---:|---:|---:|---:|".to_owned(),
    ];
    for (name, layers, layer_bytes, count) in IMAGES {
        let pair = Pair::start(1, LINE).await?;
        pair.settle().await?;
        // From now on only what is below `ruled/` goes anywhere.
        let admin = pair.cluster.admin(1)?;
        admin.put_rule("all", EU, Some("ruled/")).await?;
        let mut found: [Vec<Found>; 3] = Default::default();
        for round in 0..sizes.rounds {
            for way in [Way::Plain, Way::Away, Way::Copied] {
                let seed = (round as u64 * 3 + way as u64 + 1) * 1_000;
                let images = (0..count as u64).map(|nth| image(seed + nth, layers, layer_bytes));
                let images: Vec<Image> = images.collect();
                found[way as usize].push(measured(&pair, way, &images, round).await?);
            }
        }
        pair.cluster.finish().await?;
        let plain = median(&found[Way::Plain as usize]);
        for (way, rule) in [
            (Way::Plain, "none"),
            (Way::Away, "away"),
            (Way::Copied, "copied"),
        ] {
            let found = median(&found[way as usize]);
            lines.push(format!(
                "| {name} | {rule} | {:.1} | {:.0} % | {:.2} | {:.0} % |",
                found.rate,
                (plain.rate / found.rate - 1.0) * 100.0,
                found.cpu_ms,
                (found.cpu_ms / plain.cpu_ms - 1.0) * 100.0,
            ));
            eprintln!("  {}", lines[lines.len() - 1]);
        }
    }
    Ok(lines.join("\n"))
}

async fn measured(pair: &Pair, way: Way, images: &[Image], round: usize) -> Result<Found> {
    let repository = match way {
        Way::Plain => "plain/cost",
        Way::Away | Way::Copied => "ruled/cost",
    };
    let tag = |nth: usize| format!("r{round}-{way:?}-n{nth}");
    if way == Way::Away {
        set(pair, Link::Cut)?;
        tokio::time::sleep(UNTIL_AWAY).await;
    }
    rustix::fs::sync();
    let (start, spent_s) = (Instant::now(), pair.cpu_s_in(US)?);
    let pushes = images.iter().enumerate().map(async |(nth, image)| {
        for blob in &image.blobs {
            push(&pair.source, repository, blob, None).await?;
        }
        let manifest = &image.manifest;
        pair.source
            .put_manifest(repository, &tag(nth), manifest)
            .await?;
        anyhow::Ok(())
    });
    stream::iter(pushes)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let took = start.elapsed();
    if way == Way::Copied {
        // Asked of the destination, so that it costs the source nothing.
        for (nth, image) in images.iter().enumerate() {
            let digest = &image.manifest.digest;
            pair.arrival(repository, &tag(nth), digest).await?;
        }
    }
    let spent_s = pair.cpu_s_in(US)? - spent_s;
    if way == Way::Away {
        set(pair, Link::Whole)?;
        let admin = pair.cluster.admin(1)?;
        admin
            .wait_replicated(Some(repository), 1, DRAINS_WITHIN)
            .await?;
    }
    #[allow(clippy::cast_precision_loss, reason = "some hundred")]
    let count = images.len() as f64;
    Ok(Found {
        rate: count / took.as_secs_f64(),
        cpu_ms: spent_s * 1e3 / count,
    })
}

fn set(pair: &Pair, link: Link) -> Result<()> {
    let links = pair.cluster.links()?;
    links.set(1, 2, link);
    links.set(2, 1, link);
    Ok(())
}

fn median(found: &[Found]) -> Found {
    let of = |number: fn(&Found) -> f64| {
        let mut values: Vec<f64> = found.iter().map(number).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Found {
        rate: of(|found| found.rate),
        cpu_ms: of(|found| found.cpu_ms),
    }
}
