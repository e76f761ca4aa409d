//! Images that live in memory: small ones made of random bytes, indexes of
//! several platforms, artifacts that point at a subject.

use std::io::Write as _;

use anyhow::{Context, Result};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use crate::random::Random;

/// The media types used here. (OCI image specification, "Media Types")
pub mod media {
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    pub const SBOM: &str = "application/spdx+json";
}

/// `sha256:<hex>` of `content`.
pub fn digest_of(content: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(content)))
}

/// The same of content that comes in pieces.
pub fn digest_of_all(pieces: impl Iterator<Item = Bytes>) -> String {
    let mut hasher = Sha256::new();
    pieces.for_each(|piece| hasher.update(&piece));
    format!("sha256:{}", hex(&hasher.finalize()))
}

/// `sha512:<hex>` of `content`.
pub(crate) fn digest512_of(content: &[u8]) -> String {
    format!("sha512:{}", hex(&Sha512::digest(content)))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Content with its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub media_type: String,
    pub digest: String,
    pub content: Bytes,
}

impl Blob {
    pub fn new(media_type: &str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self {
            media_type: media_type.to_owned(),
            digest: digest_of(&content),
            content,
        }
    }

    /// The same content, named by its SHA-512.
    pub fn new_sha512(media_type: &str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self {
            media_type: media_type.to_owned(),
            digest: digest512_of(&content),
            content,
        }
    }

    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.content.len()})
    }
}

/// A manifest with what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub manifest: Blob,
    /// Config first, then the layers.
    pub blobs: Vec<Blob>,
}

impl Image {
    /// An OCI image of `layers` layers, each holding one file of about
    /// `layer_bytes` random bytes. No image of another seed shares a blob with
    /// it.
    pub fn random(seed: u64, layers: usize, layer_bytes: usize) -> Self {
        let mut random = Random::new(seed);
        let (layers, diff_ids): (Vec<Blob>, Vec<String>) = (0..layers)
            .map(|nth| {
                let tar = tar_of(&format!("random-{seed}-{nth}"), &random.bytes(layer_bytes));
                (Blob::new(media::LAYER, gzip(&tar)), digest_of(&tar))
            })
            .unzip();
        let config = json!({
            "architecture": "amd64", "os": "linux", "author": format!("seed {seed}"),
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        Self::of(
            media::MANIFEST,
            Blob::new(media::CONFIG, config.to_string()),
            layers,
        )
    }

    /// The same image in Docker's media types (v2 schema 2).
    pub fn random_docker(seed: u64, layers: usize, layer_bytes: usize) -> Self {
        let oci = Self::random(seed, layers, layer_bytes);
        let mut blobs = oci.blobs.into_iter().map(|mut blob| {
            let config = blob.media_type == media::CONFIG;
            let docker = [media::DOCKER_LAYER, media::DOCKER_CONFIG][usize::from(config)];
            docker.clone_into(&mut blob.media_type);
            blob
        });
        let config = blobs
            .next()
            .unwrap_or_else(|| Blob::new(media::DOCKER_CONFIG, "{}"));
        let layers = blobs.collect();
        Self::of(media::DOCKER_MANIFEST, config, layers)
    }

    pub fn of(media_type: &str, config: Blob, layers: Vec<Blob>) -> Self {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        let mut blobs = vec![config];
        blobs.extend(layers);
        Self {
            manifest: Blob::new(media_type, manifest.to_string()),
            blobs,
        }
    }

    /// The manifest as JSON.
    pub fn manifest_json(&self) -> Result<Value> {
        serde_json::from_slice(&self.manifest.content).context("parse a manifest of our own")
    }

    pub fn digest(&self) -> &str {
        &self.manifest.digest
    }
}

/// A tar archive of one file.
fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_data(&mut header, name, content)
        .and_then(|()| archive.into_inner())
        .expect("writing to memory does not fail")
}

/// Random bytes do not shrink, so they are stored as they are.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder
        .write_all(content)
        .and_then(|()| encoder.finish())
        .expect("writing to memory does not fail")
}

/// An image for several platforms.
#[derive(Debug, Clone)]
pub struct Index {
    pub manifest: Blob,
    pub images: Vec<Image>,
}

impl Index {
    /// One random image for each of amd64, arm64 and arm/v7.
    pub fn random(seed: u64) -> Self {
        let platforms = [("amd64", None), ("arm64", None), ("arm", Some("v7"))];
        let images: Vec<Image> = (0..)
            .zip(platforms)
            .map(|(nth, _)| Image::random(seed * 16 + nth, 2, 20_000))
            .collect();
        let entries = images
            .iter()
            .zip(platforms)
            .map(|(image, (arch, variant))| {
                let mut entry = image.manifest.descriptor();
                entry["platform"] = json!({"os": "linux", "architecture": arch});
                if let Some(variant) = variant {
                    entry["platform"]["variant"] = variant.into();
                }
                entry
            });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::INDEX,
            "manifests": entries.collect::<Vec<_>>(),
        });
        Self {
            manifest: Blob::new(media::INDEX, manifest.to_string()),
            images,
        }
    }
}

/// An artifact (a bill of materials) that points at `subject`. (OCI image
/// specification, "Guidelines for Artifact Usage")
pub fn artifact_of(subject: &Image, seed: u64) -> Image {
    let config = Blob::new(media::EMPTY, "{}");
    let statement = json!({"spdxVersion": "SPDX-2.3", "name": format!("seed {seed}")});
    let layer = Blob::new(media::SBOM, statement.to_string());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "artifactType": media::SBOM,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
        "subject": subject.manifest.descriptor(),
        "annotations": {"org.opencontainers.image.created": "2024-01-01T00:00:00Z"},
    });
    Image {
        manifest: Blob::new(media::MANIFEST, manifest.to_string()),
        blobs: vec![config, layer],
    }
}
