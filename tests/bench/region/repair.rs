//! A node loses its disk and a new one takes its place: how fast it gets its
//! copies at the default `storage.repair_mib_per_s`, and what pulls through the
//! other two nodes feel of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, Random, Registry, media, wait_until};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::load::{self, Latencies};
use crate::{MIB, Sizes};

const REGION: &str = "us-east-1";
const REPOSITORY: &str = "bench/repair";
const LOST_BYTES: usize = 4 * MIB;
/// What is pulled meanwhile: more of them than a client asks for in a second.
const PULLED: u64 = 256;
const PULLED_BYTES: usize = MIB;
const PULLS_PER_S: u32 = 100;
const PUSHES_AT_ONCE: usize = 4;
const SETTLED: Duration = Duration::from_mins(2);
const REPAIRED: Duration = Duration::from_mins(10);
const LOOK: Duration = Duration::from_millis(500);
/// Of what is to come: the rate is measured between these.
const BEGUN: f64 = 0.02;
const ALL_BUT: f64 = 0.98;

/// How a repair went.
#[derive(Debug)]
struct Repaired {
    bytes: u64,
    mib_per_s: f64,
    took: Duration,
}

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let builder = Cluster::builder().regions([REGION]).nodes(3).spare(REGION);
    let mut cluster = builder.start().await?;
    let through: Vec<Registry> = [1, 2]
        .map(|id| cluster.registry(id))
        .into_iter()
        .collect::<Result<_>>()?;
    push(&through, 1, sizes.lost, LOST_BYTES).await?;
    let pulled = push(&through, 1 << 32, PULLED, PULLED_BYTES).await?;
    rustix::fs::sync();
    let total = blob_bytes(&cluster, 1).await?;
    let pull = async |number: u64| {
        let digest = &pulled[usize::try_from(number * 7 % PULLED)?];
        pull(&through[usize::try_from(number % 2)?], digest).await
    };
    load::for_seconds(sizes.before_s.min(5), PULLS_PER_S, pull).await?;
    let before = load::for_seconds(sizes.before_s, PULLS_PER_S, pull).await?;

    cluster.kill9(3)?;
    fs::remove_dir_all(cluster.node(3)?.data()).context("lose a disk")?;
    let without = load::for_seconds(sizes.before_s, PULLS_PER_S, pull).await?;
    cluster.start(&[4]).await?;
    let admin = cluster.admin(1)?;
    wait_until("the new node to take part", SETTLED, async || {
        let replaced = admin.json(&["node", "replace", "3", "--with", "4", "--yes"]);
        Ok(replaced.await.ok())
    })
    .await?;
    let work = repaired(&cluster, total);
    let (repaired, during) = load::during(PULLS_PER_S, pull, work).await?;
    let after = load::for_seconds(sizes.before_s, PULLS_PER_S, pull).await?;
    cluster.finish().await?;
    Ok(table(&repaired, [&before, &without, &during, &after]))
}

/// Waits until node 4 has as many bytes of blobs as node 1 has.
async fn repaired(cluster: &Cluster, total: u64) -> Result<Repaired> {
    let started = Instant::now();
    let mut begun: Option<(Instant, u64)> = None;
    let mut rate = f64::NAN;
    loop {
        let bytes = blob_bytes(cluster, 4).await?;
        let now = Instant::now();
        let part = float(bytes) / float(total);
        if begun.is_none() && part >= BEGUN {
            begun = Some((now, bytes));
        }
        if let Some((since, first)) = begun
            && rate.is_nan()
            && part >= ALL_BUT
        {
            rate = float(bytes - first) / (now - since).as_secs_f64();
        }
        if bytes >= total {
            let mib_per_s = rate / float(MIB as u64);
            let took = started.elapsed();
            return Ok(Repaired {
                bytes,
                mib_per_s,
                took,
            });
        }
        ensure!(
            started.elapsed() < REPAIRED,
            "{bytes} of {total} bytes came"
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// Pushes blobs in turn; their digests.
async fn push(through: &[Registry], seed: u64, count: u64, bytes: usize) -> Result<Vec<String>> {
    let clients = through.iter().cycle();
    futures::stream::iter((seed..seed + count).zip(clients))
        .map(async |(seed, client)| {
            let blob = Blob::new(media::LAYER, Random::new(seed).bytes(bytes));
            client.push_blob(REPOSITORY, &blob).await?;
            anyhow::Ok(blob.digest)
        })
        .buffered(PUSHES_AT_ONCE)
        .try_collect()
        .await
}

async fn pull(client: &Registry, digest: &str) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/blobs/{digest}");
    let reply = client.get(&path).send().await?.expect(200)?;
    ensure!(reply.body.len() == PULLED_BYTES, "{}", reply.what);
    Ok(())
}

/// What the blobs of a node have in bytes, without their hash trees and without
/// what is on its way.
async fn blob_bytes(cluster: &Cluster, id: u64) -> Result<u64> {
    let folder = cluster.node(id)?.data().join("blobs/sha256");
    // Not where the pulls are timed: it takes some milliseconds.
    tokio::task::spawn_blocking(move || bytes_below(&folder)).await?
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(0);
    };
    let mut sum = 0;
    for entry in entries {
        let entry = entry.context("list a folder")?;
        let path = entry.path();
        sum += match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&path)?,
            Ok(found) if path.extension().is_none() => found.len(),
            // Hash trees, and what was renamed between two looks.
            _ => 0,
        };
    }
    Ok(sum)
}

fn table(repaired: &Repaired, [before, without, during, after]: [&Latencies; 4]) -> String {
    let rows = [
        ("three nodes, before", before),
        ("one node lost", without),
        ("while its successor gets its copies", during),
        ("after that", after),
    ];
    let mut lines = vec![
        format!(
            "- repair: {:.2} GB in {:.0} s from `entrepot node replace` on; {:.1} MiB/s between \
             the first and the last {:.0} % of it",
            float(repaired.bytes) / 1e9,
            repaired.took.as_secs_f64(),
            repaired.mib_per_s,
            BEGUN * 100.0,
        ),
        format!(
            "- pulls: {PULLED} blobs of 1 MiB, {PULLS_PER_S} pulls a second through the two nodes \
             that stay, each timed from when it was due"
        ),
        String::new(),
    ];
    lines.extend(load::table("pulls of 1 MiB", &rows));
    lines.join("\n")
}

fn float(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "some GB")]
    let bytes = bytes as f64;
    bytes
}
