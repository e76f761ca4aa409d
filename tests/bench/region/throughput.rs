//! Pushes and pulls through all nodes of a region in turn.

use anyhow::{Result, ensure};
use entrepot_harness::{Blob, Cluster, Image, Random, Registry, media};
use futures::TryStreamExt as _;

use crate::cell::cell;
use crate::timed::{Timed, timed};
use crate::{MIB, Sizes};

const REPOSITORY: &str = "bench/region";
const LAYER_BYTES: usize = 32 * MIB;
const SMALL_LAYER_BYTES: usize = 4096;
const PULLS_PER_LAYER: usize = 3;
const LAYERS_AT_ONCE: usize = 4;
const PULLS_AT_ONCE: usize = 8;
const IMAGES_AT_ONCE: usize = 8;

/// What is compared.
#[derive(Debug, Clone, Copy)]
struct System {
    name: &'static str,
    nodes: usize,
    copies: usize,
}

const SYSTEMS: [System; 3] = [
    System {
        name: "1 node",
        nodes: 1,
        copies: 3,
    },
    System {
        name: "3 nodes, 3 copies",
        nodes: 3,
        copies: 3,
    },
    System {
        name: "3 nodes, 2 copies",
        nodes: 3,
        copies: 2,
    },
];

/// The rows: rate and CPU of each.
const ROWS: [(&str, &str, &str); 3] = [
    ("push of 32 MiB layers, 4 at a time", "MB/s", "s/GB"),
    ("pull of 32 MiB layers, 8 at a time", "MB/s", "s/GB"),
    ("push of small images, 8 at a time", "/s", "ms"),
];

/// What one round of one row gave.
#[derive(Debug, Clone, Copy)]
struct Sample {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu: f64,
}

/// By row and system.
type Found = [[Vec<Sample>; SYSTEMS.len()]; ROWS.len()];

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let layers: Vec<Blob> = (0..sizes.layers)
        .map(|seed| Blob::new(media::LAYER, Random::new(seed).bytes(LAYER_BYTES)))
        .collect();
    let images: Vec<Image> = (0..sizes.images)
        .map(|seed| Image::random(1_000_000 + seed, 1, SMALL_LAYER_BYTES))
        .collect();
    let mut found = Found::default();
    for round in 0..sizes.rounds {
        for turn in 0..SYSTEMS.len() {
            let nth = (round + turn) % SYSTEMS.len();
            eprintln!(
                "  round {} of {}: {}",
                round + 1,
                sizes.rounds,
                SYSTEMS[nth].name
            );
            rustix::fs::sync();
            let samples = one(&SYSTEMS[nth], &layers, &images).await?;
            for (row, sample) in found.iter_mut().zip(samples) {
                eprintln!("    {sample:.1?}");
                row[nth].push(sample);
            }
        }
    }
    Ok(table(sizes, &found))
}

/// One round of one system, on empty folders.
async fn one(system: &System, layers: &[Blob], images: &[Image]) -> Result<[Sample; ROWS.len()]> {
    let builder = Cluster::builder().nodes(system.nodes).copies(system.copies);
    let cluster = builder.start().await?;
    let ids = cluster.ids().into_iter();
    let clients: Vec<Registry> = ids.map(|id| cluster.registry(id)).collect::<Result<_>>()?;
    let in_turn = || clients.iter().cycle();
    #[allow(clippy::cast_precision_loss, reason = "some GB")]
    let bytes = (layers.len() * LAYER_BYTES) as f64;

    let pushes = layers.iter().zip(in_turn());
    let pushes = pushes.map(|(layer, client)| client.push_blob(REPOSITORY, layer));
    let written = measured(&cluster, (1e-6, 1e9), bytes, pushes, LAYERS_AT_ONCE).await?;

    // Not through the node that it was pushed through, where there is another.
    let pulls = layers.iter().cycle().take(layers.len() * PULLS_PER_LAYER);
    let pulls = pulls.zip(in_turn().skip(1));
    let pulls = pulls.map(|(layer, client)| drain(client, layer));
    #[allow(clippy::cast_precision_loss, reason = "three")]
    let bytes = bytes * PULLS_PER_LAYER as f64;
    let read = measured(&cluster, (1e-6, 1e9), bytes, pulls, PULLS_AT_ONCE).await?;

    #[allow(clippy::cast_precision_loss, reason = "some hundred")]
    let count = images.len() as f64;
    let pushes = images.iter().zip(in_turn()).enumerate();
    let pushes = pushes.map(|(nth, (image, client))| push(client, format!("n{nth}"), image));
    let small = measured(&cluster, (1.0, 1e3), count, pushes, IMAGES_AT_ONCE).await?;
    cluster.finish().await?;
    Ok([written, read, small])
}

/// `units`: what the rate and the CPU time are multiplied by. `amount`: bytes or
/// images.
async fn measured(
    cluster: &Cluster,
    units: (f64, f64),
    amount: f64,
    operations: impl IntoIterator<Item = impl Future<Output = Result<()>>>,
    at_once: usize,
) -> Result<Sample> {
    let before = cpu_s(cluster)?;
    let Timed {
        took_s,
        p50_ms,
        p99_ms,
    } = timed(operations, at_once).await?;
    let cpu_s = cpu_s(cluster)? - before;
    Ok(Sample {
        rate: units.0 * amount / took_s,
        p50_ms,
        p99_ms,
        cpu: units.1 * cpu_s / amount,
    })
}

/// User and system time of all nodes so far.
fn cpu_s(cluster: &Cluster) -> Result<f64> {
    let mut sum = 0.0;
    for id in cluster.ids() {
        sum += cluster.node(id)?.usage()?.cpu_s;
    }
    Ok(sum)
}

/// Reads a blob and throws it away.
async fn drain(client: &Registry, layer: &Blob) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/blobs/{}", layer.digest);
    let mut bytes = client.get(&path).stream(200).await?.bytes_stream();
    let mut size = 0;
    while let Some(chunk) = bytes.try_next().await? {
        size += chunk.len();
    }
    ensure!(size == layer.content.len(), "{path}: {size} bytes");
    Ok(())
}

/// As a client pushes: HEAD, POST and PUT for each blob, then the manifest.
async fn push(client: &Registry, tag: String, image: &Image) -> Result<()> {
    for blob in &image.blobs {
        let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
        if client.head(&path).send().await?.status != 200 {
            client.push_blob(REPOSITORY, blob).await?;
        }
    }
    client
        .put_manifest(REPOSITORY, &tag, &image.manifest)
        .await?;
    Ok(())
}

fn table(sizes: &Sizes, found: &Found) -> String {
    let mut lines = vec![
        format!(
            "- {} alternating rounds, each on empty folders: median (least–most). {} layers and \
             {} images a round, sent to all nodes in turn; each layer is pulled {PULLS_PER_LAYER} \
             times, first through another node than it was pushed through. CPU: of all nodes",
            sizes.rounds, sizes.layers, sizes.images
        ),
        String::new(),
        "| | | rate | p50, ms | p99, ms | CPU |".to_owned(),
        "|---|---|---:|---:|---:|---:|".to_owned(),
    ];
    for ((mut name, rate, cpu), row) in ROWS.into_iter().zip(found) {
        for (system, samples) in SYSTEMS.iter().zip(row) {
            let column = |of: fn(&Sample) -> f64| {
                let values: Vec<f64> = samples.iter().map(of).collect();
                cell(&values)
            };
            lines.push(format!(
                "| {name} | {} | {} {rate} | {} | {} | {} {cpu} |",
                system.name,
                column(|sample| sample.rate),
                column(|sample| sample.p50_ms),
                column(|sample| sample.p99_ms),
                column(|sample| sample.cpu),
            ));
            name = "";
        }
    }
    lines.join("\n")
}
