//! Replication over lines of the kernel's own TCP: long ones that lose packets, are
//! cut in the middle of a transfer, and reset connections.
//!
//! It takes root: each region is in a network namespace.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use entrepot_harness::{Cable, Cluster, Image, Network, Registry, SEGMENT_BYTES, wait_until};

use crate::support::{EU, REPLICATED, US, step};

/// A third region.
const ASIA: &str = "ap-south-1";
const MIB: usize = 1 << 20;
const LONG: Cable = Cable {
    round_trip: Duration::from_millis(80),
    mbit_per_s: 400,
    lost_of_million: 0,
};
const LONGER: Cable = Cable {
    round_trip: Duration::from_millis(150),
    mbit_per_s: 200,
    ..LONG
};
/// What half of the images may take at most from the answer to the push: a round
/// trip, and for debug builds that share two processors as much again.
const LAG_MAX: Duration = Duration::from_millis(160);
const SMALL_IMAGES: u64 = 11;
const SMALL_LAYER_BYTES: usize = 64 * 1024;
/// A packet in a thousand.
const LOSS: u32 = 1_000;
/// Of what is pushed, without what TCP sends once more: TLS, and what else the
/// nodes say to each other meanwhile.
const PERCENT_MAX: u64 = 103;
/// What is on its way when a line is cut, or a connection reset, is sent again.
const RESUMED_PERCENT_MAX: u64 = 130;
/// Longer than nodes take to give a connection up.
const CUT_FOR: Duration = Duration::from_secs(12);
const REJECTED_FOR: Duration = Duration::from_millis(300);
const INTERRUPTED_BYTES: usize = 60 * MIB;
const INTERRUPTED_AFTER_BYTES: u64 = 20 << 20;
const ASK_EVERY: Duration = Duration::from_millis(2);
const ARRIVES_WITHIN: Duration = Duration::from_mins(1);

async fn cluster(regions: &[&str], cable: Cable) -> Result<Cluster> {
    let builder = Cluster::builder().regions(regions.iter().copied());
    builder.nodes(1).network(cable, 6).start().await
}

/// The time until a tag is there.
async fn arrival(there: &Registry, repository: &str, tag: &str) -> Result<Duration> {
    let path = format!("/v2/{repository}/manifests/{tag}");
    let start = Instant::now();
    let mut ticks = tokio::time::interval(ASK_EVERY);
    while there.head(&path).send().await?.status != 200 {
        ensure!(start.elapsed() < ARRIVES_WITHIN, "{path} does not arrive");
        ticks.tick().await;
    }
    Ok(start.elapsed())
}

/// What one region sends another while something is done.
struct Sent {
    bytes: u64,
    again: u64,
    lost: u64,
}

async fn sent(
    network: &Network,
    (from, to): (&str, &str),
    done: impl Future<Output = Result<()>>,
) -> Result<Sent> {
    let look = || {
        anyhow::Ok(Sent {
            bytes: network.carried_bytes(from, to)?,
            again: network.sent_again(from)?,
            lost: network.lost_packets(from, to)?,
        })
    };
    let before = look()?;
    done.await?;
    let after = look()?;
    Ok(Sent {
        bytes: after.bytes - before.bytes,
        again: after.again - before.again,
        lost: after.lost - before.lost,
    })
}

/// Pushes an image, and does something once a part of it has crossed the line.
async fn push_and(
    cluster: &Cluster,
    (tag, image): (&str, &Image),
    then: impl AsyncFnOnce(&Network) -> Result<()>,
) -> Result<()> {
    let (network, source) = (cluster.network()?, cluster.registry(1)?);
    let start = network.carried_bytes(US, EU)?;
    let trouble = async {
        wait_until("a part of it to cross the line", REPLICATED, async || {
            let carried = network.carried_bytes(US, EU)? - start;
            Ok((carried >= INTERRUPTED_AFTER_BYTES).then_some(()))
        })
        .await?;
        then(network).await
    };
    let pushed = source.push_image("wan/large", tag, image);
    tokio::try_join!(pushed, trouble)?;
    let wait = format!("wan/large:{tag}");
    let wait = ["replication", "wait", &wait, "--timeout", "90s"];
    cluster.admin(1)?.run(&wait).await?;
    let there = cluster.registry(2)?;
    there.verify_image("wan/large", tag, image).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_long_loses_packets_and_breaks() -> Result<()> {
    let cluster = cluster(&[US, EU], LONG).await?;
    cluster.admin(1)?.put_rule("all", EU, None).await?;
    step("an image is there a round trip later", small(&cluster)).await?;
    step(
        "a large layer arrives though packets do not",
        lossy(&cluster),
    )
    .await?;
    let cut = interrupted(&cluster, "cut", async |network| {
        network.cut(US, EU)?;
        tokio::time::sleep(CUT_FOR).await;
        network.mend(US, EU)
    });
    step("what a cut interrupts goes on", cut).await?;
    let reset = interrupted(&cluster, "reset", async |network| {
        network.reject(US, EU)?;
        tokio::time::sleep(REJECTED_FOR).await;
        network.pass(US, EU)
    });
    step("what a reset interrupts goes on", reset).await?;
    let sync = synchronous(&cluster);
    step("a synchronous rule says that the line is cut", sync).await?;
    cluster.finish().await
}

async fn small(cluster: &Cluster) -> Result<()> {
    let (source, there) = (cluster.registry(1)?, cluster.registry(2)?);
    let mut lags = Vec::new();
    // The first one makes connections.
    for nth in 0..=SMALL_IMAGES {
        let (tag, image) = (format!("n{nth}"), Image::random(nth, 1, SMALL_LAYER_BYTES));
        source.push_image("wan/small", &tag, &image).await?;
        let lag = arrival(&there, "wan/small", &tag).await?;
        lags.extend((nth > 0).then_some(lag));
    }
    lags.sort_unstable();
    println!("  after {lags:?}");
    let median = lags[lags.len() / 2];
    ensure!(median <= LAG_MAX, "half of them took {median:?}");
    Ok(())
}

async fn lossy(cluster: &Cluster) -> Result<()> {
    let (network, source, there) = (
        cluster.network()?,
        cluster.registry(1)?,
        cluster.registry(2)?,
    );
    network.set_loss(US, EU, LOSS)?;
    let image = Image::random(100, 1, 100 * MIB);
    let size = 100 * MIB as u64;
    let start = Instant::now();
    let pushed = async {
        source.push_image("wan/lossy", "v1", &image).await?;
        arrival(&there, "wan/lossy", "v1").await?;
        there.verify_image("wan/lossy", "v1", &image).await
    };
    let sent = sent(network, (US, EU), pushed).await?;
    network.set_loss(US, EU, 0)?;
    println!(
        "  {} bytes, {} segments once more, {} packets lost, in {:?}",
        sent.bytes,
        sent.again,
        sent.lost,
        start.elapsed()
    );
    ensure!(sent.lost > 0, "nothing was lost");
    let once = sent.bytes.saturating_sub(sent.again * SEGMENT_BYTES);
    ensure!(once <= size * PERCENT_MAX / 100, "{once} bytes for {size}");
    Ok(())
}

/// Pushes a large layer with some trouble in the middle; `tag`: of its own.
async fn interrupted(
    cluster: &Cluster,
    tag: &str,
    trouble: impl AsyncFnOnce(&Network) -> Result<()>,
) -> Result<()> {
    let network = cluster.network()?;
    let seed = tag.bytes().map(u64::from).sum();
    let image = Image::random(seed, 1, INTERRUPTED_BYTES);
    let pushed = push_and(cluster, (tag, &image), trouble);
    let sent = sent(network, (US, EU), pushed).await?;
    println!("  {} bytes", sent.bytes);
    let most = INTERRUPTED_BYTES as u64 * RESUMED_PERCENT_MAX / 100;
    ensure!(sent.bytes <= most, "{} bytes: sent anew", sent.bytes);
    Ok(())
}

async fn synchronous(cluster: &Cluster) -> Result<()> {
    let (network, source, there) = (
        cluster.network()?,
        cluster.registry(1)?,
        cluster.registry(2)?,
    );
    let rule = ["rule", "put", "sync", "--to", EU, "--prefix", "sync/"];
    let options = ["--priority", "5", "--synchronous"];
    let patience = ["--synchronous-timeout", "3s"];
    let admin = cluster.admin(1)?;
    admin
        .run(&[&rule[..], &options[..], &patience[..]].concat())
        .await?;
    let image = Image::random(1_003, 1, SMALL_LAYER_BYTES);
    source.push_image("sync/app", "v1", &image).await?;
    there.verify_image("sync/app", "v1", &image).await?;

    network.cut(US, EU)?;
    let image = Image::random(1_004, 1, SMALL_LAYER_BYTES);
    for blob in &image.blobs {
        source.push_blob("sync/app", blob).await?;
    }
    let put = source.put("/v2/sync/app/manifests/v2");
    let put = put.header("content-type", &image.manifest.media_type);
    let reply = put.body(image.manifest.content.clone()).send().await?;
    let said = String::from_utf8_lossy(&reply.body).into_owned();
    println!("  {}: {said}", reply.status);
    ensure!(reply.status == 504 && said.contains(EU), "{said}");
    source.verify_image("sync/app", "v2", &image).await?;
    network.mend(US, EU)?;
    admin
        .wait_replicated(Some("sync/app"), 2, ARRIVES_WITHIN)
        .await?;
    there.verify_image("sync/app", "v2", &image).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_several_regions_gets_each_byte_once() -> Result<()> {
    let cluster = cluster(&[US, EU, ASIA], LONGER).await?;
    let admin = cluster.admin(1)?;
    let rule = ["rule", "put", "all", "--to", EU, "--to", ASIA];
    admin.run(&rule).await?;
    let (network, source) = (cluster.network()?, cluster.registry(1)?);
    let image = Image::random(7, 3, 8 * MIB);
    let size = 3 * 8 * MIB as u64;
    let pushed = async {
        source.push_image("wan/fan", "v1", &image).await?;
        admin
            .wait_replicated(Some("wan/fan"), 2, REPLICATED)
            .await?;
        anyhow::Ok(())
    };
    let (to_eu, to_asia, between) = {
        let look = || {
            anyhow::Ok([
                network.carried_bytes(US, EU)?,
                network.carried_bytes(US, ASIA)?,
                network.carried_bytes(EU, ASIA)? + network.carried_bytes(ASIA, EU)?,
            ])
        };
        let before = look()?;
        pushed.await?;
        let after = look()?;
        (
            after[0] - before[0],
            after[1] - before[1],
            after[2] - before[2],
        )
    };
    println!("  {to_eu} and {to_asia} bytes for {size}, {between} between the two");
    let once = size..=size * PERCENT_MAX / 100;
    ensure!(once.contains(&to_eu), "{to_eu} bytes to {EU} for {size}");
    ensure!(once.contains(&to_asia), "{to_asia} bytes to {ASIA}");
    ensure!(between < size / 10, "{between} bytes between the two");
    for id in [2, 3] {
        let there = cluster.registry(id)?;
        there.verify_image("wan/fan", "v1", &image).await?;
    }
    cluster.finish().await
}
