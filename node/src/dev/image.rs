//! A small image for the demonstration: one layer, made on the spot.

use anyhow::Context;
use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Bytes of the layer that do not compress.
const PAYLOAD_BYTES: usize = 1024 * 1024;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image in memory.
#[derive(Debug)]
pub(super) struct Image {
    /// Config and layer.
    pub(super) blobs: Vec<(Digest, Bytes)>,
    pub(super) manifest: Bytes,
    pub(super) manifest_digest: Digest,
}

impl Image {
    pub(super) const MEDIA_TYPE: &'static str = MANIFEST_TYPE;

    /// A new image, different from any other.
    pub(super) fn generate() -> anyhow::Result<Self> {
        let mut payload = vec![0; PAYLOAD_BYTES];
        getrandom::fill(&mut payload).context("no randomness")?;
        let (diff, layer) = layer(&payload)?;
        let config = serde_json::to_vec(&serde_json::json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Labels": { "org.opencontainers.image.title": "Entrepot demonstration" } },
            "rootfs": { "type": "layers", "diff_ids": [diff.to_string()] },
        }))?;
        let config = named(config);
        let layer = named(layer);
        let manifest = Bytes::from(serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": CONFIG_TYPE,
                "digest": config.0.to_string(),
                "size": config.1.len(),
            },
            "layers": [{
                "mediaType": LAYER_TYPE,
                "digest": layer.0.to_string(),
                "size": layer.1.len(),
            }],
        }))?);
        Ok(Self {
            manifest_digest: Digest::of(Algorithm::Sha256, &manifest),
            manifest,
            blobs: vec![config, layer],
        })
    }

    /// All bytes of it.
    pub(super) fn size(&self) -> usize {
        self.manifest.len() + self.blobs.iter().map(|(_, b)| b.len()).sum::<usize>()
    }
}

/// The digest of the tar file and the gzipped tar file.
fn layer(payload: &[u8]) -> anyhow::Result<(Digest, Vec<u8>)> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(payload.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_data(&mut header, "payload", payload)?;
    let tar = tar.into_inner()?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar)?;
    Ok((Digest::of(Algorithm::Sha256, &tar), gzip.finish()?))
}

fn named(content: Vec<u8>) -> (Digest, Bytes) {
    (
        Digest::of(Algorithm::Sha256, &content),
        Bytes::from(content),
    )
}
