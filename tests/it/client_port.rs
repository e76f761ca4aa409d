//! The client port at its edges: clients that are slow, many, broken or
//! hostile get a clear answer or none, and others notice nothing.

mod bodies;
mod crowds;
mod frames;
mod framing;
mod http2;
mod paths;
mod raw;
mod relayed;
mod signed;
mod slow;
mod tls;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_harness::{Blob, Cluster, Image, Random, Registry, media, wait_until};

use self::raw::ANSWERED;

/// More than any of these tests may make a node hold. Debug builds of one node
/// alone take some 60 MiB.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// `Authorization` for root.
fn basic(cluster: &Cluster) -> String {
    let pair = format!("{}:{}", cluster.user(), cluster.password());
    format!("Basic {}", STANDARD.encode(pair))
}

/// The head of a request of root's; `more` are header lines, each with its end.
fn head(cluster: &Cluster, method: &str, target: &str, more: &str) -> String {
    let authorization = basic(cluster);
    format!("{method} {target} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n{more}\r\n")
}

/// What every client may expect at any time: an image goes in and comes out.
async fn serves(registry: &Registry, round: u64) -> Result<()> {
    let image = Image::random(round, 2, 200_000);
    let tag = format!("round-{round}");
    let all = async {
        registry.push_image("edge/unharmed", &tag, &image).await?;
        registry.verify_image("edge/unharmed", &tag, &image).await
    };
    all.await
        .with_context(|| format!("round {round} of another client"))
}

/// A blob that is in the registry.
async fn pushed_blob(registry: &Registry, seed: u64, bytes: usize) -> Result<Blob> {
    let blob = Blob::new(media::LAYER, Random::new(seed).bytes(bytes));
    registry.push_blob("edge/blobs", &blob).await?;
    Ok(blob)
}

/// Fails if the node holds much more memory than before.
fn grew_little(cluster: &Cluster, before: u64) -> Result<()> {
    let now = cluster.node(1)?.usage()?.peak_rss_bytes;
    println!("memory: {before} bytes before, {now} at most since");
    ensure!(
        now < before + GROWTH_BYTES_MAX,
        "the node held {now} bytes, {before} before"
    );
    Ok(())
}

/// Waits until node 1 has no staging file left.
async fn no_staging(cluster: &Cluster) -> Result<()> {
    wait_until("staging files to be removed", ANSWERED, async || {
        let left = cluster.node(1)?.staging_files()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(Some(()))
    })
    .await
}
