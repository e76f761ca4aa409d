//! The measurements. Every one is made the same way for every system; digests
//! are computed and content is made before the clock starts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use entrepot_harness::{Blob, Image, Random, Registry, digest_of_all};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::system::System;

const PIECE_BYTES: usize = 1_000_000;
/// Pulls take so little CPU time that one would hardly be measured.
const PULLS_PER_BLOB: usize = 4;
const PIECES_MADE: usize = 16;
const REPOSITORY: &str = "bench/registry";

/// How much is done.
#[derive(Debug)]
pub(crate) struct Sizes {
    pub(crate) concurrency: usize,
    images: u64,
    pub(crate) layer_bytes: usize,
    manifest_gets: usize,
    /// Blobs of 100 MB, and of 1 GB.
    medium: u64,
    large: u64,
}

impl Sizes {
    pub(crate) const FULL: Self = Self {
        concurrency: 8,
        images: 400,
        layer_bytes: 10_000,
        manifest_gets: 10_000,
        medium: 5,
        large: 1,
    };
    pub(crate) const QUICK: Self = Self {
        concurrency: 8,
        images: 50,
        layer_bytes: 10_000,
        manifest_gets: 1_000,
        medium: 1,
        large: 0,
    };
}

/// One value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) what: &'static str,
    pub(crate) value: f64,
}

/// The names of what a blob size gives.
struct Names {
    push_rate: &'static str,
    push_cpu: &'static str,
    pull_rate: &'static str,
    pull_cpu: &'static str,
}

const MEDIUM: Names = Names {
    push_rate: "push of 100 MB blobs, MB/s",
    push_cpu: "… CPU-s per GB",
    pull_rate: "pull of 100 MB blobs, MB/s",
    pull_cpu: "… CPU-s per GB pulled",
};
const LARGE: Names = Names {
    push_rate: "push of a 1 GB blob, MB/s",
    push_cpu: "… CPU-s per GB of it",
    pull_rate: "pull of a 1 GB blob, MB/s",
    pull_cpu: "… CPU-s per GB of it pulled",
};

/// Everything, on a system that has just started.
pub(crate) async fn all(system: &System, sizes: &Sizes, round: usize) -> Result<Vec<Measure>> {
    let seed = 1 + u64::try_from(round)?;
    let mut found = small_images(system, sizes, seed).await?;
    found.extend(manifest_gets(system, sizes, seed).await?);
    found.extend(blobs(system, sizes.medium, 100, seed, &MEDIUM).await?);
    found.extend(blobs(system, sizes.large, 1000, seed + 1000, &LARGE).await?);
    Ok(found)
}

/// As a client pushes: HEAD, POST and PUT for each blob, then the manifest.
async fn small_images(system: &System, sizes: &Sizes, seed: u64) -> Result<Vec<Measure>> {
    let first = seed * 1_000_000;
    let images: Vec<Image> = (first..first + sizes.images)
        .map(|seed| Image::random(seed, 2, sizes.layer_bytes))
        .collect();
    let before = system.cpu_s()?;
    let started = Instant::now();
    futures::stream::iter(images.iter().zip(system.clients.iter().cycle()).enumerate())
        .map(|(nth, (image, client))| push(client, format!("n{nth}"), image))
        .buffer_unordered(sizes.concurrency)
        .try_collect::<()>()
        .await?;
    let took = started.elapsed().as_secs_f64();
    let cpu = system.cpu_s()? - before;
    #[allow(clippy::cast_precision_loss, reason = "a few hundred images")]
    let images = images.len() as f64;
    Ok(vec![
        Measure {
            what: "push of small images, images/s",
            value: images / took,
        },
        Measure {
            what: "… CPU-ms per image",
            value: 1000.0 * cpu / images,
        },
    ])
}

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

async fn manifest_gets(system: &System, sizes: &Sizes, seed: u64) -> Result<Vec<Measure>> {
    let image = Image::random(seed * 1_000_000, 2, sizes.layer_bytes);
    let clients = system.clients.iter().cycle().take(sizes.manifest_gets);
    let before = system.cpu_s()?;
    let started = Instant::now();
    let mut latencies: Vec<Duration> = futures::stream::iter(clients)
        .map(|client| get_manifest(client, &image.manifest))
        .buffer_unordered(sizes.concurrency)
        .try_collect()
        .await?;
    let took = started.elapsed().as_secs_f64();
    let cpu = system.cpu_s()? - before;
    latencies.sort_unstable();
    let at = |percent: usize| {
        let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies
            .get(index)
            .map_or(f64::NAN, |found| found.as_secs_f64() * 1000.0)
    };
    #[allow(clippy::cast_precision_loss, reason = "some thousand requests")]
    let count = sizes.manifest_gets as f64;
    Ok(vec![
        Measure {
            what: "manifest GET by tag, 1/s",
            value: count / took,
        },
        Measure {
            what: "… p50, ms",
            value: at(50),
        },
        Measure {
            what: "… p99, ms",
            value: at(99),
        },
        Measure {
            what: "… CPU-ms per GET",
            value: 1000.0 * cpu / count,
        },
    ])
}

async fn get_manifest(client: &Registry, manifest: &Blob) -> Result<Duration> {
    let started = Instant::now();
    let path = format!("/v2/{REPOSITORY}/manifests/n0");
    let request = client.get(&path).header("accept", &manifest.media_type);
    let reply = request.send().await?.expect(200)?;
    ensure!(reply.body == manifest.content, "another manifest came back");
    Ok(started.elapsed())
}

/// Pushes and pulls `count` blobs of `megabytes`, one after the other; pulls
/// through another node than the one pushed through, where there is one.
async fn blobs(
    system: &System,
    count: u64,
    megabytes: u64,
    seed: u64,
    names: &Names,
) -> Result<Vec<Measure>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let contents: Vec<Content> = (0..count)
        .map(|nth| Content::new(seed * 100 + nth, megabytes))
        .collect();
    let source = system.clients.first().context("no client")?;
    let target = system.clients.last().context("no client")?;
    let (before, started) = (system.cpu_s()?, Instant::now());
    for content in &contents {
        let size = megabytes * PIECE_BYTES as u64;
        let pushed = source.push_blob_body(REPOSITORY, &content.digest, size, content.body());
        pushed.await?;
    }
    let (push_s, push_cpu) = (started.elapsed().as_secs_f64(), system.cpu_s()? - before);
    let (before, started) = (system.cpu_s()?, Instant::now());
    for content in contents
        .iter()
        .cycle()
        .take(contents.len() * PULLS_PER_BLOB)
    {
        let bytes = drain(target, &content.digest).await?;
        ensure!(
            bytes == megabytes * PIECE_BYTES as u64,
            "pulled {bytes} bytes"
        );
    }
    let (pull_s, pull_cpu) = (started.elapsed().as_secs_f64(), system.cpu_s()? - before);
    #[allow(clippy::cast_precision_loss, reason = "some thousand megabytes")]
    let (pushed, pulled) = (
        (count * megabytes) as f64,
        (count * megabytes * PULLS_PER_BLOB as u64) as f64,
    );
    Ok(vec![
        Measure {
            what: names.push_rate,
            value: pushed / push_s,
        },
        Measure {
            what: names.push_cpu,
            value: 1000.0 * push_cpu / pushed,
        },
        Measure {
            what: names.pull_rate,
            value: pulled / pull_s,
        },
        Measure {
            what: names.pull_cpu,
            value: 1000.0 * pull_cpu / pulled,
        },
    ])
}

/// Reads a blob and throws it away; returns its size.
async fn drain(client: &Registry, digest: &str) -> Result<u64> {
    let path = format!("/v2/{REPOSITORY}/blobs/{digest}");
    let mut bytes = client.get(&path).stream(200).await?.bytes_stream();
    let mut size = 0;
    while let Some(chunk) = bytes.try_next().await? {
        size += chunk.len() as u64;
    }
    Ok(size)
}

/// A blob of its own for every push, of few pieces that are used again: its
/// first piece alone makes it differ.
struct Content {
    pieces: Vec<Bytes>,
    megabytes: u64,
    digest: String,
}

impl Content {
    fn new(seed: u64, megabytes: u64) -> Self {
        let mut random = Random::new(seed);
        let pieces = (0..PIECES_MADE)
            .map(|_| random.bytes(PIECE_BYTES))
            .collect();
        let mut content = Self {
            pieces,
            megabytes,
            digest: String::new(),
        };
        content.digest = digest_of_all(content.iter());
        content
    }

    fn iter(&self) -> impl Iterator<Item = Bytes> + use<> {
        let pieces = self.pieces.clone();
        let count = usize::try_from(self.megabytes).unwrap_or(usize::MAX);
        (0..count).map(move |nth| pieces[nth % pieces.len()].clone())
    }

    fn body(&self) -> reqwest::Body {
        reqwest::Body::wrap_stream(futures::stream::iter(
            self.iter().map(Ok::<_, std::io::Error>),
        ))
    }
}
