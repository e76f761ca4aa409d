//! Clients that push and pull at a steady rate.
//!
//! Each thing that they do is timed from the moment when it was due, so that a node
//! that stands still is charged for all that had to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use entrepot_harness::{Blob, Cluster, Image, Random, Registry, media};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub(crate) const CLIENTS: u64 = 8;
/// From one thing that a client does to the next: 200 a second, by all.
pub(crate) const EVERY: Duration = Duration::from_millis(40);
/// One in so many is a push.
pub(crate) const PUSH_ONE_IN: u64 = 4;
pub(crate) const LAYER_BYTES: usize = 16 * 1024;

/// How long each thing took, in order.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) pushes: Vec<Duration>,
    pub(crate) pulls: Vec<Duration>,
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<Latencies>>,
}

// === impl Latencies ===

impl Latencies {
    /// By nearest rank, in ms; NaN of nothing.
    pub(crate) fn ms(all: &[Duration], percent: usize) -> f64 {
        let rank = (all.len() * percent).div_ceil(100);
        let found = all.get(rank.saturating_sub(1));
        found.map_or(f64::NAN, |found| found.as_secs_f64() * 1e3)
    }
}

// === impl Load ===

impl Load {
    /// `seed`: no two loads push the same.
    pub(crate) async fn start(cluster: &Cluster, seed: u64) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for client in 0..CLIENTS {
            let registry = cluster.registry(1)?;
            let stop = Arc::clone(&stop);
            let seed = seed * CLIENTS + client;
            // Its connections are made, and there is something to pull.
            let mut images = vec![push(&registry, client, seed << 32).await?];
            tasks.spawn(async move {
                let mut random = Random::new(seed);
                let mut latencies = Latencies::default();
                let mut due = interval(EVERY);
                due.set_missed_tick_behavior(MissedTickBehavior::Burst);
                for number in 1.. {
                    let was_due = due.tick().await;
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if number % PUSH_ONE_IN == 0 {
                        let image = push(&registry, client, (seed << 32) + number).await?;
                        images.push(image);
                        latencies.pushes.push(was_due.elapsed());
                    } else {
                        let image = &images[random.below(images.len())];
                        registry
                            .verify_blob(&repository(client), &image.blobs[1])
                            .await?;
                        let path = format!("/v2/{}/manifests/v1", repository(client));
                        registry.get(&path).send().await?.expect(200)?;
                        latencies.pulls.push(was_due.elapsed());
                    }
                }
                Ok(latencies)
            });
        }
        Ok(Self { stop, tasks })
    }

    /// What all of them saw, sorted.
    pub(crate) async fn stop(mut self) -> Result<Latencies> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Latencies::default();
        while let Some(ended) = self.tasks.join_next().await {
            let latencies = ended.context("a client panicked")??;
            all.pushes.extend(latencies.pushes);
            all.pulls.extend(latencies.pulls);
        }
        all.pushes.sort_unstable();
        all.pulls.sort_unstable();
        Ok(all)
    }
}

fn repository(client: u64) -> String {
    format!("bench/client-{client}")
}

/// A layer and a config, each in one request, and a manifest.
async fn push(registry: &Registry, client: u64, seed: u64) -> Result<Image> {
    let layer = Blob::new(media::LAYER, Random::new(seed).bytes(LAYER_BYTES));
    let config = Blob::new(media::CONFIG, format!("{{\"author\": \"{seed}\"}}"));
    let image = Image::of(media::MANIFEST, config, vec![layer]);
    let name = repository(client);
    for blob in &image.blobs {
        upload(registry, &name, blob).await?;
    }
    registry.put_manifest(&name, "v1", &image.manifest).await?;
    Ok(image)
}

/// In one request.
pub(crate) async fn upload(registry: &Registry, name: &str, blob: &Blob) -> Result<()> {
    let path = format!("/v2/{name}/blobs/uploads/?digest={}", blob.digest);
    let post = registry.post(&path);
    let post = post.header("content-type", "application/octet-stream");
    post.body(blob.content.clone()).send().await?.expect(201)?;
    Ok(())
}

/// Lets the load go on for so long.
pub(crate) async fn watch(seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    tokio::time::sleep_until(until).await;
}
