//! A layer of 1 GiB, pushed, copied, replicated and pulled, with bounded
//! memory everywhere.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use entrepot_harness::{Blob, Random, Registry, digest_of_all, media};

use crate::support::{EU, step, two_regions};

const PIECE_BYTES: usize = 1 << 20;
const PIECES: u64 = 1024;
const SIZE_BYTES: u64 = PIECES * PIECE_BYTES as u64;
const PEAK_BYTES_MAX: u64 = 200 << 20;
const REPLICATED: Duration = Duration::from_mins(5);
const REPOSITORY: &str = "large/layer";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gibibyte_layer_with_bounded_memory() -> Result<()> {
    let mut cluster = two_regions().await?;
    cluster
        .admin(1)?
        .put_rule("large", EU, Some("large/"))
        .await?;
    let here = cluster.registry(2)?;
    let digest = digest_of_all(pieces());
    let config = Blob::new(media::CONFIG, "{}");

    step("push", async {
        let started = Instant::now();
        here.push_blob_body(REPOSITORY, &digest, SIZE_BYTES, body())
            .await?;
        report("pushed", started);
        here.push_blob(REPOSITORY, &config).await?;
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media::MANIFEST, "config": config.descriptor(),
            "layers": [{"mediaType": media::LAYER, "digest": digest, "size": SIZE_BYTES}],
        });
        let manifest = Blob::new(media::MANIFEST, manifest.to_string());
        here.put_manifest(REPOSITORY, "latest", &manifest).await?;
        Ok(())
    })
    .await?;

    step("pull through each node of the region", async {
        for id in [1, 2, 3] {
            pull(&cluster.registry(id)?, &digest).await?;
        }
        Ok(())
    })
    .await?;

    step("replicate, and pull over there", async {
        let started = Instant::now();
        let admin = cluster.admin(1)?;
        admin
            .wait_replicated(Some(REPOSITORY), 1, REPLICATED)
            .await?;
        report("replicated (since the pulls)", started);
        for id in [4, 6] {
            pull(&cluster.registry(id)?, &digest).await?;
        }
        Ok(())
    })
    .await?;

    let peaks = cluster.peak_rss_bytes();
    for (id, peak) in &peaks {
        println!("  node {id}: peak memory {} MiB", peak >> 20);
    }
    for (id, peak) in peaks {
        ensure!(peak < PEAK_BYTES_MAX, "node {id} held {} MiB", peak >> 20);
    }
    cluster.finish().await
}

/// The pieces of the layer, made as they are needed.
fn pieces() -> impl Iterator<Item = Bytes> {
    let first = Random::new(1).bytes(PIECE_BYTES);
    (0..PIECES).map(move |number| {
        let mut piece = first.to_vec();
        piece[..8].copy_from_slice(&number.to_le_bytes());
        piece.into()
    })
}

fn body() -> reqwest::Body {
    let pieces = pieces().map(Ok::<_, std::io::Error>);
    reqwest::Body::wrap_stream(futures::stream::iter(pieces))
}

async fn pull(node: &Registry, digest: &str) -> Result<()> {
    let started = Instant::now();
    let read = node.read_blob(REPOSITORY, digest).await?;
    ensure!(read == (digest.to_owned(), SIZE_BYTES), "read {read:?}");
    report("pulled", started);
    Ok(())
}

fn report(what: &str, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "  {what} 1 GiB in {seconds:.1} s ({:.0} MB/s)",
        1073.7 / seconds
    );
}
