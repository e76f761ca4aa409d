//! The most memory that a registry holds while it takes 10 GB of layers and
//! gives them back.
//!
//! Two figures, because pages of a file that is mapped count as the process's
//! own memory to the kernel's high-water mark (`VmHWM`), though they are page
//! cache: they hold what is on the disk anyway, and the kernel takes them back
//! whenever it wants memory for something else. What it cannot take back is
//! anonymous memory (`RssAnon`), of which it keeps no high-water mark: that is
//! read every few milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use entrepot_harness::{Blob, Random, Registry, usage};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::pushes::{LAYER, LAYER_BYTES};
use crate::reads::REPOSITORY;
use crate::system::System;
use crate::work::Found;

const ANONYMOUS: &str = "peak of anonymous memory, layers pushed and pulled, MiB";
const ALL: &str = "… with the mapped pages of files (VmHWM), MiB";
const PUSHES: usize = 4;
const PULLS: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) async fn peaks(system: &System, layers: u64) -> Result<Vec<Found>> {
    let Some(registry) = system.registry()? else {
        return Ok(Vec::new());
    };
    let pid = system.pid()?;
    let anonymous = Arc::new(AtomicU64::new(0));
    let looks = tokio::spawn(look(pid, Arc::clone(&anonymous)));
    let digests: Vec<String> = futures::stream::iter(0..layers)
        .map(|seed| push(&registry, seed))
        .buffer_unordered(PUSHES)
        .try_collect()
        .await?;
    futures::stream::iter(&digests)
        .map(|digest| pull(&registry, digest))
        .buffer_unordered(PULLS)
        .try_collect::<()>()
        .await?;
    looks.abort();
    let all = usage(pid)?.peak_rss_bytes;
    Ok(vec![
        Found::Value(ANONYMOUS, mib(anonymous.load(Ordering::Relaxed))),
        Found::Value(ALL, mib(all)),
    ])
}

/// Until it is aborted, or the process ends.
async fn look(pid: u32, peak: Arc<AtomicU64>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    while let Ok(usage) = usage(pid) {
        peak.fetch_max(usage.anonymous_bytes, Ordering::Relaxed);
        looks.tick().await;
    }
}

/// Makes a layer, pushes it and forgets it; its digest.
async fn push(registry: &Registry, seed: u64) -> Result<String> {
    let length = usize::try_from(LAYER_BYTES)?;
    let made = move || Blob::new(LAYER, Random::new(10_000 + seed).bytes(length));
    let layer = tokio::task::spawn_blocking(made).await?;
    registry.push_blob(REPOSITORY, &layer).await?;
    Ok(layer.digest)
}

async fn pull(registry: &Registry, digest: &str) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/blobs/{digest}");
    let mut bytes = registry.get(&path).stream(200).await?.bytes_stream();
    let mut size = 0;
    while let Some(piece) = bytes.try_next().await? {
        size += piece.len() as u64;
    }
    ensure!(size == LAYER_BYTES, "pulled {size} bytes of {digest}");
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "some GB at most")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
