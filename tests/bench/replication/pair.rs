//! Two regions with a line between them, and images for them.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use entrepot_harness::{Blob, Cluster, Image, Random, Registry, Wan, media};
use futures::future::try_join_all;
use futures::stream;
use tokio::time::Instant;

use crate::{EU, MIB, US};

/// How often the destination is asked whether a tag is there.
const ASK_EVERY: Duration = Duration::from_millis(2);
const ARRIVES_WITHIN: Duration = Duration::from_mins(5);
const PACED_CHUNK_BYTES: usize = 256 * 1024;

/// What is between the regions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Between {
    pub(crate) name: &'static str,
    pub(crate) round_trip: Duration,
    pub(crate) bytes_per_s: Option<u64>,
}

pub(crate) struct Pair {
    pub(crate) cluster: Cluster,
    pub(crate) wan: Wan,
    pub(crate) source: Registry,
    pub(crate) destination: Registry,
}

impl Pair {
    /// With a rule that copies everything from the first region to the second.
    pub(crate) async fn start(nodes: usize, between: Between) -> Result<Self> {
        let builder = Cluster::builder().regions([US, EU]).nodes(nodes).links(1);
        let cluster = builder.start().await?;
        cluster.admin(1)?.put_rule("all", EU, None).await?;
        let wan = Wan::between(&cluster, (US, EU), between.round_trip, between.bytes_per_s)?;
        let first = cluster.ids_in(EU)[0];
        Ok(Self {
            source: cluster.registry(1)?,
            destination: cluster.registry(first)?,
            wan,
            cluster,
        })
    }

    /// Pushes an image as a client does, its blobs at the same time, and waits
    /// until its tag is at the destination: how long after the manifest's PUT was
    /// answered. `bytes_per_s`: what the client sends of each blob.
    pub(crate) async fn lag(
        &self,
        repository: &str,
        tag: &str,
        image: &Image,
        bytes_per_s: Option<u64>,
    ) -> Result<Duration> {
        let blobs = image.blobs.iter();
        let blobs = blobs.map(|blob| push(&self.source, repository, blob, bytes_per_s));
        try_join_all(blobs).await?;
        let manifest = &image.manifest;
        self.source.put_manifest(repository, tag, manifest).await?;
        let pushed = Instant::now();
        self.arrival(repository, tag, &manifest.digest).await?;
        Ok(pushed.elapsed())
    }

    /// Waits until a tag is at the destination.
    pub(crate) async fn arrival(&self, repository: &str, tag: &str, digest: &str) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let asked = Instant::now();
        let mut ticks = tokio::time::interval(ASK_EVERY);
        loop {
            ticks.tick().await;
            let reply = self.destination.head(&path).send().await?;
            if reply.status == 200 {
                reply.expect_header("docker-content-digest", digest)?;
                return Ok(());
            }
            ensure!(asked.elapsed() < ARRIVES_WITHIN, "{path} does not arrive");
        }
    }

    /// User and system time of all nodes so far.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        Ok(self.cpu_s_in(US)? + self.cpu_s_in(EU)?)
    }

    /// The same of a region's nodes.
    pub(crate) fn cpu_s_in(&self, region: &str) -> Result<f64> {
        let mut sum = 0.0;
        for id in self.cluster.ids_in(region) {
            sum += self.cluster.node(id)?.usage()?.cpu_s;
        }
        Ok(sum)
    }

    /// Waits until everything that was sent so far has arrived.
    pub(crate) async fn settle(&self) -> Result<()> {
        let repository = "bench/settled";
        let image = image(u64::MAX, 1, 1_000);
        self.lag(repository, "settled", &image, None).await?;
        Ok(())
    }
}

/// An image of `layers` layers of exactly `layer_bytes` random bytes.
pub(crate) fn image(seed: u64, layers: usize, layer_bytes: usize) -> Image {
    let mut random = Random::new(seed);
    let layers = (0..layers).map(|_| Blob::new(media::LAYER, random.bytes(layer_bytes)));
    let layers: Vec<Blob> = layers.collect();
    let config = Blob::new(media::CONFIG, format!("{{\"author\":\"seed {seed}\"}}"));
    Image::of(media::MANIFEST, config, layers)
}

/// POST and PUT of a blob, at no more than a rate.
pub(crate) async fn push(
    registry: &Registry,
    repository: &str,
    blob: &Blob,
    bytes_per_s: Option<u64>,
) -> Result<()> {
    let Some(bytes_per_s) = bytes_per_s.filter(|_| blob.content.len() > MIB) else {
        return registry.push_blob(repository, blob).await;
    };
    let size = blob.content.len() as u64;
    let body = reqwest::Body::wrap_stream(paced(blob.content.clone(), bytes_per_s));
    registry
        .push_blob_body(repository, &blob.digest, size, body)
        .await
}

fn paced(
    content: Bytes,
    bytes_per_s: u64,
) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send {
    let start = Instant::now();
    let size = content.len();
    stream::unfold(content, move |mut content| async move {
        if content.is_empty() {
            return None;
        }
        let sent = (size - content.len()) as u64;
        let due = Duration::from_micros(sent * 1_000_000 / bytes_per_s);
        tokio::time::sleep_until(start + due).await;
        let chunk = content.split_to(PACED_CHUNK_BYTES.min(content.len()));
        Some((Ok(chunk), content))
    })
}
