//! A disk that changes bytes: no client gets a wrong one, and the copy is
//! mended.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, Random, Registry, digest_of, media, wait_until};
use tokio::task::JoinSet;

use crate::support::{US, step};

const REPOSITORY: &str = "rot/app";
const MENDED: Duration = Duration::from_mins(1);
const READERS: usize = 4;
const FLIPS: usize = 24;
/// Small ones, and large ones with a hash tree. Those between stay open while they
/// are asked for: a disk that changes is not seen then, until a scrub looks.
const SIZES: [usize; 4] = [7 << 10, 30 << 10, 5 << 20, 9 << 20];
/// The node whose disk is bad.
const BAD: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bytes_are_never_served_and_are_mended() -> Result<()> {
    let cluster = Cluster::builder().regions([US]).nodes(3).start().await?;
    let mut random = Random::new(7);
    let blobs: Vec<Blob> = SIZES
        .iter()
        .map(|size| Blob::new(media::LAYER, random.bytes(*size)))
        .collect();
    let registry = cluster.registry(1)?;
    for blob in &blobs {
        registry.push_blob(REPOSITORY, blob).await?;
    }
    let files: Vec<PathBuf> = blobs
        .iter()
        .map(|blob| cluster.node(BAD)?.blob_file(&blob.digest))
        .collect::<Result<_>>()?;
    for (file, blob) in files.iter().zip(&blobs) {
        right_copy(file, blob).await?;
    }

    step("bytes flip while clients pull", async {
        let stop = Arc::new(AtomicBool::new(false));
        let pulls = Arc::new(AtomicU64::new(0));
        let mut readers = JoinSet::new();
        for reader in 0..READERS {
            let registry = cluster.registry(BAD)?;
            let blobs = blobs.clone();
            let (stop, pulls) = (Arc::clone(&stop), Arc::clone(&pulls));
            readers.spawn(async move {
                let mut turn = reader;
                while !stop.load(Ordering::Relaxed) {
                    pull(&registry, &blobs[turn % blobs.len()]).await?;
                    pulls.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
                anyhow::Ok(())
            });
        }
        for flip in 0..FLIPS {
            let which = flip % blobs.len();
            // As a disk does it: what is read from now on is another file.
            rot(&files[which], random.below(SIZES[which]))?;
            right_copy(&files[which], &blobs[which]).await?;
        }
        stop.store(true, Ordering::Relaxed);
        while let Some(reader) = readers.join_next().await {
            reader??;
        }
        println!("  {} pulls", pulls.load(Ordering::Relaxed));
        Ok(())
    })
    .await?;

    step("the metrics count it", async {
        let found = metric(&cluster, "entrepot_blobs_quarantined_total").await?;
        ensure!(found >= 1, "{found} in quarantine");
        let mended = metric(&cluster, "entrepot_repair_damaged_replaced_total").await?;
        ensure!(mended >= 1, "{mended} mended");
        Ok(())
    })
    .await?;

    step("a scrub finds what nobody reads", async {
        let before = metric(&cluster, "entrepot_scrub_damaged_total").await?;
        for file in &files {
            flip(file, 5)?;
        }
        let admin = cluster.admin(1)?;
        admin.run(&["scrub", "start"]).await?;
        for (file, blob) in files.iter().zip(&blobs) {
            right_copy(file, blob).await?;
        }
        wait_until("the scrub ends", MENDED, async || {
            let nodes = admin.list(&["scrub", "status"], "nodes").await?;
            let ended = |node: &serde_json::Value| {
                node["running"] == false && node["last_ended_at_ms"].is_i64()
            };
            Ok(nodes.iter().all(ended).then_some(()))
        })
        .await?;
        let found = metric(&cluster, "entrepot_scrub_damaged_total").await? - before;
        ensure!(found == files.len() as u64, "{found} found");
        let nodes = admin.list(&["repair", "status"], "nodes").await?;
        ensure!(nodes.len() == 3, "{nodes:?}");
        Ok(())
    })
    .await?;
    cluster.finish().await
}

/// Every byte is right, and all are there: other nodes have the blob.
async fn pull(registry: &Registry, blob: &Blob) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
    let mut reply = registry.get(&path).stream(200).await?;
    let mut left = blob.content.clone();
    while let Some(chunk) = reply.chunk().await? {
        ensure!(left.starts_with(&chunk), "a wrong byte of {}", blob.digest);
        left = left.slice(chunk.len()..);
    }
    ensure!(left.is_empty(), "{} bytes are missing", left.len());
    Ok(())
}

/// Waits until the file is there and is the blob's.
async fn right_copy(file: &Path, blob: &Blob) -> Result<()> {
    wait_until("the copy is right", MENDED, async || {
        let right = std::fs::read(file).is_ok_and(|content| digest_of(&content) == blob.digest);
        Ok(right.then_some(()))
    })
    .await
}

/// Puts a copy with one flipped bit in the place of the file.
fn rot(file: &Path, place: usize) -> Result<()> {
    let mut content = std::fs::read(file)?;
    content[place] ^= 4;
    let rotten = file.with_extension("rotten");
    std::fs::write(&rotten, content)?;
    Ok(std::fs::rename(rotten, file)?)
}

/// Flips a bit of the file itself.
fn flip(file: &Path, place: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place)?;
    file.write_all_at(&[byte[0] ^ 4], place)?;
    Ok(file.sync_all()?)
}

/// A number of the bad node.
async fn metric(cluster: &Cluster, name: &str) -> Result<u64> {
    let text = cluster.node(BAD)?.metrics().await?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("no {name} in {text}"))?;
    Ok(line.trim().parse()?)
}
