//! Blobs read through nodes that have no copy, or have lost it, while others
//! die.

use std::fs;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, HeldPull, Random, media};

use crate::support::step;

/// More than sockets and windows hold back.
const BLOB_BYTES: usize = 64 << 20;
const REPOSITORY: &str = "reads/blobs";

/// Three nodes and two copies: every blob has one node without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_read_whatever_happens_to_its_copies() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(3).copies(2).start().await?;
    for nth in [0, 1] {
        let what = format!("copy {nth} dies while a third node passes the blob on");
        step(&what, source_dies(&mut cluster, nth)).await?;
    }
    step("a copy that is gone from the disk", copy_lost(&cluster)).await?;
    step("a copy that lost its end", copy_truncated(&cluster)).await?;
    cluster.finish().await
}

/// Pushes a blob; returns it, the nodes with a copy, and the one without.
async fn pushed(cluster: &Cluster, seed: u64) -> Result<(Blob, Vec<u64>, u64)> {
    let blob = Blob::new(media::LAYER, Random::new(seed).bytes(BLOB_BYTES));
    cluster.registry(1)?.push_blob(REPOSITORY, &blob).await?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for id in cluster.ids() {
        let has = cluster.node(id)?.blob_file(&blob.digest)?.is_file();
        if has { with.push(id) } else { without.push(id) }
    }
    let [other] = without.as_slice() else {
        anyhow::bail!("expected two copies, there are {with:?}");
    };
    let other = *other;
    Ok((blob, with, other))
}

async fn source_dies(cluster: &mut Cluster, nth: usize) -> Result<()> {
    let (blob, with, reader) = pushed(cluster, 10 + nth as u64).await?;
    let pull = HeldPull::start(&cluster.registry(reader)?, REPOSITORY, &blob.digest).await?;
    let victim = *with.get(nth).context("a node with a copy")?;
    cluster.kill9(victim)?;
    pull.finish(&blob).await?;
    cluster.start(&[victim]).await?;
    cluster
        .registry(victim)?
        .verify_blob(REPOSITORY, &blob)
        .await
}

async fn copy_lost(cluster: &Cluster) -> Result<()> {
    let (blob, with, _) = pushed(cluster, 20).await?;
    for id in with {
        fs::remove_file(cluster.node(id)?.blob_file(&blob.digest)?)?;
        cluster.registry(id)?.verify_blob(REPOSITORY, &blob).await?;
    }
    Ok(())
}

async fn copy_truncated(cluster: &Cluster) -> Result<()> {
    let (blob, with, _) = pushed(cluster, 30).await?;
    let id = with[0];
    let file = cluster.node(id)?.blob_file(&blob.digest)?;
    fs::OpenOptions::new()
        .write(true)
        .open(&file)?
        .set_len(BLOB_BYTES as u64 / 2)?;
    cluster.registry(id)?.verify_blob(REPOSITORY, &blob).await?;
    let size = fs::metadata(&file).map(|about| about.len());
    ensure!(
        size.as_ref().is_ok_and(|size| *size == BLOB_BYTES as u64),
        "the copy was not replaced: {size:?}"
    );
    Ok(())
}
