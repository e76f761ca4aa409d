//! What was acknowledged, and whether it is all there. It holds digests, not
//! bytes: what is read back is hashed.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Moving, Registry, digest_of};
use futures::{StreamExt as _, TryStreamExt as _, stream};

/// Reads that are under way at a time.
const READS_MAX: usize = 6;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) blobs: Vec<Named>,
    pub(super) manifests: Vec<Named>,
    /// By repository and tag: where it may point.
    pub(super) tags: BTreeMap<(String, String), Moving>,
    pub(super) bytes: u64,
}

/// A blob or a manifest of a repository.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) repository: String,
    pub(super) digest: String,
    pub(super) size: u64,
}

impl Ledger {
    pub(super) fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.blobs.extend(other.blobs);
        self.manifests.extend(other.manifests);
        self.tags.extend(other.tags);
        self.bytes += other.bytes;
    }

    /// Reads everything back, in turn through each of `nodes`.
    ///
    /// # Errors
    /// When something is missing, or is not what was acknowledged.
    pub(super) async fn verify(&self, nodes: &[Registry]) -> Result<()> {
        let blobs = self.blobs.iter().zip(nodes.iter().cycle());
        stream::iter(blobs.map(Ok::<_, anyhow::Error>))
            .try_for_each_concurrent(READS_MAX, |(blob, node)| verify_blob(blob, node))
            .await?;
        let manifests = self.manifests.iter().zip(nodes.iter().cycle());
        stream::iter(manifests.map(Ok::<_, anyhow::Error>))
            .try_for_each_concurrent(READS_MAX, |(manifest, node)| {
                verify_manifest(manifest, node)
            })
            .await?;
        let mut reads = stream::iter(&self.tags)
            .flat_map(|tag| stream::iter(nodes).map(move |node| (tag, node)))
            .map(|((name, moving), node)| verify_tag(name, moving, node))
            .buffer_unordered(READS_MAX);
        while let Some(read) = reads.next().await {
            read?;
        }
        Ok(())
    }
}

async fn verify_blob(blob: &Named, node: &Registry) -> Result<()> {
    let what = || format!("acknowledged blob {} of {}", blob.digest, blob.repository);
    let read = node.read_blob(&blob.repository, &blob.digest).await;
    let (digest, size) = read.with_context(what)?;
    ensure!(
        (&digest, size) == (&blob.digest, blob.size),
        "{}: {size} bytes of {digest}, where {} are due",
        what(),
        blob.size
    );
    Ok(())
}

async fn verify_manifest(manifest: &Named, node: &Registry) -> Result<()> {
    let path = format!("/v2/{}/manifests/{}", manifest.repository, manifest.digest);
    let reply = node.get(&path).send().await?.expect(200);
    let reply = reply.context("an acknowledged manifest")?;
    ensure!(
        digest_of(&reply.body) == manifest.digest,
        "{path}: other bytes"
    );
    Ok(())
}

async fn verify_tag(name: &(String, String), moving: &Moving, node: &Registry) -> Result<()> {
    let (repository, tag) = name;
    let path = format!("/v2/{repository}/manifests/{tag}");
    let reply = node.head(&path).send().await?;
    if reply.status == 404 && !moving.acknowledged {
        return Ok(());
    }
    let reply = reply.expect(200).context("an acknowledged tag")?;
    let digest = reply.header("docker-content-digest")?;
    ensure!(
        moving.possible.iter().any(|possible| possible == digest),
        "{repository}:{tag} is {digest}, which is none of {:?}",
        moving.possible
    );
    Ok(())
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} blobs, {} manifests, {} tags, {:.1} MB",
            self.blobs.len(),
            self.manifests.len(),
            self.tags.len(),
            Megabytes(self.bytes).get()
        )
    }
}

struct Megabytes(u64);

impl Megabytes {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    fn get(&self) -> f64 {
        self.0 as f64 / 1e6
    }
}
